//! What texts are read as.

use serde_json::{Value as Json, json};

use super::*;

fn one(text: &str) -> Tree {
    let mut documents = read(text);
    assert_eq!(documents.len(), 1, "{documents:?}");
    documents.remove(0).unwrap()
}

fn as_json(text: &str) -> Json {
    one(text).root.to_json()
}

#[test]
fn values_know_where_they_stand() {
    let tree = one("spec:\n  url: oci://a/b\n  match:\n  - ports:\n    - number: 80\n");
    let spec = tree.root.get("spec").unwrap();
    assert_eq!(spec.entry("url").unwrap().at, Location { line: 2, column: 3 });
    assert_eq!(spec.get("url").unwrap().at, Location { line: 2, column: 8 });
    let port = spec.get("match").unwrap().items()[0].get("ports").unwrap().items()[0].get("number").unwrap();
    assert_eq!(port.at.to_string(), "5:15");
}

#[test]
fn scalars_mean_what_kubectl_reads() {
    for (text, meaning) in [
        ("yes", json!(true)),
        ("off", json!(false)),
        ("'yes'", json!("yes")),
        ("~", json!(null)),
        ("12", json!(12)),
        ("-7", json!(-7)),
        ("0755", json!(493)),
        ("0x1F", json!(31)),
        ("1_000", json!(1000)),
        ("08", json!(8.0)),
        ("1e3", json!(1000.0)),
        (".5", json!(0.5)),
        ("1.2.3", json!("1.2.3")),
        ("-", json!([null])),
        ("1.30.0", json!("1.30.0")),
        (".inf", json!(".inf")),
        ("2026-01-02", json!("2026-01-02")),
        ("!!str 12", json!("12")),
        ("|\n  a\n  b\n", json!("a\nb\n")),
    ] {
        assert_eq!(as_json(text), meaning, "{text}");
    }
}

#[test]
fn json_is_yaml() {
    let text = "{\n\t\"a\": [1, {\"b\\u00e9\": \"x\\/y\\ud83d\\ude00\"}],\n\t\"c\": null\n}";
    assert_eq!(as_json(text), serde_json::from_str::<Json>(text).unwrap());
}

#[test]
fn a_mistake_costs_one_document() {
    let documents = read("a: 1\n---\nb: [1\n---\nc: 3\n");
    assert_eq!(documents.len(), 3, "{documents:?}");
    assert_eq!(documents[0].as_ref().unwrap().root.to_json(), json!({"a": 1}));
    let error = documents[1].as_ref().unwrap_err();
    assert!((3..=4).contains(&error.at.line), "{error}");
    assert_eq!(documents[2].as_ref().unwrap().root.to_json(), json!({"c": 3}));
}

#[test]
fn of_two_fields_with_one_name_the_last_counts() {
    let tree = one("a: 1\nb: 2\na: 3\n");
    assert_eq!(tree.root.to_json(), json!({"a": 3, "b": 2}));
    assert_eq!(tree.duplicates.len(), 1);
    assert_eq!(tree.duplicates[0].at.to_string(), "1:1");
}

#[test]
fn anchors_and_merges_are_resolved() {
    let text = "base: &b {x: 1, z: 2}\nuse: *b\nown:\n  <<: *b\n  z: 3\n";
    assert_eq!(as_json(text), json!({"base": {"x": 1, "z": 2}, "use": {"x": 1, "z": 2}, "own": {"x": 1, "z": 3}}));
}

#[test]
fn hostile_texts_are_refused() {
    let deep = "[".repeat(200);
    assert!(read(&deep)[0].is_err());
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        laughs.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    let error = read(&laughs).remove(0).unwrap_err();
    assert!(error.message.contains("too many values"), "{error}");
    assert!(read("? [a, b]\n: c\n")[0].is_err());
    assert!(read("a: &a [*a]\n")[0].is_err());
}

#[test]
fn nothing_is_no_document() {
    assert!(read("").is_empty());
    assert!(read("# only a comment\n").is_empty());
    assert_eq!(read("---\n---\n").len(), 2);
}
