//! What is read and what is refused, beside `serde_json` where both have to agree.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::{ConfigError, Raw, json as read_json, merged};

#[derive(Debug, PartialEq, Deserialize)]
struct Config {
    #[serde(default)]
    rules: Vec<Rule>,
    nested: Option<Box<Rule>>,
    #[serde(default)]
    kind: Kind,
    #[serde(default)]
    pair: Option<(u8, i64)>,
    #[serde(default)]
    by_number: BTreeMap<u16, Name>,
    #[serde(default)]
    by_name: BTreeMap<Name, f64>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Rule {
    name: String,
    #[serde(default)]
    rate: Option<u32>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Name(String);

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    #[default]
    Plain,
    Named(String),
    Both {
        left: bool,
        right: bool,
    },
}

fn read(text: &str) -> Result<Config, ConfigError> {
    read_json(text.as_bytes())
}

fn refused(text: &str) -> String {
    read(text).unwrap_err().to_string().replace("invalid plugin configuration ", "")
}

#[test]
fn everything_that_types_ask_for_is_read() {
    let text = r#" {
        "rules": [{"name": "a\u00e9\ud83d\ude00\n", "rate": null}, {"rate": 7, "name": ""}],
        "nested": {"name": "n"}, "kind": {"both": {"right": false, "left": true}}, "pair": [1, -2],
        "by_number": {"7": "seven"}, "by_name": {"x": 1.5e3, "y": 2}
    } "#;
    assert_eq!(read(text).unwrap(), serde_json::from_str(text).unwrap());
    for text in [r#"{"kind": "plain"}"#, r#"{"kind": {"named": "x"}}"#, r#"{"kind": {"plain": null}}"#, "{}"] {
        assert_eq!(read(text).unwrap(), serde_json::from_str(text).unwrap(), "{text}");
    }
}

#[test]
fn a_mistake_is_named_with_its_place() {
    for (text, expected) in [
        (r#"{"rules": [{"name": "a"}, {}]}"#, "at `rules[1]`: missing field `name` (line 1 column 28)"),
        (
            "{\"rules\": [\n {\"name\": 5}]}",
            "at `rules[0].name`: invalid type: integer `5`, expected a string (line 2 column 11)",
        ),
        (
            r#"{"rules": [{"name": "a", "rate": -1}]}"#,
            "at `rules[0].rate`: invalid value: integer `-1`, expected u32 (line 1 column 35)",
        ),
        (
            r#"{"nested": {"name": "a", "rate": 1.5}}"#,
            "at `nested.rate`: invalid type: a number that is no integer of 64 bits, expected u32 (line 1 column 36)",
        ),
        (r#"{"kind": "other"}"#, "at `kind`: unknown variant `other`, expected one of `plain`, `named`, `both`"),
        (r#"{"rules": {}}"#, "at `rules`: invalid type: an object, expected a sequence (line 1 column 10)"),
        (r#"{"pair": [1, 2, 3]}"#, "at `pair`: the list has too many elements"),
        (r#"{"pair": [1]}"#, "at `pair`: invalid length 1, expected a tuple of size 2"),
        (
            r#"{"rulse": [], "nested": {"name": "a", "rat": {"x": [1]}}}"#,
            "at `rulse`: unknown field; check the spelling, or remove it (line 1 column 9)",
        ),
        (r#"{"nested": {"name": "a", "rat": {"x": [1]}}}"#, "at `nested.rat`: unknown field"),
        (r#"{"nested": {"name": "a", "x": {"b": 1, "b": 2}}}"#, "at `nested.x`: the member `b` is there twice"),
        (r#"{"by_name": {"a": 1, "\u0061": 2}}"#, "at `by_name.a`: the member `a` is there twice"),
    ] {
        let message = refused(text);
        assert!(message.starts_with(expected), "{text}: {message}");
    }
}

#[test]
fn a_list_is_no_object_at_any_depth() {
    for text in [
        "[]",
        "[[], null, \"plain\", null, {}, {}]",
        r#"{"rules": [["a", 1]]}"#,
        r#"{"nested": ["a", 1]}"#,
        r#"{"kind": {"both": [true, false]}}"#,
    ] {
        let message = refused(text);
        assert!(message.contains("a list, expected an object"), "{text}: {message}");
    }
}

#[test]
fn what_is_not_strict_json_is_refused() {
    for text in [
        "{",
        "{}x",
        "{} {}",
        "{'a':1}",
        "{a:1}",
        "{\"a\":1,}",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\" 1}",
        "{\"a\":}",
        "{1:2}",
        "{\"a\":\"\t\"}",
        "// x\n{}",
        "\u{feff}{}",
        "NaN",
        "01",
        "-",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e400",
        "-1e400",
        "\"\\ud800\"",
        "\"\\ude00\"",
        "\"\\ud800\\u0041\"",
        "\"\\x41\"",
        "\"\\u00g0\"",
        "\"",
        "\"\\",
        "nul",
        "nullx",
        "truefalse",
        "\u{0}",
    ] {
        assert!(read_json::<Value>(text.as_bytes()).is_err(), "{text:?}");
        assert!(read_json::<Raw>(text.as_bytes()).is_err() || text.contains("e400"), "{text:?}");
    }
    assert!(read_json::<Value>(b"\"\xff\"").is_err());
    assert!(read_json::<Value>("[".repeat(1_000_000).as_bytes()).is_err());
    assert!(read_json::<Raw>("[".repeat(1_000_000).as_bytes()).is_err());
}

#[test]
fn a_raw_value_keeps_its_text() {
    let values: Vec<Raw> = read_json(br#"[ {"a": [1, 2.50]} , "\u0041",null]"#).unwrap();
    assert_eq!(values.iter().map(Raw::text).collect::<Vec<_>>(), [r#"{"a": [1, 2.50]}"#, r#""\u0041""#, "null"]);
}

/// RFC 7396, word by word.
fn plain_merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let fields = target.as_object_mut().unwrap();
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(name);
        } else {
            plain_merge(fields.entry(name).or_insert(Value::Null), value);
        }
    }
}

fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop_oneof![Just(0.5), Just(-1.25e-7), Just(6.02e23)].prop_map(Value::from),
        "[\\PC\"\\\\\n\u{0}-\u{1f}]{0,4}".prop_map(Value::from),
    ];
    scalar.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[ab\"\\\\\n]{0,2}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn raw(value: &Value) -> Raw {
    read_json(value.to_string().as_bytes()).unwrap()
}

proptest! {
    #[test]
    fn values_are_read_as_serde_json_reads_them(value in value(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        prop_assert_eq!(read_json::<Value>(text.as_bytes()).unwrap(), value);
    }

    #[test]
    fn texts_are_refused_as_serde_json_refuses_them(text in "[\\[\\]{}:,\"\\\\ntrue01.e+\\- ]{0,10}") {
        // No configuration is an empty one.
        let known = text.trim().is_empty() || serde_json::from_str::<Value>(&text).is_ok();
        let twice = read_json::<Value>(text.as_bytes()).is_err_and(|error| error.to_string().contains("twice"));
        prop_assert_eq!(read_json::<Value>(text.as_bytes()).is_ok(), known && !twice, "{}", text);
    }

    #[test]
    fn patches_are_applied_as_rfc_7396_says(target in value(), patch in value()) {
        let mut expected = target.clone();
        plain_merge(&mut expected, &patch);
        let text = merged(&raw(&target), &raw(&patch));
        prop_assert_eq!(read_json::<Value>(text.text().as_bytes()).unwrap(), expected);
    }
}
