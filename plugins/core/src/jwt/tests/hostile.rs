//! What strangers and lying providers send: refused within bounded time and memory, whatever it is.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::fixtures::{SECRET, hmac_keys, hmac_token, url};
use super::super::{Authenticator, Failure, KeySetId, MAX_KEY_SET_BYTES, MAX_TOKEN_BYTES, NoHost, Outcome, Progress};
use super::engine::{NOW, allowed, check, denied, engine, rule, token};

fn anywhere() -> Authenticator {
    engine(json!([rule("i", json!({"fromHeaders": [{"name": "t"}]}))]))
}

fn refused(token: &str) -> Failure {
    denied(check(&mut anywhere(), &[("t", token)])).failure
}

#[test]
fn a_token_is_as_long_as_64_kib_and_no_longer() {
    let good = |len: usize| {
        let payload = |fill: usize| format!(r#"{{"iss":"i","x":"{}"}}"#, "a".repeat(fill));
        // Four characters of base64url carry three bytes; what is missing then is filled with members of the header.
        let token = (0..4).find_map(|odd| {
            let header = format!(r#"{{"alg":"HS256","p":"{}"}}"#, "b".repeat(odd));
            let rest = len - hmac_token(&header, &payload(0)).len();
            let token = hmac_token(&header, &payload(rest / 4 * 3));
            (token.len() == len).then_some(token)
        });
        token.unwrap_or_else(|| panic!("no token has {len} bytes"))
    };
    allowed(check(&mut anywhere(), &[("t", &good(MAX_TOKEN_BYTES))]));
    assert_eq!(refused(&good(MAX_TOKEN_BYTES + 4)), Failure::Form);
    for filler in ["A", ".", "A.A.", "=", "{", "[", "\"", "%", "é"] {
        let token = filler.repeat(1024 * 1024 / filler.len());
        assert_eq!(refused(&token), Failure::Form, "1 MiB of `{filler}`");
        assert_eq!(refused(&format!("{}{token}", hmac_token(r#"{"alg":"HS256"}"#, "{}"))), Failure::Form);
    }
}

#[test]
fn depth_and_doubled_members_are_refused_wherever_they_are() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for levels in [100, 101, 1_000, 20_000] {
        let payload = format!(r#"{{"iss":"i","x":{}}}"#, nested(levels));
        assert_eq!(refused(&hmac_token(r#"{"alg":"HS256"}"#, &payload)), Failure::PayloadJson, "{levels}");
        let header = format!(r#"{{"alg":"HS256","x":{}}}"#, nested(levels));
        assert_eq!(refused(&hmac_token(&header, r#"{"iss":"i"}"#)), Failure::HeaderJson, "{levels}");
    }
    allowed(check(
        &mut anywhere(),
        &[("t", &hmac_token(r#"{"alg":"HS256"}"#, &format!(r#"{{"iss":"i","x":{}}}"#, nested(99))))],
    ));
    for payload in [
        r#"{"iss":"x","iss":"i"}"#,
        r#"{"iss":"i","sub":"a","sub":"a"}"#,
        r#"{"iss":"i","exp":1,"exp":9999999999}"#,
        r#"{"iss":"i","\u0069ss":"i"}"#,
        r#"{"iss":"i","x":[{"a":1,"a":1}]}"#,
    ] {
        assert_eq!(refused(&hmac_token(r#"{"alg":"HS256"}"#, payload)), Failure::PayloadJson, "{payload}");
    }
    for header in [r#"{"alg":"none","alg":"HS256"}"#, r#"{"alg":"HS256","kid":"x","kid":"k"}"#] {
        assert_eq!(refused(&hmac_token(header, r#"{"iss":"i"}"#)), Failure::HeaderJson, "{header}");
    }
}

#[test]
fn nul_and_broken_utf_8_are_no_way_around() {
    let mut engine = anywhere();
    let mut raw = |token: &[u8]| {
        let request: [(&[u8], &[u8]); 2] = [(b":path", b"/"), (b"t", token)];
        denied(engine.check(request.as_slice(), NOW, &NoHost)).failure
    };
    let good = token(json!({"iss": "i"}));
    let dots: Vec<_> = good.match_indices('.').map(|(at, _)| at).collect();
    for byte in [b"\0", b"\xff", b"\xc0", b"\x80", b"\x7f", b"+"] {
        let with = |at: usize| [&good.as_bytes()[..at], byte, &good.as_bytes()[at..]].concat();
        for (at, failure) in [
            (0, Failure::HeaderBase64),
            (dots[0], Failure::HeaderBase64),
            (dots[1], Failure::PayloadBase64),
            (good.len(), Failure::SignatureBase64),
        ] {
            assert_eq!(raw(&with(at)), failure, "{byte:?} at {at}");
        }
    }
    for payload in [
        &b"{\"iss\":\"i\"}\0"[..],
        b"\0{\"iss\":\"i\"}",
        b"{\"iss\":\"i\xff\"}",
        b"{\"iss\":\"i\0\"}",
        b"{\"iss\0\":\"i\"}",
    ] {
        let signed = format!("{}.{}", url(br#"{"alg":"HS256"}"#), url(payload));
        assert_eq!(raw(signed_by(SECRET, &signed).as_bytes()), Failure::PayloadJson, "{payload:?}");
    }
    // Escaped, a NUL is a character like any other, and another issuer.
    assert_eq!(refused(&hmac_token(r#"{"alg":"HS256"}"#, r#"{"iss":"i\u0000"}"#)), Failure::UnknownIssuer);
    let expected =
        denied(check(&mut anywhere(), &[("t", &hmac_token(r#"{"alg":"HS256","kid":"k\u0000"}"#, r#"{"iss":"i"}"#))]));
    assert_eq!(expected.failure, Failure::NoKey);
}

fn signed_by(secret: &[u8], signed: &str) -> String {
    use hmac::{KeyInit as _, Mac as _};
    let mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(secret).unwrap().chain_update(signed);
    format!("{signed}.{}", url(&mac.finalize().into_bytes()))
}

/// A key id is compared and nothing else: it is no path, no query, no pattern.
#[test]
fn key_ids_are_only_compared() {
    let long = "k".repeat(40_000);
    for kid in ["K", "k ", " k", "k/../k", "*", "k\\u0000", "../../dev/null", "k' OR '1'='1", "http://evil/k", &long] {
        let header = format!(r#"{{"alg":"HS256","kid":"{kid}"}}"#);
        assert_eq!(refused(&hmac_token(&header, r#"{"iss":"i"}"#)), Failure::NoKey, "{kid}");
    }
    for kid in ["k", "\\u006b", ""] {
        let header = format!(r#"{{"alg":"HS256","kid":"{kid}"}}"#);
        allowed(check(&mut anywhere(), &[("t", &hmac_token(&header, r#"{"iss":"i"}"#))]));
    }
}

/// Whatever a token calls itself, its signature is checked with what the key is for.
#[test]
fn no_label_makes_a_secret_of_a_public_key() {
    let cases: Value = serde_json::from_str(include_str!("../../../testdata/signature_cases.json")).unwrap();
    for (name, key) in cases["keys"].as_object().unwrap() {
        let set = json!({"keys": [key]}).to_string();
        let mut engine = engine(json!([{"issuer": "i", "jwks": set, "fromHeaders": [{"name": "t"}]}]));
        let parts = ["n", "x", "y", "k"].iter().filter(|part| key["kty"] != "oct" || **part != "k");
        let mut secrets: Vec<Vec<u8>> = parts
            .filter_map(|part| key[*part].as_str())
            .flat_map(|text| {
                [text.as_bytes().to_vec(), super::super::base64::decode_url(text.as_bytes()).unwrap().bytes]
            })
            .collect();
        secrets.extend([key.to_string().into_bytes(), set.into_bytes(), Vec::new()]);
        for alg in ["HS256", "RS256", "PS256", "ES256", "EdDSA"] {
            let signed = format!("{}.{}", url(json!({ "alg": alg }).to_string().as_bytes()), url(br#"{"iss":"i"}"#));
            for secret in &secrets {
                let outcome = check(&mut engine, &[("t", &signed_by(secret, &signed))]);
                assert!(matches!(outcome, Outcome::Deny(_)), "{name} {alg}");
            }
        }
    }
}

#[test]
fn thousands_of_lines_are_walked_through() {
    let mut engine = engine(json!([rule("i", json!({"fromHeaders": [{"name": "t"}], "outputPayloadToHeader": "p"}))]));
    let tokens: Vec<_> = (0..10_000).map(|number| token(json!({"iss": "i", "n": number}))).collect();
    let mut lines: Vec<(&str, &str)> = tokens.iter().map(|token| ("t", token.as_str())).collect();
    let allow = allowed(check(&mut engine, &lines));
    assert_eq!((allow.changes.remove.as_slice(), allow.changes.add.len()), (["t".to_owned()].as_slice(), 10_000));
    lines.insert(0, ("t", "x"));
    assert_eq!(denied(check(&mut engine, &lines)).failure, Failure::Form, "one bad token among many is one too many");
    let noise: Vec<_> = (0..10_000).map(|number| format!("x-{number}")).collect();
    let mut lines: Vec<(&str, &str)> = noise.iter().map(|name| (name.as_str(), "v")).collect();
    lines.push(("t", tokens[0].as_str()));
    allowed(check(&mut engine, &lines));
}

#[test]
fn a_provider_cannot_make_us_hold_or_read_more_than_a_set() {
    let mut engine = engine(json!([{"issuer": "i", "jwksUri": "http://idp/jwks", "fromHeaders": [{"name": "t"}]}]));
    let good = token(json!({"iss": "i"}));
    let keys = hmac_keys();
    let padded = |len: usize| format!("{}{keys}", " ".repeat(len - keys.len()));
    let many = format!(r#"{{"keys":[{}]}}"#, vec![r#"{"kty":"oct","k":"YWJj"}"#; 1_025].join(","));
    let deep = format!(r#"{{"keys":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let mut at = NOW;
    let mut fetched = |status, body: &str| {
        at += Duration::from_secs(60);
        let fetch = engine.begin_fetch(KeySetId(0), at).unwrap();
        let progress = engine.finish_fetch(&fetch, Some((status, body.as_bytes())), at);
        let request = [(":path", "/"), ("t", good.as_str())];
        (progress == Progress::Fetched, matches!(engine.check(request.as_slice(), at, &NoHost), Outcome::Allow(_)))
    };
    for (status, body) in [
        (200, padded(MAX_KEY_SET_BYTES + 1).as_str()),
        (200, &many),
        (200, &deep),
        (200, &keys.replace("}]}", "}],\"keys\":[]}")),
        (200, &format!("{keys}\0")),
        (201, &keys),
        (204, ""),
        (301, &keys),
        (304, &keys),
        (0, &keys),
    ] {
        assert_eq!(fetched(status, body), (false, false), "{status} {:.40}", body.trim_start());
    }
    assert_eq!(fetched(200, &padded(MAX_KEY_SET_BYTES)), (true, true));
}
