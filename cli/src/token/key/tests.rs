//! What keys sign, their public halves verify: asked of the rules that the `jwt` plugin runs.

use std::time::Duration;

use istio_core::jwt::{Authenticator, Config, NoHost, Outcome};

use super::*;

const NOW: Duration = Duration::from_secs(1_790_000_000);

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => panic!("{other}"),
    }
}

fn token(key: &Key) -> String {
    let header = object(json!({"alg": key.algorithm().name(), "kid": key.id()}));
    key.token(&header, &object(json!({"iss": "idp", "sub": "ada"}))).unwrap()
}

fn accepted(keys: &Value, token: &str) -> bool {
    let rule = json!({"issuer": "idp", "jwks": json!({"keys": [keys]}).to_string()});
    let config = json!({"policies": [{"metadata": {}, "spec": {"jwtRules": [rule]}}]});
    let config = Config::from_json(config.to_string().as_bytes()).unwrap();
    let bearer = format!("Bearer {token}");
    let request = [(":path", "/"), ("authorization", bearer.as_str())];
    let outcome = Authenticator::new(&config).unwrap().check(request.as_slice(), NOW, &NoHost);
    matches!(outcome, Outcome::Allow(_))
}

#[test]
fn every_algorithm_signs_what_its_public_half_verifies() {
    for algorithm in Algorithm::value_variants() {
        let key = Key::generate(*algorithm, Some("k".to_owned()), 1200).unwrap();
        let text = key.private_jwk().to_string();
        let again = Key::read(text.as_bytes()).unwrap();
        assert_eq!((again.private_jwk(), again.id(), again.algorithm()), (key.private_jwk(), "k", *algorithm));
        let token = token(&again);
        assert!(accepted(&key.public_jwk(), &token), "{algorithm:?}");
        let (front, back) = token.split_at(token.len() - 8);
        let mut front = front.to_owned();
        let other = if front.pop() == Some('A') { 'B' } else { 'A' };
        let forged = format!("{front}{other}{back}");
        assert!(forged == token || !accepted(&key.public_jwk(), &forged), "{algorithm:?}");
    }
}

#[test]
fn public_halves_hold_no_secret() {
    for algorithm in [Algorithm::Es512, Algorithm::EdDsa, Algorithm::Ps256] {
        let key = Key::generate(algorithm, None, 1024).unwrap();
        let members = object(key.public_jwk());
        assert!(["d", "p", "q", "k"].iter().all(|secret| !members.contains_key(*secret)), "{members:?}");
        assert!(!key.id().is_empty());
    }
}

#[test]
fn what_is_no_key_is_refused_with_its_reason() {
    let good = object(Key::generate(Algorithm::Es256, None, 0).unwrap().private_jwk());
    let with = |name: &str, value: Value| {
        let mut jwk = good.clone();
        jwk.insert(name.to_owned(), value);
        Key::read(Value::from(jwk).to_string().as_bytes()).err().map(|error| format!("{error:#}")).unwrap_or_default()
    };
    for (name, value, reason) in [
        ("alg", json!("none"), "`alg`: `none` is not known"),
        ("alg", json!(1), "it has no `alg`"),
        ("alg", json!("RS256"), "a key of `kty` `EC` and `crv` `P-256` does not sign with `RS256`"),
        ("crv", json!("P-384"), "a key of `crv` `P-384` does not sign with `ES256`"),
        ("d", json!("!"), "`d` is not base64url without padding"),
        ("d", json!("AAAA"), "`d` is no private key of that curve"),
        ("kty", json!("oct"), "a key of `kty` `oct` and `crv` `P-256` does not sign with `ES256`"),
    ] {
        assert_eq!(with(name, value), reason, "{name}");
    }
    assert!(Key::read(b"-----BEGIN PRIVATE KEY-----").is_err_and(|error| error.to_string().contains("JSON")));
}
