//! Requests and configurations that somebody made to hurt: they end, soon, and refused.

use serde_json::{Value, json};

use super::engine;
use crate::rbac::claims::Claim;
use crate::rbac::facts::Facts;

fn policies(action: &str, rules: Value) -> Value {
    json!({"policies": [{"metadata": {"name": "p", "namespace": "n"}, "spec": {"action": action, "rules": rules}}], "sourceIp": "downstream"})
}

fn denied(rule: Value, facts: &Facts<'_>) -> bool {
    let engine = engine(&policies("DENY", json!([rule]))).unwrap();
    let decision = engine.decide(facts);
    assert_eq!(decision, engine.decide_plainly(facts));
    !decision.outcome.allowed()
}

#[test]
fn the_last_of_ten_thousand_headers_still_counts() {
    let value = vec![b'a'; 1024];
    let mut headers: Vec<(&[u8], &[u8])> = vec![(b"x-tenant", &value); 10_000];
    headers.push((b"X-Tenant", b"evil"));
    let rule = json!({"when": [{"key": "request.headers[x-tenant]", "values": ["evil"]}]});
    assert!(denied(rule, &Facts { headers: &headers, ..Facts::default() }));
}

#[test]
fn a_hundred_thousand_blocks_are_one_step_each() {
    let blocks: Vec<String> =
        (0..100_000).map(|block| format!("10.{}.{}.{}/32", block >> 16, block >> 8 & 255, block & 255)).collect();
    let rule = json!({"from": [{"source": {"ipBlocks": blocks}}]});
    let config = policies("DENY", json!([rule]));
    let engine = engine(&config).unwrap();
    for (ip, allowed) in [("10.1.134.159", false), ("10.1.134.160", true), ("::1", true)] {
        let facts = Facts { direct_ip: ip.parse().ok(), ..Facts::default() };
        assert_eq!(engine.decide(&facts).outcome.allowed(), allowed, "{ip}");
    }
}

#[test]
fn odd_bytes_hide_nothing() {
    let paths = json!({"to": [{"operation": {"paths": ["/admin/*", "/a/{*}/b"]}}]});
    let long = [&b"/admin/"[..], &vec![b'/'; 1 << 20]].concat();
    for path in [&b"/admin/\0"[..], b"/admin/\xff\xfe", b"/a/\0/b", b"/a/\xc3\x28/b", &long] {
        assert!(denied(paths.clone(), &Facts { path: Some(path), ..Facts::default() }), "{:?}", path.get(..10));
    }
    let names = json!({"from": [{"source": {"namespaces": ["evil"]}}]});
    let ids: [&[u8]; 1] = [b"spiffe://td/ns/evil/sa/\0\xff"];
    assert!(denied(names, &Facts { identities: &ids, ..Facts::default() }));
}

#[test]
fn a_name_full_of_namespaces_ends() {
    let id = b"spiffe://td".iter().chain(b"/ns/a/sa/".iter().cycle().take(8 * 1024)).copied().collect::<Vec<_>>();
    let ids: [&[u8]; 1] = [&id];
    let rule = json!({"from": [{"source": {"serviceAccounts": ["a/b"]}}, {"source": {"namespaces": ["*b", "a*b"]}}]});
    assert!(!denied(rule, &Facts { identities: &ids, ..Facts::default() }));
}

#[test]
fn deep_claims_and_configurations_are_refused() {
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
    assert!(Claim::parse(deep("{\"a\":", "}").as_bytes()).is_err());
    assert!(Claim::parse(deep("{\"a\":[", "]}").as_bytes()).is_err());
    let config = format!("{{\"policies\":{}}}", deep("[", "]"));
    assert!(crate::rbac::config::Config::read(config.as_bytes()).is_err());
}
