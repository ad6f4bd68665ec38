//! The cases of `testdata/jwt_cases.json`: what Envoy 1.40, set up as istiod does it, made of 175 requests.

use std::time::Duration;

use serde_json::Value;

use super::super::fixtures::DerHost;
use super::super::{Authenticator, Config, Headers, Host, NoHost, Outcome, Progress, Trusted};

/// Where we refuse on purpose, and why Envoy does not; or the other way round.
const DEVIATIONS: &[(&str, u16, &str)] = &[
    // The type of a key must fit the token's `alg`.
    (
        "quirk: EC key without alg ignores the token's alg family (header RS256, ES256 signature)",
        401,
        "Jwt verification fails",
    ),
    ("quirk: Ed25519 key without alg accepts RS256-labelled EdDSA signature", 401, "Jwt verification fails"),
    // An Ed25519 key does not end the search.
    ("quirk: an Ed25519 key ahead of the RSA key ends the search when the token has no kid", 200, ""),
    // Strict form and base64.
    (
        "quirk: empty sections are skipped, double dot",
        401,
        "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
    ),
    ("quirk: base64 padding in the payload section", 401, "Jwt payload is an invalid Base64url encoded"),
    ("quirk: blanks inside the signature section are skipped", 401, "Jwt signature is an invalid Base64url encoded"),
    ("non-zero spare bits in the last signature character", 401, "Jwt signature is an invalid Base64url encoded"),
    // Strict JSON.
    ("payload JSON: single quotes", 401, "Jwt payload is an invalid JSON"),
    ("payload JSON: trailing comma", 401, "Jwt payload is an invalid JSON"),
    ("payload JSON: raw tab in a string", 401, "Jwt payload is an invalid JSON"),
];

/// When the tokens of the cases hold, unless a case says otherwise.
const NOW: u64 = 1_790_000_000;

#[test]
fn all_cases_are_decided_as_envoy_decides_them() {
    run(&NoHost, Trusted::default());
}

#[test]
fn all_cases_are_decided_the_same_when_the_host_verifies() {
    let host = DerHost::default();
    run(&host, Trusted::probe(&host));
    assert!(host.asked.get() > 100, "the host was asked");
}

fn run(host: &dyn Host, trusted: Trusted) {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../../../testdata/jwt_cases.json")).unwrap();
    let mut failures = Vec::new();
    for case in &cases {
        if let Err(reason) = check(case, host, trusted) {
            failures.push(format!("{} / {}: {reason}", text(case, "group"), text(case, "name")));
        }
    }
    assert_eq!(cases.len(), 175);
    assert!(failures.is_empty(), "{} of {} cases fail:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn check(case: &Value, host: &dyn Host, trusted: Trusted) -> Result<(), String> {
    let expect = &case["expect"];
    let config =
        serde_json::json!({ "policies": [{ "metadata": {"name": "p"}, "spec": { "jwtRules": case["rules"] } }] });
    let config = Config::from_json(config.to_string().as_bytes()).map_err(|error| error.to_string())?;
    let mut engine = match (Authenticator::new(&config), expect["config_error"].as_str()) {
        (Ok(engine), None) => engine.with_trusted_host(trusted),
        (Err(error), Some(expected)) if error.reason() == expected => return Ok(()),
        (other, expected) => return Err(format!("configuration: {other:?}, expected {expected:?}")),
    };
    let request = request(&case["request"]);
    let now = Duration::from_secs(case["now"].as_u64().unwrap_or(NOW));
    let outcome = decide(&mut engine, &request, now, host, case);
    let again = decide(&mut engine, &request, now, host, case);
    if outcome != again {
        return Err(format!("{outcome:?}, and the second time {again:?}"));
    }
    let deviation = DEVIATIONS.iter().find(|(name, ..)| *name == text(case, "name"));
    let expected = deviation.map_or((expect["status"].as_u64(), text(expect, "body")), |(_, status, body)| {
        (Some(u64::from(*status)), *body)
    });
    match outcome {
        Outcome::Deny(denial) => {
            let found = (Some(u64::from(denial.status)), denial.body);
            // A HEAD request is told nothing.
            let head = text(&case["request"], "method") == "HEAD";
            if found != expected && !(head && found.0 == expected.0) {
                return Err(format!("{found:?}, expected {expected:?}"));
            }
            if deviation.is_none() {
                same("rcd", &denial.details, &expect["rcd"])?;
                same(
                    "www-authenticate",
                    &String::from_utf8_lossy(&denial.www_authenticate),
                    &expect["www_authenticate"],
                )?;
            }
            Ok(())
        }
        Outcome::Allow(allow) => {
            if expected.0 != Some(200) {
                return Err(format!("allowed, expected {expected:?}"));
            }
            let identity = allow.identity.as_ref();
            if deviation.is_none() {
                let principal = identity.and_then(|identity| identity.principal.as_deref());
                if principal != expect["principal"].as_str() {
                    return Err(format!("principal {principal:?}, expected {}", expect["principal"]));
                }
            }
            if let Some(payload) = expect.get("payload") {
                let claims: Value =
                    identity.and_then(|identity| serde_json::from_str(&identity.claims).ok()).unwrap_or_default();
                let differs = |(name, value): (&String, &Value)| !same_json(&claims[name], value);
                if payload.as_object().is_some_and(|payload| payload.iter().any(differs)) {
                    return Err(format!("payload {claims}, expected {payload}"));
                }
            }
            upstream(&request, &allow.changes, expect)
        }
        Outcome::NeedKeys(_) => Err("still waits for keys".to_owned()),
    }
}

fn same(what: &str, found: &str, expected: &Value) -> Result<(), String> {
    if Some(found) == expected.as_str() { Ok(()) } else { Err(format!("{what} `{found}`, expected {expected}")) }
}

fn same_json(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        _ => one == other,
    }
}

