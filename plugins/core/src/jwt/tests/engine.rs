//! The whole engine, asked by requests: what the shared cases do not show. Marked results were measured on Envoy 1.40.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::fixtures::{hmac_keys, hmac_token, url};
use super::super::{Allow, Authenticator, Config, Counter, Denial, Failure, NoHost, Outcome, Progress};

pub(super) const NOW: Duration = Duration::from_secs(1_790_000_000);

pub(super) fn engine(rules: Value) -> Authenticator {
    let config = json!({ "policies": [{ "metadata": {}, "spec": { "jwtRules": rules } }] });
    Authenticator::new(&Config::from_json(config.to_string().as_bytes()).unwrap()).unwrap()
}

pub(super) fn rule(issuer: &str, more: Value) -> Value {
    let mut rule = json!({ "issuer": issuer, "jwks": hmac_keys() });
    rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    rule
}

pub(super) fn token(payload: Value) -> String {
    hmac_token(r#"{"alg":"HS256"}"#, &payload.to_string())
}

pub(super) type Line<'a> = (&'a str, &'a str);

pub(super) fn check(engine: &mut Authenticator, lines: &[Line<'_>]) -> Outcome {
    check_at(engine, lines, NOW)
}

pub(super) fn check_at(engine: &mut Authenticator, lines: &[Line<'_>], now: Duration) -> Outcome {
    let mut request = vec![(":method", "GET"), (":scheme", "http"), (":authority", "h")];
    if !lines.iter().any(|(name, _)| *name == ":path") {
        request.push((":path", "/"));
    }
    request.retain(|(name, _)| !lines.iter().any(|(other, _)| other == name));
    request.extend(lines);
    engine.check(request.as_slice(), now, &NoHost)
}

pub(super) fn allowed(outcome: Outcome) -> Allow {
    match outcome {
        Outcome::Allow(allow) => allow,
        other => panic!("{other:?}"),
    }
}

pub(super) fn denied(outcome: Outcome) -> Denial {
    match outcome {
        Outcome::Deny(denial) => denial,
        other => panic!("{other:?}"),
    }
}

fn principal(allow: &Allow) -> Option<&str> {
    allow.identity.as_ref()?.principal.as_deref()
}

fn added(allow: &Allow) -> Vec<(&str, String)> {
    let add = allow.changes.add.iter();
    add.map(|(name, value)| (name.as_str(), String::from_utf8(value.clone()).unwrap())).collect()
}

/// Measured.
#[test]
fn each_good_token_of_a_rule_writes_its_lines_the_first_ones_last() {
    let more = json!({"fromHeaders": [{"name": "x-a"}, {"name": "x-b"}], "outputClaimToHeaders": [{"header": "X-C", "claim": "sub"}]});
    let mut engine = engine(json!([rule("i", more)]));
    let (first, second) = (token(json!({"iss": "i", "sub": "first"})), token(json!({"iss": "i", "sub": "second"})));
    let allow = allowed(check(&mut engine, &[("x-a", &first), ("x-b", &second), ("x-c", "forged")]));
    assert_eq!(added(&allow), [("x-c", "second".to_owned()), ("x-c", "first".to_owned())]);
    assert_eq!(allow.changes.remove, ["x-a", "x-b", "x-c"]);
    assert_eq!(principal(&allow), Some("i/first"));
    assert_eq!(denied(check(&mut engine, &[("x-a", "")])).failure, Failure::Form);
}

/// Measured.
#[test]
fn what_a_rule_did_before_it_failed_stays_done() {
    let places = json!({"fromHeaders": [{"name": "x-a"}, {"name": "x-b"}], "outputPayloadToHeader": "x-p"});
    let (good, bad) = (token(json!({"iss": "1"})), token(json!({"iss": "1", "exp": 1})));
    let mut first = engine(json!([rule("1", places.clone()), rule("1", json!({"fromHeaders": [{"name": "x-b"}]}))]));
    let denial = denied(check(&mut first, &[("x-a", &bad), ("x-b", &good)]));
    assert_eq!(denial.failure, Failure::Expired, "the second rule no longer sees the token");
    let mut second = engine(json!([rule("1", places), rule("2", json!({"fromHeaders": [{"name": "x-c"}]}))]));
    let other = token(json!({"iss": "2", "sub": "s"}));
    let allow = allowed(check(&mut second, &[("x-a", &bad), ("x-b", &good), ("x-c", &other)]));
    assert_eq!(
        (principal(&allow), allow.changes.remove.as_slice()),
        (Some("2/s"), ["x-b".to_owned(), "x-c".to_owned()].as_slice())
    );
    assert_eq!(added(&allow).len(), 1);
}

/// Envoy walks a second time, finds the tokens that stopped each rule taken out by the other, and lets it pass.
#[test]
fn tokens_that_failed_rules_took_out_do_not_make_a_request_tokenless() {
    let places =
        |names: &[&str]| json!({"fromHeaders": names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>()});
    let mut engine = engine(json!([rule("1", places(&["x-0", "x-a", "x-b"])), rule("2", places(&["x-0", "x-a"]))]));
    let (one, two) = (token(json!({"iss": "1"})), token(json!({"iss": "2"})));
    let denial = denied(check(&mut engine, &[("x-0", &one), ("x-a", &two), ("x-b", &one)]));
    assert_eq!(denial.failure, Failure::UnknownIssuer);
    let allow = allowed(check(&mut engine, &[("x-a", &two), ("x-b", &one)]));
    assert_eq!(allow.identity.unwrap().claims.as_ref(), r#"{"iss":"2"}"#);
}

/// Measured.
#[test]
fn a_header_that_a_rule_writes_is_no_place_for_a_token() {
    let mut engine =
        engine(json!([rule("i", json!({"fromHeaders": [{"name": "x-a"}], "outputPayloadToHeader": "X-A"}))]));
    let allow = allowed(check(&mut engine, &[("x-a", "junk")]));
    assert_eq!((principal(&allow), allow.changes.remove.as_slice()), (None, ["x-a".to_owned()].as_slice()));
}

/// Measured.
#[test]
fn requests_without_a_path_and_preflights_pass_unchecked() {
    let mut engine = engine(json!([rule("i", json!({"outputPayloadToHeader": "x-p"}))]));
    let bad = ("authorization", "Bearer bad");
    let preflight = |origin, method| {
        [(":method", "OPTIONS"), ("origin", origin), ("access-control-request-method", method), ("x-p", "forged"), bad]
    };
    for lines in [preflight("https://a", "GET").as_slice(), &[(":path", "*"), ("x-p", "forged"), bad]] {
        let allow = allowed(check(&mut engine, lines));
        assert_eq!((allow.identity.is_none(), allow.changes.remove.as_slice()), (true, ["x-p".to_owned()].as_slice()));
    }
    assert_eq!(denied(check(&mut engine, &preflight("", "GET"))).failure, Failure::Form);
    assert_eq!(denied(check(&mut engine, &preflight("https://a", ""))).failure, Failure::Form);
    let counts: Vec<_> = engine.take_counts().collect();
    assert_eq!(counts, [(Counter::Allowed, 2), (Counter::Denied, 2), (Counter::CorsPreflightBypassed, 1)]);
    assert_eq!(engine.take_counts().count(), 0);
}

/// Measured.
#[test]
fn the_realm_is_the_uri_that_the_client_asked_for() {
    let mut engine = engine(json!([rule("i", json!({}))]));
    let denial = denied(check(
        &mut engine,
        &[("authorization", "Bearer a"), ("x-envoy-original-path", "/orig?x"), (":path", "/p")],
    ));
    assert_eq!(denial.www_authenticate, b"Bearer realm=\"http://h/orig?x\", error=\"invalid_token\"");
}

#[test]
fn a_remembered_token_is_still_checked_for_time_and_audience() {
    let more = |audience: &str| json!({"audiences": [audience]});
    let mut engine = engine(json!([rule("i", more("a"))]));
    let token = token(json!({"iss": "i", "aud": "a", "nbf": 1_789_999_000, "exp": 1_790_000_100}));
    let bearer = format!("Bearer {token}");
    let mut at = |seconds: u64| check_at(&mut engine, &[("authorization", &bearer)], Duration::from_secs(seconds));
    allowed(at(1_790_000_000));
    allowed(at(1_790_000_160));
    assert_eq!(denied(at(1_790_000_161)).failure, Failure::Expired);
    allowed(at(1_789_998_940));
    assert_eq!(denied(at(1_789_998_939)).failure, Failure::NotYetValid);
    let hits: Vec<_> = engine.take_counts().filter(|(counter, _)| *counter == Counter::JwtCacheHit).collect();
    assert_eq!(hits, [(Counter::JwtCacheHit, 2)]);
}

#[test]
fn what_one_rule_accepts_is_no_verdict_of_another() {
    let other = json!({"issuer": "i", "audiences": ["b"], "jwks": r#"{"keys":[{"kty":"oct","k":"YWJj"}]}"#});
    let places = |name: &str, mut rule: Value| {
        rule["fromHeaders"] = json!([{"name": name}]);
        rule
    };
    let mut engine = engine(json!([places("x-a", rule("i", json!({}))), places("x-b", other)]));
    let token = token(json!({"iss": "i", "aud": "b"}));
    allowed(check(&mut engine, &[("x-a", &token)]));
    assert_eq!(denied(check(&mut engine, &[("x-b", &token)])).failure, Failure::Signature);
}

#[test]
fn without_a_cache_everything_is_verified_anew() {
    let policies = json!([{ "spec": { "jwtRules": [rule("i", json!({}))] } }]);
    let config = json!({ "policies": policies, "verdictCache": { "tokens": 0 } });
    let mut engine = Authenticator::new(&Config::from_json(config.to_string().as_bytes()).unwrap()).unwrap();
    let bearer = format!("Bearer {}", token(json!({"iss": "i"})));
    for _ in 0..3 {
        allowed(check(&mut engine, &[("authorization", &bearer)]));
    }
    assert!(engine.take_counts().any(|count| count == (Counter::JwtCacheMiss, 3)));
}

#[test]
fn a_token_waits_for_its_keys_and_no_other_does() {
    let mut engine = engine(json!([{"issuer": "i", "jwksUri": "http://idp/jwks"}]));
    let bearer = format!("Bearer {}", token(json!({"iss": "i", "sub": "s"})));
    let line = [("authorization", bearer.as_str())];
    allowed(check(&mut engine, &[]));
    let expired = format!("Bearer {}", token(json!({"iss": "i", "exp": 1})));
    assert_eq!(denied(check(&mut engine, &[("authorization", &expired)])).failure, Failure::Expired);
    let Outcome::NeedKeys(sets) = check(&mut engine, &line) else { panic!("no wait") };
    let fetch = engine.begin_fetch(sets[0], NOW).unwrap();
    assert!(!engine.is_settled(sets[0], NOW) && engine.begin_fetch(sets[0], NOW).is_none());
    assert!(matches!(check(&mut engine, &line), Outcome::NeedKeys(_)), "a second request waits for the same fetch");
    assert_eq!(engine.finish_fetch(&fetch, Some((200, hmac_keys().as_bytes())), NOW), Progress::Fetched);
    assert!(engine.is_settled(sets[0], NOW));
    assert_eq!(principal(&allowed(check(&mut engine, &line))), Some("i/s"));
    let later = NOW + Duration::from_secs(300);
    assert!(
        matches!(check_at(&mut engine, &line, later), Outcome::NeedKeys(_)),
        "a remembered verdict does not outlive its keys"
    );
    let fetch = engine.begin_fetch(sets[0], later).unwrap();
    engine.finish_fetch(&fetch, None, later);
    assert_eq!(denied(check_at(&mut engine, &line, later)).failure, Failure::KeysFetch);
}

#[test]
fn a_verdict_is_dropped_when_the_keys_change() {
    let mut engine = engine(json!([{"issuer": "i", "jwksUri": "http://idp/jwks"}]));
    let bearer = format!("Bearer {}", token(json!({"iss": "i"})));
    let line = [("authorization", bearer.as_str())];
    for (keys, good) in
        [(hmac_keys(), true), (r#"{"keys":[{"kty":"oct","k":"YWJj"}]}"#.to_owned(), false), (hmac_keys(), true)]
    {
        let fetch = engine.begin_fetch(super::super::KeySetId(0), NOW).unwrap();
        engine.finish_fetch(&fetch, Some((200, keys.as_bytes())), NOW);
        assert_eq!(matches!(check(&mut engine, &line), Outcome::Allow(_)), good);
    }
}

#[test]
fn an_unknown_key_id_waits_for_a_newer_set_and_then_no_more() {
    let mut engine = engine(json!([{"issuer": "i", "jwksUri": "http://idp/jwks"}]));
    let bearer = format!("Bearer {}", hmac_token(r#"{"alg":"HS256","kid":"new"}"#, r#"{"iss":"i"}"#));
    let line = [("authorization", bearer.as_str())];
    let old = hmac_keys();
    let new = old.replace("\"kid\":\"k\"", "\"kid\":\"new\"");
    let fetch = |engine: &mut Authenticator, keys: &str, now| {
        let fetch = engine.begin_fetch(super::super::KeySetId(0), now).unwrap();
        assert!(!engine.is_settled(fetch.id, now), "who waits for a newer set waits for this fetch");
        engine.finish_fetch(&fetch, Some((200, keys.as_bytes())), now);
    };
    fetch(&mut engine, &old, NOW);
    let (early, late) = (NOW + Duration::from_secs(9), NOW + Duration::from_secs(10));
    assert_eq!(denied(check_at(&mut engine, &line, early)).failure, Failure::NoKey);
    assert!(matches!(check_at(&mut engine, &line, late), Outcome::NeedKeys(_)));
    fetch(&mut engine, &old, late);
    assert_eq!(denied(check_at(&mut engine, &line, late)).failure, Failure::NoKey);
    let later = NOW + Duration::from_secs(20);
    assert!(matches!(check_at(&mut engine, &line, later), Outcome::NeedKeys(_)));
    fetch(&mut engine, &new, later);
    allowed(check_at(&mut engine, &line, later));
}

#[test]
fn a_key_in_the_token_is_not_a_key() {
    let mut engine = engine(json!([{"issuer": "i", "jwks": r#"{"keys":[{"kty":"oct","k":"YWJj"}]}"#}]));
    let embedded: Value = serde_json::from_str(&hmac_keys()).unwrap();
    for header in [
        json!({"alg": "HS256", "jwk": embedded["keys"][0]}),
        json!({"alg": "HS256", "jku": "http://evil/jwks"}),
        json!({"alg": "HS256", "x5u": "http://evil/x", "x5c": ["AAAA"]}),
    ] {
        let bearer = format!("Bearer {}", hmac_token(&header.to_string(), r#"{"iss":"i"}"#));
        assert_eq!(denied(check(&mut engine, &[("authorization", &bearer)])).failure, Failure::Signature);
    }
}

/// The classic confusion: an RSA public key as the secret of an HMAC, in every form that it is written in.
#[test]
fn a_public_key_is_no_secret() {
    use hmac::{KeyInit as _, Mac as _};
    let certificate = include_bytes!("../../../testdata/rsa_certificate.der");
    let pem = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        super::super::base64::encode_standard(certificate)
    );
    let (modulus, _) = super::super::der::rsa_key_of_certificate(certificate).unwrap();
    let mut engine = engine(json!([{"issuer": "i", "jwks": json!({"k": pem}).to_string()}]));
    let signed = format!("{}.{}", url(br#"{"alg":"HS256"}"#), url(br#"{"iss":"i"}"#));
    for secret in [pem.as_bytes(), certificate, modulus, b""] {
        let mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(secret).unwrap().chain_update(&signed);
        let bearer = format!("Bearer {signed}.{}", url(&mac.finalize().into_bytes()));
        assert_eq!(denied(check(&mut engine, &[("authorization", &bearer)])).failure, Failure::Signature);
    }
}

#[test]
fn no_rules_means_everybody_passes() {
    let allow = allowed(check(&mut engine(json!([])), &[("authorization", "Bearer junk")]));
    assert!(allow.changes.is_empty() && allow.identity.is_none());
}
