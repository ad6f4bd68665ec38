//! What Envoy 1.40, set up as istiod does it, made of 175 requests: `jwt` makes the same of them, on every engine.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use wasmplugin_host::test::{Answer, Builder, Engine, Proxy, Request, Response};

use crate::engines::Plugin;

const JWT: Plugin = Plugin { package: "jwt", register: jwt::register };

/// Tells, when a request is over, what no client sees.
const PROBE: Plugin = Plugin { package: "attribute-probe", register: attribute_probe::register };

/// Where we differ on purpose: the case, and what we answer. `istio_core::jwt` says why.
const DEVIATIONS: [(&str, u16, &str); 10] = [
    // The type of a key must fit the token's `alg`.
    (
        "quirk: EC key without alg ignores the token's alg family (header RS256, ES256 signature)",
        401,
        "Jwt verification fails",
    ),
    ("quirk: Ed25519 key without alg accepts RS256-labelled EdDSA signature", 401, "Jwt verification fails"),
    // An Ed25519 key does not end the search.
    ("quirk: an Ed25519 key ahead of the RSA key ends the search when the token has no kid", 200, "upstream"),
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

/// When the tokens of the cases hold, unless a case says otherwise; and when the clock of a test starts.
const NOW: u64 = 1_790_000_000;
const START: u64 = 1_767_225_600;

/// How many proxies run at the same time.
const PARALLEL: usize = 4;

/// Each request is sent twice: the second time its token may be known.
const TIMES: usize = 2;

#[test]
fn native() {
    run(Engine::Native);
}

#[test]
fn wasm() {
    run(Engine::Wasm);
}

#[test]
fn envoy() {
    run(Engine::Envoy);
}

fn run(engine: Engine) {
    let cases: Vec<Value> =
        serde_json::from_str(include_str!("../plugins/core/testdata/jwt_cases.json")).unwrap_or_default();
    assert_eq!(cases.len(), 175);
    let named = |name: &str| cases.iter().filter(|case| case["name"] == name).count();
    assert!(DEVIATIONS.iter().all(|(name, ..)| named(name) == 1));

    // One proxy for all cases of a configuration. A real Envoy's clock cannot be set: there `jwt.rs` has fresh tokens.
    let mut groups: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for case in cases.iter().filter(|case| engine != Engine::Envoy || case["now"].is_null()) {
        let setup = json!([case["rules"], case["fetch"], case["now"]]).to_string();
        groups.entry(setup).or_default().push(case);
    }
    let groups: Vec<_> = groups.into_values().collect();
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = decide(engine, group);
                    failures.lock().unwrap().extend(found);
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} failures on {engine}:\n{}", failures.len(), failures.join("\n"));
}

/// Sends the requests of a group of cases through one proxy; returns what is not as expected.
fn decide(engine: Engine, cases: &[&Value]) -> Vec<String> {
    let about = |case: &Value, reason: String| format!("{} / {}: {reason}", text(case, "group"), text(case, "name"));
    let first = cases[0];
    let mut proxy = match (proxy(engine, first).start(), first["expect"]["config_error"].as_str()) {
        (Ok(proxy), None) => proxy,
        (Err(error), Some(expected)) if error.to_string().contains(expected) => return Vec::new(),
        (Err(error), _) => return vec![about(first, format!("no start: {error}"))],
        (Ok(_), Some(expected)) => return vec![about(first, format!("it starts, instead of saying `{expected}`"))],
    };
    if engine != Engine::Envoy && first["fetch"].is_null() {
        proxy.advance(Duration::from_secs(first["now"].as_u64().unwrap_or(NOW) - START));
    }
    let sent: Vec<_> = cases
        .iter()
        .flat_map(|case| [case; TIMES])
        .map(|case| {
            let before = proxy.upstream_requests().len();
            let answer = send(&mut proxy, &case["request"]);
            (case, answer, proxy.upstream_requests().split_off(before))
        })
        .collect();
    let logs = proxy.logs();
    let mut told = ["response|code_details", "istio_jwt_claims"].map(|path| {
        let prefix = format!("@log {path} ");
        logs.iter().filter_map(move |line| line.text.strip_prefix(&prefix).map(unhex)).collect::<Vec<_>>().into_iter()
    });
    let mut failures = Vec::new();
    for (case, answer, upstream) in sent {
        let [details, claims] = told.each_mut().map(|told| told.next().unwrap_or_default());
        let result = answer.and_then(|answer| check(case, &answer, &upstream, &details, &claims));
        failures.extend(result.err().map(|reason| about(case, reason)));
    }
    failures
}

