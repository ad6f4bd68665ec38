//! What holds for all bytes: nothing panics, and nothing but an untouched good token is accepted.

use std::time::Duration;

use proptest::prelude::{Strategy as _, any, prop, prop_oneof, proptest};
use serde_json::{Value, json};

use super::super::fixtures::{hmac_keys, hmac_token};
use super::super::{Authenticator, Config, NoHost, Outcome};

const NOW: Duration = Duration::from_secs(1_790_000_000);

/// One rule without an issuer or prefix, so that all checks are reached.
fn engine(jwks: &str) -> Authenticator {
    let config = json!({ "policies": [{ "metadata": {}, "spec": { "jwtRules": [
        { "jwksUri": "http://idp/", "jwks": jwks, "fromHeaders": [{ "name": "t" }] }
    ] } }] });
    Authenticator::new(&Config::from_json(config.to_string().as_bytes()).unwrap()).unwrap()
}

fn accepts(engine: &mut Authenticator, token: &[u8]) -> bool {
    let request = [("t".as_bytes(), token), (b":path", b"/")];
    matches!(engine.check(request.as_slice(), NOW, &NoHost), Outcome::Allow(_))
}

/// Good tokens of each family from the shared cases, with the keys they belong to.
fn good_tokens() -> Vec<(String, String)> {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../../../testdata/jwt_cases.json")).unwrap();
    let names = ["alg RS256 valid", "alg PS384 valid", "alg ES256 valid", "alg EdDSA valid", "alg HS384 valid"];
    let tokens = names.map(|name| {
        let case = cases.iter().find(|case| case["name"] == name).unwrap();
        let bearer = case["request"]["headers"][0][1].as_str().unwrap();
        (bearer.strip_prefix("Bearer ").unwrap().to_owned(), case["rules"][0]["jwks"].as_str().unwrap().to_owned())
    });
    tokens.to_vec()
}

#[test]
fn a_good_token_with_one_bit_flipped_is_refused() {
    for (token, jwks) in good_tokens() {
        let mut engine = engine(&jwks);
        assert!(accepts(&mut engine, token.as_bytes()));
        // RSA is the slow one; every bit of its signature's ends and every seventh in between is enough.
        let step = if token.len() > 400 { 7 } else { 1 };
        for bit in (0..token.len() * 8).filter(|bit| bit % step == 0 || bit / 8 + 8 > token.len()) {
            let mut changed = token.clone().into_bytes();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!accepts(&mut engine, &changed), "bit {bit} of {token}");
        }
    }
}

#[test]
fn a_good_token_cut_or_lengthened_anywhere_is_refused() {
    for (token, jwks) in good_tokens() {
        let mut engine = engine(&jwks);
        assert!(accepts(&mut engine, token.as_bytes()));
        for at in 0..=token.len() {
            let (before, after) = token.split_at(at);
            if at < token.len() {
                assert!(!accepts(&mut engine, before.as_bytes()), "cut at {at}");
                assert!(at == 0 || !accepts(&mut engine, after.as_bytes()), "begun at {at}");
            }
            for more in ["A", "=", " ", ".", "\n", "\0"] {
                assert!(!accepts(&mut engine, format!("{before}{more}{after}").as_bytes()), "{more:?} at {at}");
            }
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_refused(token in prop::collection::vec(any::<u8>(), 0..200)) {
        assert!(!accepts(&mut engine(&hmac_keys()), &token));
    }

    #[test]
    fn what_looks_like_a_token_is_refused(token in "[A-Za-z0-9_=.-]{0,40}\\.[A-Za-z0-9_ =-]{0,40}\\.[A-Za-z0-9_=-]{0,40}") {
        assert!(!accepts(&mut engine(&hmac_keys()), token.as_bytes()));
    }

    #[test]
    fn a_signed_payload_of_any_bytes_does_not_panic(header in ".{0,60}", payload in ".{0,60}") {
        accepts(&mut engine(&hmac_keys()), hmac_token(&header, &payload).as_bytes());
    }

    #[test]
    fn an_unsigned_payload_is_refused(
        algorithm in prop_oneof![".{0,8}".boxed(), "(RS|PS|ES|HS)(256|384|512)".boxed(), "none|EdDSA".boxed()],
        signature in "[A-Za-z0-9_-]{0,90}",
    ) {
        let header = json!({"alg": algorithm}).to_string();
        let token = hmac_token(&header, r#"{"iss":"i"}"#);
        let (signed, _) = token.rsplit_once('.').unwrap();
        for (_, jwks) in good_tokens() {
            assert!(!accepts(&mut engine(&jwks), format!("{signed}.{signature}").as_bytes()));
        }
    }

    #[test]
    fn configurations_and_key_sets_of_any_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in ".{0,80}") {
        let _ = Config::from_json(&bytes).map(|config| Authenticator::new(&config).map(|_| ()));
        let jwks = json!({"keys": [{"kty": "RSA", "n": text, "e": text}, {"kty": "EC", "x": text, "y": text}, {"kty": "OKP", "x": text}]});
        let config = json!({ "policies": [{ "spec": { "jwtRules": [{ "issuer": text, "jwks": jwks.to_string() }] } }] });
        let _ = Config::from_json(config.to_string().as_bytes()).map(|config| Authenticator::new(&config).map(|_| ()));
    }

    #[test]
    fn paths_of_any_bytes_do_not_panic(path in prop::collection::vec(any::<u8>(), 0..100)) {
        let path = [b"/?access_token=x&", path.as_slice()].concat();
        let request = [(b":path".as_slice(), path.as_slice()), (b"cookie", path.as_slice())];
        let config = Config::from_json(json!({ "policies": [{ "spec": { "jwtRules": [{ "issuer": "i", "jwks": hmac_keys() }] } }] }).to_string().as_bytes()).unwrap();
        assert!(!matches!(Authenticator::new(&config).unwrap().check(request.as_slice(), NOW, &NoHost), Outcome::Allow(_)));
    }
}
