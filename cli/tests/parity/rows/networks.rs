//! Plugins for bytes.

use serde_json::{Value, json};

use super::{Plugin, Row};
use crate::parity::bytes::Talk;

fn row<const N: usize>(module: &'static str, config: Value, talks: [(&'static str, &'static str); N]) -> Row {
    let plugin = Plugin { module, config, more: json!({"type": "NETWORK"}), knobs: Value::Null };
    let talks = talks.map(|(says, hears)| Talk { says, hears }).to_vec();
    Row { protocol: "TCP", talks, ..Row::new(vec![plugin], Vec::new()) }
}

pub(super) fn networks() -> Vec<Row> {
    let probe = |mode: &str, talk| row("tcp-probe", json!({"mode": mode}), [talk]);
    vec![
        row("tcp-allow-list", json!({"allow": ["127.0.0.0/8"]}), [("hello", "hi!hello"), ("", "hi!")]),
        row("tcp-allow-list", json!({"allow": ["10.0.0.0/8"]}), [("", "")]),
        row("tcp-allow-list", json!({"allow": []}), [("", "")]),
        probe("pass", ("hello", "hi!hello")),
        probe("close", ("", "")),
        probe("fail", ("", "")),
        probe("hook-closes", ("", "")),
        probe("hook-fails", ("", "")),
        probe("ask", ("", "")),
        probe("collect", ("hello", "hi!olleh")),
        probe("late-upstream", ("hello", "hi!hello")),
        probe("banner", ("hello", "banner hi!hello")),
    ]
}
