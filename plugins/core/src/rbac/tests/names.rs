//! Which names of a certificate count, and where one odd byte must not help.

use serde_json::{Value, json};

use super::engine;
use crate::rbac::facts::Facts;

fn allowed(action: &str, rule: Value, facts: &Facts<'_>) -> bool {
    let config = json!({"policies": [{"metadata": {"name": "p", "namespace": "n"}, "spec": {"action": action, "rules": [rule]}}]});
    engine(&config).unwrap().decide(facts).outcome.allowed()
}

#[test]
fn other_names_of_a_certificate_refuse_and_never_allow() {
    let names: [&[u8]; 1] = [b"CN=x/ns/a/y"];
    let facts = Facts { other_names: &names, ..Facts::default() };
    let source = |field: &str| json!({"from": [{"source": {field: ["a"]}}]});
    assert!(!allowed("ALLOW", source("namespaces"), &facts) && !allowed("DENY", source("namespaces"), &facts));
    assert!(!allowed("ALLOW", source("notNamespaces"), &facts) && !allowed("DENY", source("notNamespaces"), &facts));
}

#[test]
fn an_odd_byte_refuses_and_never_allows() {
    let path = |field: &str, path: &str| json!({"to": [{"operation": {field: [path]}}]});
    for odd in [&b"/a/x["[..], b"/a/\xff", b"/a/x\n", b"/a/{"] {
        let facts = Facts { path: Some(odd), ..Facts::default() };
        for template in ["/a/{*}", "/a/{**}"] {
            assert!(
                !allowed("ALLOW", path("paths", template), &facts) && !allowed("DENY", path("paths", template), &facts)
            );
            assert!(
                !allowed("ALLOW", path("notPaths", template), &facts)
                    && !allowed("DENY", path("notPaths", template), &facts)
            );
        }
    }
}
