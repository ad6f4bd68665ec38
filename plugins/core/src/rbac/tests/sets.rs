//! Which policies apply, in which order they are asked, and what is reported.

use serde_json::{Value, json};

use crate::rbac::Engine;
use crate::rbac::decision::{Custom, details};
use crate::rbac::facts::Facts;

fn engine(config: Value) -> Engine {
    super::engine(&config).unwrap()
}

fn policy(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "n"}, "spec": spec})
}

fn ask(name: &str, provider: &str) -> Value {
    policy(name, json!({"action": "CUSTOM", "provider": {"name": provider}, "rules": [{}]}))
}

#[test]
fn a_custom_rule_asks_its_provider() {
    let engine =
        engine(json!({"policies": [ask("c", "x")], "providers": {"x": {"cluster": "authz", "timeout": "1s"}}}));
    assert_eq!(engine.custom(&Facts::default()), Custom::Ask { policy: "ns[n]-policy[c]-rule[0]" });
    assert_eq!(engine.authorizer().map(|authorizer| authorizer.cluster()), Some("authz"));
    assert!(engine.decide(&Facts::default()).outcome.allowed());
}

#[test]
fn a_custom_rule_with_nobody_to_ask_refuses() {
    let policy = "ns[n]-policy[c]-rule[0]-deny-due-to-bad-CUSTOM-action";
    let providers = json!({"x": {"cluster": "a"}, "y": {"cluster": "b"}});
    for (policies, protocol) in
        [(vec![ask("c", "z")], "http"), (vec![ask("d", "y"), ask("c", "x")], "http"), (vec![ask("c", "z")], "tcp")]
    {
        let engine = engine(json!({"policies": policies, "providers": providers, "protocol": protocol}));
        assert_eq!(engine.custom(&Facts::default()), Custom::Refuse { policy });
        assert!(engine.authorizer().is_none());
    }
}

#[test]
fn an_http_authorizer_is_not_asked_about_a_connection() {
    let engine = engine(json!({"policies": [ask("c", "x")], "providers": {"x": {"cluster": "a"}}, "protocol": "tcp"}));
    assert_eq!(engine.custom(&Facts::default()), Custom::Pass);
}

#[test]
fn policies_are_selected_by_namespace_and_labels() {
    let object = |namespace: &str, spec: Value| json!({"policies": [{"metadata": {"name": "p", "namespace": namespace}, "spec": spec}], "workload": {"namespace": "n", "labels": {"app": "a", "v": "1"}}});
    let applies = |namespace, spec| !engine(object(namespace, spec)).decide(&Facts::default()).outcome.allowed();
    assert!(applies("n", json!({})) && applies("istio-system", json!({})) && !applies("other", json!({})));
    assert!(applies("n", json!({"selector": {"matchLabels": {"app": "a"}}})));
    assert!(!applies("n", json!({"selector": {"matchLabels": {"app": "a", "v": "2"}}})));
    assert!(!applies("n", json!({"targetRefs": [{"kind": "Gateway", "name": "g"}]})));
}

#[test]
fn policies_are_selected_by_the_gateway_that_they_name() {
    let target = |kind: &str, name: &str| json!({"group": "gateway.networking.k8s.io", "kind": kind, "name": name});
    let refuses = |namespace: &str, spec: Value| {
        let policy = json!({"metadata": {"name": "p", "namespace": namespace}, "spec": spec});
        let labels = json!({"gateway.networking.k8s.io/gateway-name": "g"});
        let workload = json!({"namespace": "n", "labels": labels});
        let engine = engine(json!({"policies": [policy], "workload": workload}));
        !engine.decide(&Facts::default()).outcome.allowed()
    };
    let denying = |field: &str, targets: Value| json!({"action": "DENY", "rules": [{}], field: targets});
    assert!(refuses("n", denying("targetRefs", json!([target("Gateway", "other"), target("Gateway", "g")]))));
    assert!(refuses("n", denying("targetRef", target("Gateway", "g"))));
    assert!(refuses("n", json!({"action": "DENY", "rules": [{}]})));
    assert!(!refuses("n", denying("targetRefs", json!([target("Gateway", "other")]))));
    assert!(!refuses("n", denying("targetRefs", json!([target("Service", "g")]))));
    assert!(!refuses("istio-system", denying("targetRefs", json!([target("Gateway", "g")]))));
}

#[test]
fn the_first_match_in_byte_order_is_reported() {
    let rules: Vec<Value> = (0..11).map(|rule| if rule == 2 || rule == 10 { json!({}) } else { Value::Null }).collect();
    let policies = json!([
        policy("z", json!({"action": "DENY", "rules": [{}]})),
        policy("b", json!({"action": "DENY", "rules": rules}))
    ]);
    let engine = engine(json!({"policies": policies}));
    let details = engine.decide(&Facts::default()).details();
    assert_eq!(details.as_deref(), Some("rbac_access_denied_matched_policy[ns[n]-policy[b]-rule[10]]"));
}

#[test]
fn blanks_in_details_are_replaced() {
    assert_eq!(details(Some("a b\tc")), "rbac_access_denied_matched_policy[a_b_c]");
}

#[test]
fn an_audit_rule_leaves_a_hint_and_never_refuses() {
    let engine = engine(
        json!({"policies": [policy("a", json!({"action": "AUDIT", "rules": [{"to": [{"operation": {"methods": ["GET"]}}]}]}))]}),
    );
    for (method, hint) in [(&b"GET"[..], true), (b"PUT", false)] {
        let facts = Facts { method: Some(method), ..Facts::default() };
        let decision = engine.decide(&facts);
        assert_eq!((decision.outcome.allowed(), decision.audit), (true, Some(hint)));
    }
}
