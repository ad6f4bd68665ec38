//! Configurations that are refused, and the words that say why.

use serde_json::{Value, json};

use crate::rbac::Engine;
use crate::rbac::facts::Needs;

fn engine(config: Value) -> Result<Engine, String> {
    super::engine(&config).map_err(|finding| finding.to_string())
}

fn refusal(spec: Value) -> String {
    engine(json!({"policies": [{"metadata": {"name": "p", "namespace": "n"}, "spec": spec}], "sourceIp": "downstream"}))
        .map(drop)
        .unwrap_err()
}

#[test]
fn a_refusal_names_the_place_and_the_reason() {
    for (spec, expected) in [
        (
            json!({"rules": [{"when": [{"key": "a", "values": ["b"]}]}]}),
            "`policies[0].spec.rules[0].when[0].key`: `a` is not an attribute that Istio knows",
        ),
        (
            json!({"rules": [{"when": [{"key": "source.ip"}]}]}),
            "`policies[0].spec.rules[0].when[0]`: must have `values` or `notValues`",
        ),
        (
            json!({"rules": [null, {"from": [{"source": {"notIpBlocks": ["10.0.0.0/8", "x"]}}]}]}),
            "`policies[0].spec.rules[1].from[0].source.notIpBlocks[1]`: `x`: must be an IP address or a block such as `10.0.0.0/8`",
        ),
        (
            json!({"rules": [{"from": [{"source": {"serviceAccounts": ["a"], "notNamespaces": ["b"]}}]}]}),
            "`policies[0].spec.rules[0].from[0].source`: service accounts do not go together with principals or namespaces",
        ),
        (json!({"rules": [{"to": [{}]}]}), "`policies[0].spec.rules[0].to[0].operation`: must be given"),
        (
            json!({"action": "CUSTOM", "rules": [{}]}),
            "`policies[0].spec.provider`: a CUSTOM policy must name a provider",
        ),
        (json!({"provider": {"name": "x"}}), "`policies[0].spec.provider`: only a CUSTOM policy has a provider"),
        (
            json!({"action": "CUSTOM", "provider": {"name": "x"}, "rules": [{"from": [{"source": {"namespaces": ["a"]}}]}]}),
            "`policies[0].spec.rules[0].from[0].source.namespaces`: is not available to a CUSTOM policy",
        ),
        (json!({"rules": vec![json!({}); 513]}), "`policies[0].spec.rules`: must have at most 512 entries, has 513"),
        (
            json!({"selector": {"matchLabels": {"app": "*"}}}),
            "`policies[0].spec.selector.matchLabels[app]`: a label has a name, and no wildcards",
        ),
    ] {
        assert_eq!(refusal(spec), expected);
    }
}

#[test]
fn unknown_fields_are_refused() {
    for (spec, place) in [
        (json!({"rulez": []}), "rulez"),
        (json!({"rules": [{"form": []}]}), "rules[0].form"),
        (json!({"rules": [{"to": [{"operation": {"path": []}}]}]}), "rules[0].to[0].operation.path"),
    ] {
        let expected = format!("`policies[0].spec.{place}`: unknown field; check the spelling, or remove it");
        assert_eq!(refusal(spec), expected);
    }
    let action = refusal(json!({"action": "PERMIT"}));
    assert!(action.starts_with("`policies[0].spec.action`: `PERMIT` is none of"), "{action}");
    assert!(engine(json!({"policys": []})).is_err());
}

#[test]
fn addresses_of_the_direct_peer_need_a_source() {
    let policies = json!([{"metadata": {"name": "p", "namespace": "n"}, "spec": {"rules": [{"from": [{"source": {"ipBlocks": ["::/0"]}}]}]}}]);
    let error = engine(json!({"policies": policies})).unwrap_err();
    assert!(error.contains("set `sourceIp`"), "{error}");
    assert!(engine(json!({"policies": policies, "workload": {"namespace": "other"}})).is_ok());
}

#[test]
fn a_policy_given_twice_is_refused() {
    let policy = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {}});
    assert_eq!(
        engine(json!({"policies": [policy, policy]})).unwrap_err(),
        "`policies[1].metadata`: `n/p` appears twice"
    );
}

#[test]
fn what_is_surely_not_meant_is_told() {
    let engine = engine(json!({"policies": [
        {"metadata": {"name": "d", "namespace": "n"}, "spec": {"action": "DENY"}},
        {"metadata": {"name": "e", "namespace": "n", "annotations": {"istio.io/dry-run": "yes"}}, "spec": {}},
    ]}))
    .unwrap();
    let told: Vec<_> = engine.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "`policies[0].spec.rules`: a DENY policy without rules never matches",
            "`policies[1].metadata.annotations[istio.io/dry-run]`: `yes` is neither true nor false; the policy is enforced"
        ]
    );
}

#[test]
fn only_what_rules_look_at_is_needed() {
    let engine = engine(json!({"policies": [{"metadata": {"name": "p", "namespace": "n", "uid": "1"}, "apiVersion": "v1", "kind": "AuthorizationPolicy", "status": {}, "spec": {"rules": [{
        "to": [{"operation": {"paths": ["/a"]}}],
        "when": [{"key": "request.headers[host]", "values": ["h"]}, {"key": "experimental.envoy.filters.x[k]", "values": ["v"]}],
    }]}}]}))
    .unwrap();
    let metadata = [("envoy.filters.x".to_owned(), "k".to_owned())].into();
    assert_eq!(*engine.needs(), Needs { path: true, authority: true, metadata, ..Needs::default() });
    assert_eq!(*engine.custom_needs(), Needs::default());
}