fn proxy(engine: Engine, case: &Value) -> Builder {
    let policies = json!([{"metadata": {"name": "p"}, "spec": {"jwtRules": case["rules"]}}]);
    let probe = PROBE.on(engine).config(json!({"paths": ["response|code_details", "istio_jwt_claims"]}));
    let proxy = probe.then(JWT.on(engine).config(json!({"policies": policies})));
    let cluster = "outbound|80||idp.example.com";
    let fetch = &case["fetch"];
    match fetch["status"].as_u64() {
        None => proxy,
        Some(0) => proxy.unreachable_cluster(cluster),
        Some(status) => {
            let delay = Duration::from_millis(fetch["delay_ms"].as_u64().unwrap_or_default());
            let answer = Answer::new(u16::try_from(status).unwrap()).body(text(fetch, "body").to_owned()).after(delay);
            proxy.cluster(cluster, move |_: &Request| answer.clone())
        }
    }
}

fn send(proxy: &mut Proxy, request: &Value) -> Result<Response, String> {
    let mut sent = proxy
        .request(text(request, "method"), text(request, "path"))
        .header(":authority", text(request, "authority").to_owned());
    for line in request["headers"].as_array().into_iter().flatten() {
        sent = sent.header(line[0].as_str().unwrap(), line[1].as_str().unwrap().to_owned());
    }
    sent.send().map_err(|failure| failure.to_string())
}

/// Compares what became of a request with what Envoy makes of it.
fn check(case: &Value, answer: &Response, upstream: &[Request], details: &str, claims: &str) -> Result<(), String> {
    let expect = &case["expect"];
    let deviation = DEVIATIONS.iter().find(|(name, ..)| *name == text(case, "name"));
    let expected = match deviation {
        Some((_, status, body)) => (*status, *body),
        None => {
            let status = expect["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap();
            (status, if status == 200 { "upstream" } else { text(expect, "body") })
        }
    };
    let head = text(&case["request"], "method") == "HEAD";
    same("status", answer.status(), expected.0)?;
    same("body", answer.text().as_str(), if head { "" } else { expected.1 })?;
    same("requests upstream", upstream.len(), usize::from(expected.0 == 200))?;
    let claims: Value = serde_json::from_str(claims).unwrap_or_default();
    if let Some(payload) = expect["payload"].as_object() {
        let differs = payload.iter().find(|(name, value)| !same_json(&claims[*name], value));
        same("claim", differs.map(|(name, _)| (name, &claims[name])), None)?;
    }
    if deviation.is_some() {
        return Ok(());
    }
    same("principal", principal(&claims).as_deref(), expect["principal"].as_str())?;
    let Some(request) = upstream.first() else {
        same("details", Some(details), expect["rcd"].as_str())?;
        same("www-authenticate", answer.header("www-authenticate"), expect["www_authenticate"].as_str())?;
        return same("content-type", answer.header("content-type"), Some("text/plain"));
    };
    if let Some(path) = expect["path_upstream"].as_str() {
        same("path", request.path(), path)?;
    }
    for (name, value) in expect["headers_upstream"].as_object().into_iter().flatten() {
        same(name, request.headers().all(name), value.as_str().into_iter().collect())?;
    }
    Ok(())
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what} {found:?}, expected {expected:?}")) }
}

/// Numbers are what doubles make of them.
fn same_json(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        _ => one == other,
    }
}

/// Who made the request, as policies name him.
fn principal(claims: &Value) -> Option<String> {
    let part = |name: &str| claims[name].as_str().filter(|part| !part.is_empty());
    Some(format!("{}/{}", part("iss")?, part("sub")?))
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// What the probe was told: the status, and behind it the bytes in hexadecimal.
fn unhex(told: &str) -> String {
    let digits = told.split_once(' ').map_or("", |(_, digits)| digits).as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    String::from_utf8(digits.chunks(2).map(byte).collect()).unwrap()
}
