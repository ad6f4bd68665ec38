//! Which policies apply to a workload (Istio's selection).

use super::config::{Config, Policy};
use crate::json::member;

/// Whether a policy applies to the configured workload; without one, every policy does.
///
/// A policy of the workload's namespace or of the root namespace applies if its selector is part of the workload's
/// labels. A policy with targets applies to the gateways it names, and to nothing else.
pub(crate) fn applies(policy: &Policy, config: &Config) -> bool {
    let Some(workload) = &config.workload else { return true };
    let namespace = &policy.metadata.namespace;
    if *namespace != workload.namespace && *namespace != config.root_namespace {
        return false;
    }
    let mut targets = policy.spec.target_refs.iter().chain(&policy.spec.target_ref).peekable();
    if targets.peek().is_some() {
        let serves = targets.any(|target| target.is_served_by(&workload.namespace, &workload.labels));
        return *namespace == workload.namespace && serves;
    }
    let mut selector = policy.spec.selector.iter().flatten();
    selector.all(|(label, value)| member(&workload.labels, label) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::GATEWAY_NAME;

    /// Whether a policy with this specification applies to a workload of namespace `a` with the label `app: x`.
    fn applies_to_a(namespace: &str, spec: &str) -> bool {
        let text = format!(
            r#"{{"policies":[{{"metadata":{{"namespace":"{namespace}","uid":"1"}},"spec":{spec}}}],
                "workload":{{"namespace":"a","labels":{{"app":"x","{GATEWAY_NAME}":"gw"}}}}}}"#
        );
        let config = Config::from_json(text.as_bytes()).unwrap();
        applies(&config.policies[0], &config)
    }

    #[test]
    fn selectors_are_part_of_the_labels() {
        for (namespace, spec, expected) in [
            ("a", "{}", true),
            ("istio-system", "{}", true),
            ("b", "{}", false),
            ("a", r#"{"selector":{"matchLabels":{"app":"x"}}}"#, true),
            ("istio-system", r#"{"selector":{"matchLabels":{"app":"x"}}}"#, true),
            ("a", r#"{"selector":{"matchLabels":{"app":"y"}}}"#, false),
            ("a", r#"{"selector":{"matchLabels":{"app":"x","v":"1"}}}"#, false),
            ("b", r#"{"selector":{"matchLabels":{"app":"x"}}}"#, false),
        ] {
            assert_eq!(applies_to_a(namespace, spec), expected, "{namespace} {spec}");
        }
    }

    #[test]
    fn targets_name_gateways() {
        let target = |kind, name| format!(r#"{{"group":"gateway.networking.k8s.io","kind":"{kind}","name":"{name}"}}"#);
        assert!(applies_to_a("a", &format!(r#"{{"targetRefs":[{}]}}"#, target("Gateway", "gw"))));
        assert!(applies_to_a("a", &format!(r#"{{"targetRef":{}}}"#, target("Gateway", "gw"))));
        assert!(!applies_to_a("a", &format!(r#"{{"targetRefs":[{}]}}"#, target("Gateway", "other"))));
        assert!(!applies_to_a("a", &format!(r#"{{"targetRefs":[{}]}}"#, target("Service", "gw"))));
        assert!(!applies_to_a("istio-system", &format!(r#"{{"targetRefs":[{}]}}"#, target("Gateway", "gw"))));
    }

    #[test]
    fn without_a_workload_everything_applies() {
        let config = Config::from_json(
            br#"{"policies":[{"metadata":{"namespace":"b"},"spec":{"selector":{"matchLabels":{"a":"b"}}}}]}"#,
        )
        .unwrap();
        assert!(applies(&config.policies[0], &config));
    }
}