/// The request as the codec hands it on, which trims values.
fn request(request: &Value) -> Vec<(String, String)> {
    let pseudo = [("method", ":method"), ("path", ":path"), ("authority", ":authority")];
    let mut lines: Vec<_> =
        pseudo.iter().map(|(from, to)| ((*to).to_owned(), text(request, from).to_owned())).collect();
    lines.push((":scheme".to_owned(), "http".to_owned()));
    for line in request["headers"].as_array().into_iter().flatten() {
        let part = |index: usize| line[index].as_str().unwrap_or_default();
        lines.push((part(0).to_ascii_lowercase(), part(1).trim().to_owned()));
    }
    lines
}

fn decide(
    engine: &mut Authenticator,
    request: &[(String, String)],
    now: Duration,
    host: &dyn Host,
    case: &Value,
) -> Outcome {
    for _ in 0..3 {
        let outcome = engine.check(request, now, host);
        let Outcome::NeedKeys(sets) = &outcome else { return outcome };
        for set in sets {
            let fetch = engine.begin_fetch(*set, now).unwrap();
            assert_eq!((fetch.cluster.as_str(), fetch.path.as_str()), ("outbound|80||idp.example.com", "/jwks"));
            let answer = &case["fetch"];
            let status = answer["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or_default();
            let delay = Duration::from_millis(answer["delay_ms"].as_u64().unwrap_or_default());
            let answered = (status != 0 && delay < fetch.timeout).then_some((status, text(answer, "body").as_bytes()));
            assert!(!matches!(engine.finish_fetch(&fetch, answered, now), Progress::Next(_)));
        }
    }
    panic!("`{}` waits for ever", text(case, "name"));
}

fn upstream(request: &[(String, String)], changes: &super::super::Changes, expect: &Value) -> Result<(), String> {
    for (name, expected) in expect["headers_upstream"].as_object().into_iter().flatten() {
        let kept = request
            .values(name)
            .filter(|_| !changes.remove.contains(name))
            .map(|value| String::from_utf8_lossy(value).into_owned());
        let added = changes
            .add
            .iter()
            .filter(|(added, _)| added == name)
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned());
        let found: Vec<_> = kept.chain(added).collect();
        let right = match expected.as_str() {
            None => found.is_empty(),
            Some(expected) => found == [expected],
        };
        if !right {
            return Err(format!("header `{name}` {found:?}, expected {expected}"));
        }
    }
    match (expect["path_upstream"].as_str(), &changes.path) {
        (Some(expected), Some(path)) if path == expected.as_bytes() => Ok(()),
        (Some(expected), None) if request.values(":path").next() == Some(expected.as_bytes()) => Ok(()),
        (None, _) => Ok(()),
        (Some(expected), found) => Err(format!("path {found:?}, expected `{expected}`")),
    }
}
