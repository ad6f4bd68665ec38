//! The shared cases of Istio's authorization policies, decided by the whole plugin.
//!
//! | cases | core | Wasmtime | Envoy |
//! |---|---|---|---|
//! | about methods, paths, hosts, headers, claims, addresses of the client, dry run, trust domains | yes | yes | yes |
//! | about principals and server names, which need TLS | yes | yes | yes |
//! | about the address and port of the listener, which no test can choose | yes | no | no |
//! | about what the proxy makes of a path before its filters | yes | no | no |
//! | that rest on Istio's listener: a fragment in the path, a forged `x-forwarded-for` | yes | yes | no |
//! | TCP | yes | yes | yes |
//!
//! What is reported (the id of the policy, the dry run, the audit) is compared by what the plugin logs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wasmplugin_host::test::{Answer, Engine, Failure, Proxy, Tls};

use crate::engines::Plugin;

const RBAC: Plugin = Plugin { package: "rbac", register: rbac::register };

/// Where the plugin differs on purpose: the name of the case, and the place that it refuses or `denied`.
const STRICTER: [(&str, &str); 7] = [
    ("DENY: unknown condition key drops the rule too (fails open)", "policies[0].spec.rules[0].when[0].key"),
    ("DENY: a bad CIDR is dropped and the rest kept", "policies[0].spec.rules[0].from[0].source.ipBlocks[1]"),
    ("ALLOW: bad port drops the rule", "policies[0].spec.rules[0].to[0].operation.ports[0]"),
    ("from with an empty source matches anyone", "policies[0].spec.rules[0].from[0].source"),
    ("to with an empty operation matches anything", "policies[0].spec.rules[0].to[0].operation"),
    (
        "trust domain suffix pattern does not cross the slash",
        "policies[0].spec.rules[0].from[0].source.trustDomains[0]",
    ),
    ("DENY template does not cover a path with a bracket", "denied"),
];

fn stricter(case: &Value) -> Option<&'static str> {
    STRICTER.iter().find(|(name, _)| case["name"] == *name).map(|(_, how)| *how)
}

/// Whether a case can be asked here: see the table above.
fn asked(case: &Value, engine: Engine) -> bool {
    let (request, policies) = (&case["request"], case["policies"].to_string());
    let listener = ["\"ports\"", "\"notPorts\"", "destination."].iter().any(|field| policies.contains(field));
    let encoded = request["path"].as_str().is_some_and(|path| path.contains('|'));
    let listeners_own = request["path"].as_str().is_some_and(|path| path.contains('#'))
        || request["headers"].to_string().contains("x-forwarded-for");
    let refused = stricter(case).is_some_and(|how| how != "denied");
    let in_memory = engine != Engine::Envoy;
    let normalized = case["group"] == "normalization" || encoded;
    !normalized && (!listener || refused) && (in_memory || !listeners_own)
}

/// Everything of a case that a proxy is started with; cases that agree in it share one proxy.
fn surroundings(case: &Value) -> Value {
    let request = &case["request"];
    let config = json!({
        "policies": case["policies"],
        "rootNamespace": case["root_namespace"],
        "trustDomain": case["trust_domain"],
        "trustDomainAliases": case["trust_domain_aliases"],
        "sourceIp": {"filterState": "peer"},
        "providers": {"my-authz": {"cluster": "authz"}},
        "protocol": request["protocol"],
    });
    let kept = ["source_ip", "remote_ip", "principal", "sni", "tls", "jwt_claims"];
    let facts: serde_json::Map<_, _> = kept.iter().map(|name| ((*name).to_owned(), request[*name].clone())).collect();
    json!({"config": config, "facts": facts})
}

/// What is wrong with the decisions about cases that share a proxy.
fn verdicts(engine: Engine, around: &Value, cases: &[&Value]) -> Vec<String> {
    let facts = &around["facts"];
    let text = |name: &str| facts[name].as_str().unwrap_or_default().to_owned();
    let remote = text("remote_ip").parse().unwrap();
    let mut proxy = RBAC
        .on(engine)
        .config(around["config"].clone())
        .client(SocketAddr::new(remote, 4000))
        .filter_state("peer", text("source_ip"))
        .cluster("authz", |_| Answer::new(200));
    if around["config"]["protocol"] == "tcp" {
        proxy = proxy.tcp_echo();
    }
    if facts["jwt_claims"].is_object() {
        proxy = proxy.filter_state("wasm.istio_jwt_claims", facts["jwt_claims"].to_string());
    }
    if !facts["principal"].is_null() || !facts["sni"].is_null() || facts["tls"] == true {
        let peer_uris: Vec<_> = facts["principal"].as_str().map(str::to_owned).into_iter().collect();
        let requested_server_name = text("sni");
        proxy = proxy.tls(Tls { mutual: !peer_uris.is_empty(), peer_uris, requested_server_name, ..Tls::default() });
    }
    let mut wrong = Vec::new();
    let mut proxy = match proxy.start() {
        Ok(proxy) => proxy,
        Err(error) => {
            let error = error.to_string();
            let expected = |case: &&&Value| stricter(case).is_none_or(|place| !error.contains(&format!("`{place}`")));
            return cases.iter().filter(expected).map(|case| format!("{}: {error}", case["name"])).collect();
        }
    };
    for case in cases {
        let answered =
            if case["request"]["protocol"] == "tcp" { connect(&mut proxy, case) } else { ask(&mut proxy, case) };
        wrong.extend(answered.unwrap_or_else(|failure| Some(failure.to_string())).map(|wrong| told(case, &wrong)));
    }
    let reports = reports(&mut proxy, cases.len());
    if reports.len() != cases.len() {
        wrong.push(format!("{} reports about {} cases", reports.len(), cases.len()));
    }
    wrong.extend(cases.iter().zip(&reports).filter_map(|(case, lines)| Some(told(case, &misreported(case, lines)?))));
    wrong
}

