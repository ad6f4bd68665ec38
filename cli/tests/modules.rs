//! `cargo wasmplugin modules`.

use serde_json::Value;

use crate::command::wasmplugin;

#[test]
fn one_example_becomes_one_file() {
    // As cargo calls it, with its own name for us.
    let run = wasmplugin(&["wasmplugin", "modules", "hello", "--output", "json"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    let printed: Value = serde_json::from_str(&run.out).unwrap();
    let [module] = printed.as_array().unwrap().as_slice() else { panic!("one module is expected: {printed}") };
    assert_eq!(module["name"], "hello");
    assert_eq!(module["kind"], "example");
    let path = module["path"].as_str().unwrap();
    assert!(path.ends_with("/modules/hello.wasm"), "{path}");
    let bytes = std::fs::read(path).unwrap();
    assert!(bytes.starts_with(b"\0asm"));
    assert_eq!(module["size"], bytes.len());
}

#[test]
fn people_get_a_table() {
    let run = wasmplugin(&["modules", "hello"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    let lines: Vec<_> = run.out.lines().collect();
    assert!(lines[0].starts_with("module  kind     size"), "{run:#?}");
    assert!(lines[1].starts_with("hello   example"), "{run:#?}");
    assert_eq!(lines.len(), 2);
}

#[test]
fn an_unknown_name_is_answered_with_the_known_ones() {
    let run = wasmplugin(&["modules", "hallo"]);
    let message = run.message();
    assert!(message.starts_with("there is no plugin or example `hallo`; there are `"), "{message}");
    assert!(["`external-auth`, ", "`hello`, "].iter().all(|known| message.contains(known)), "{message}");
}
