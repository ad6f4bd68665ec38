//! TCP connections that reach every corner of the SDK, for the tests that run all of them: the faults and the traces.

use std::time::Duration;

use serde_json::json;
use wasmplugin_host::test::{Answer, Builder, Engine, Failure, Proxy, TcpEvent, TcpTurn};

use crate::engines::Plugin;

/// What a client got until the connection was over.
pub(crate) type Ended = Result<Vec<u8>, Failure>;

/// One connection through the `tcp-probe` of one mode.
pub(crate) struct Drive {
    pub(crate) mode: &'static str,
    /// What the client sends, one after the other.
    pieces: &'static [&'static str],
    upstream: fn(TcpEvent<'_>, &mut TcpTurn),
    /// Whether nothing has passed that the plugin would not have allowed, whatever failed on the way: `0` is what
    /// the upstreams got, `1` what the client got.
    pub(crate) harmless: fn(&str, &str) -> bool,
}

/// In this time everything that is on its way arrives, and the probe has waited long enough.
const MOMENT: Duration = Duration::from_millis(80);

pub(crate) const DRIVES: &[Drive] = &[
    drive("pass", &["abc", "def"], echoes, |_, _| true),
    drive("hook-closes", &[], echoes, nothing),
    drive("hook-fails", &[], echoes, nothing),
    drive("close", &[], echoes, nothing),
    drive("fail", &[], echoes, nothing),
    drive("drop", &[], echoes, nothing),
    drive("ask", &["abc"], echoes, |_, _| true),
    drive("upper", &["abc", "def"], echoes, |sent, got| {
        !has_lowercase(sent) && (got.is_empty() || got.starts_with('<'))
    }),
    drive("upper", &["abc"], finishes, |sent, got| !has_lowercase(sent) && (got.is_empty() || got.starts_with('<'))),
    drive("slow-upper", &["abc", "def"], echoes, |sent, _| !has_lowercase(sent)),
    drive("bytewise", &["abc"], echoes, |sent, _| "a,b,c,".starts_with(sent)),
    drive("peek", &["PA", "SS", "ED"], echoes, |sent, _| "PASSED".starts_with(sent)),
    drive("peek", &["NOT ", "PASSED"], echoes, nothing),
    drive("peek", &["CUT it"], echoes, |sent, _| "it".starts_with(sent)),
    drive("peek-deadline", &["ab"], echoes, nothing),
    drive("collect", &["abcd", "efgh"], echoes, |sent, _| sent.is_empty() || sent == "hgfedcba"),
    drive("collect", &["abcdefghi"], echoes, nothing),
    drive("late-upstream", &["abc", "def"], echoes, |_, _| true),
    drive("banner", &["abc"], echoes, |_, got| got.is_empty() || got.starts_with("banner ")),
    drive("refuse", &["secret"], echoes, |_, got| got.is_empty()),
    drive("refuse", &["ok, fine"], echoes, |_, _| true),
];

const fn drive(
    mode: &'static str,
    pieces: &'static [&'static str],
    upstream: fn(TcpEvent<'_>, &mut TcpTurn),
    harmless: fn(&str, &str) -> bool,
) -> Drive {
    Drive { mode, pieces, upstream, harmless }
}

fn nothing(sent: &str, got: &str) -> bool {
    sent.is_empty() && got.is_empty()
}

fn has_lowercase(text: &str) -> bool {
    text.contains(|letter: char| letter.is_ascii_lowercase())
}

fn echoes(event: TcpEvent<'_>, turn: &mut TcpTurn) {
    match event {
        TcpEvent::Connected => {}
        TcpEvent::Data(bytes) => turn.send(bytes.to_vec()),
        TcpEvent::Finished => turn.finish(),
    }
}

/// Says something, and no more.
fn finishes(event: TcpEvent<'_>, turn: &mut TcpTurn) {
    if event == TcpEvent::Connected {
        turn.send("bye");
        turn.finish();
    }
}

impl Drive {
    /// A proxy for it.
    pub(crate) fn on(&self, engine: Engine) -> Builder {
        let plugin = Plugin { package: "tcp-probe", register: tcp_probe::register };
        let proxy = plugin.on(engine).config(json!({ "mode": self.mode })).tcp(self.upstream).trace(true);
        proxy.cluster("auth", |_| Answer::new(200).after(MOMENT / 2))
    }

    /// Runs it; `sent` in the end is what the upstreams got.
    pub(crate) fn run(&self, proxy: &mut Proxy) -> Ended {
        let mut client = proxy.connect()?;
        proxy.advance(MOMENT);
        for piece in self.pieces {
            client.send(*piece)?;
            proxy.advance(MOMENT);
        }
        client.finish()?;
        let got = client.read_to_end();
        proxy.advance(MOMENT);
        got
    }

    /// What the upstreams got, over all connections.
    pub(crate) fn sent(proxy: &Proxy) -> String {
        proxy.upstream_connections().iter().map(|seen| seen.text()).collect()
    }
}