fn told(case: &Value, wrong: &str) -> String {
    format!("{}: {wrong}", case["name"])
}

/// Sends the request of a case; says what is wrong with the answer.
fn ask(proxy: &mut Proxy, case: &Value) -> Result<Option<String>, Failure> {
    let request = &case["request"];
    let word = |name: &str| request[name].as_str().unwrap_or_default();
    let mut sent = proxy.request(word("method"), word("path")).header(":authority", word("authority").to_owned());
    for line in request["headers"].as_array().into_iter().flatten() {
        sent = sent.header(line[0].as_str().unwrap(), line[1].as_str().unwrap().to_owned());
    }
    let status = match stricter(case) {
        Some(_) => 403,
        None => case["expect"]["status"].as_u64().unwrap(),
    };
    let answer = sent.send()?;
    Ok(if u64::from(answer.status()) != status {
        Some(format!("{} in the place of {status}", answer.status()))
    } else if status == 403 && word("method") != "HEAD" && answer.text() != "RBAC: access denied" {
        Some(answer.text())
    } else {
        None
    })
}

/// Makes the connection of a case; says whether it was wrongly left open, or closed.
fn connect(proxy: &mut Proxy, case: &Value) -> Result<Option<String>, Failure> {
    let remote = case["request"]["remote_ip"].as_str().unwrap().parse().unwrap();
    let mut client = proxy.connect_from(SocketAddr::new(remote, 4000))?;
    // A connection that is refused at once may be closed before anything is sent.
    let sent = client.send("hello");
    let echo = sent.and_then(|()| client.read_exact(5)).is_ok_and(|echo| echo == b"hello");
    Ok((case["expect"]["allow"] != echo).then(|| if echo { "let through" } else { "closed" }.to_owned()))
}

/// What the plugin has logged about each request or connection; the last line says what was decided.
pub(crate) fn reports(proxy: &mut Proxy, count: usize) -> Vec<Vec<String>> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let mut reports = vec![Vec::new()];
        for line in proxy.logs() {
            let decided = line.text.starts_with("allowed, ") || line.text.starts_with("denied, ");
            reports.last_mut().unwrap().push(line.text);
            if decided {
                reports.push(Vec::new());
            }
        }
        reports.pop();
        if reports.len() >= count || Instant::now() > deadline {
            return reports;
        }
    }
}

/// What is wrong with a report.
fn misreported(case: &Value, lines: &[String]) -> Option<String> {
    let expected = &case["expect"];
    let allowed = expected["allow"] == true && stricter(case).is_none();
    // In details of a response, blanks are replaced.
    let has = |start: &str, policy: Option<&str>| {
        let fits = |id: &str| policy.is_none_or(|policy| id.replace(' ', "_") == policy);
        lines.iter().any(|line| line.strip_prefix(start).is_some_and(fits))
    };
    let refused_by = expected["rcd"].as_str().and_then(|details| details.split_once('[')?.1.strip_suffix(']'));
    let policy = if stricter(case).is_some() { None } else { expected["matched_policy"].as_str().or(refused_by) };
    let outcome = if allowed { "allowed, matched policy " } else { "denied, matched policy " };
    let shadow = &expected["shadow"];
    let dry_run = shadow["result"].as_str().is_none_or(|result| {
        let action = shadow["action"].as_str().unwrap().to_uppercase();
        has(&format!("dry run of {action} policies: {result}, matched policy "), shadow["policy"].as_str())
    });
    let audited = expected["audit"] != true || has("an AUDIT policy matched", None);
    (!has(outcome, policy) || !dry_run || !audited).then(|| format!("reported {lines:?}, expected {expected}"))
}

fn decide(engine: Engine, least: usize) {
    let cases = include_str!("../plugins/core/testdata/rbac_cases.json");
    let cases: Vec<Value> = serde_json::from_str(cases).unwrap();
    let mut batches: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for case in cases.iter().filter(|case| asked(case, engine)) {
        batches.entry(surroundings(case).to_string()).or_default().push(case);
    }
    let count: usize = batches.values().map(Vec::len).sum();
    assert!(count >= least, "only {count} cases are asked");
    let batches: Vec<_> = batches.into_iter().collect();
    let wrong: Vec<String> = batches
        .iter()
        .flat_map(|(around, cases)| verdicts(engine, &serde_json::from_str(around).unwrap(), cases))
        .collect();
    assert!(wrong.is_empty(), "{} of {count} cases are decided wrongly:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn wasmtime_decides_every_case_that_it_can_be_asked() {
    decide(Engine::Wasm, 180);
}

#[test]
fn envoy_decides_every_case_that_it_can_be_asked() {
    decide(Engine::Envoy, 150);
}
