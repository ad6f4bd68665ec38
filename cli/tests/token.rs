//! `cargo wasmplugin token`.

use serde_json::Value;

use crate::command::{Scratch, wasmplugin};

/// A folder for a key, and the path of one that is not there yet.
fn place() -> (Scratch, String) {
    let scratch = Scratch::new("note", "");
    let key = format!("{}.jwk", scratch.path());
    (scratch, key)
}

fn json(arguments: &[&str]) -> Value {
    let run = wasmplugin(arguments);
    assert_eq!(run.code, Some(0), "{run:#?}");
    serde_json::from_str(&run.out).unwrap_or_else(|error| panic!("{error}: {run:#?}"))
}

#[test]
fn a_key_signs_a_token_that_can_be_shown() {
    let (_scratch, key) = place();
    let made = json(&["token", "key", "--out", &key, "--kid", "k1", "--output", "json"]);
    assert_eq!((&made["kid"], &made["alg"], &made["path"]), (&"k1".into(), &"ES256".into(), &key.as_str().into()));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600, "only its owner can read it");
    }
    let set = json(&["token", "jwks", &key]);
    assert_eq!((&set["keys"][0]["kid"], &set["keys"][0]["crv"]), (&"k1".into(), &"P-256".into()));
    assert_eq!(set["keys"][0]["d"], Value::Null);

    let run = wasmplugin(&["token", "sign", "--key", &key, "--issuer", "idp", "--claim", "groups=[\"a\"]"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    let shown = json(&["token", "show", run.out.trim(), "--output", "json"]);
    assert_eq!((&shown["header"]["kid"], &shown["claims"]["iss"]), (&"k1".into(), &"idp".into()));
    assert_eq!(shown["claims"]["groups"][0], "a");
    let (made, ends) = (shown["claims"]["iat"].as_u64().unwrap(), shown["claims"]["exp"].as_u64().unwrap());
    assert_eq!(ends - made, 3600);
}

#[test]
fn a_key_is_never_written_over() {
    let (scratch, key) = place();
    for (path, reason) in [(scratch.path(), "exists; name another file"), ("/missing/key.jwk", "cannot write")] {
        let message = wasmplugin(&["token", "key", "--out", path]).message().to_owned();
        assert!(message.contains(&format!("`{path}`")) && message.contains(reason), "{message}");
    }
    assert!(!std::path::Path::new(&key).exists());
    assert_eq!(std::fs::read(scratch.path()).unwrap(), b"");
}

#[test]
fn mistakes_are_told_in_one_sentence() {
    let (scratch, missing) = place();
    for (arguments, expected) in [
        (vec!["jwks", &missing], "cannot read the key `"),
        (vec!["sign", "--key", scratch.path()], "is no key that `token key` writes: it is not a JSON object"),
        (vec!["show", "a.b"], "a token has three sections with dots between, this has 2"),
        (vec!["show", "!.e30.e30"], "the token's header is not base64url without padding"),
        (vec!["show", "e30.e31.e30"], "the token's payload is not"),
    ] {
        let message = wasmplugin(&[&["token"], arguments.as_slice()].concat()).message().to_owned();
        assert!(message.contains(expected), "{message}");
    }
    let run = wasmplugin(&["token", "sign", "--key", &missing, "--expires-in", "soon"]);
    assert_eq!(run.code, Some(2), "{run:#?}");
    assert!(run.err.contains("`soon` is no span of time"), "{run:#?}");
}
