//! Which policies apply to the workload.

use std::collections::BTreeSet;

use super::config::{Config, Policy};
use super::finding::Finding;

/// The places of the policies that apply. Without a configured workload all do.
///
/// As in a sidecar, one with `targetRefs` applies to gateways and waypoints and so not to a workload with labels.
pub(super) fn selected(config: &Config) -> Result<Vec<usize>, Finding> {
    let mut seen = BTreeSet::new();
    let mut selected = Vec::new();
    for (index, policy) in config.policies.iter().enumerate() {
        let path = format!("policies[{index}]");
        well_formed(&path, policy)?;
        let metadata = &policy.metadata;
        if !seen.insert((&metadata.namespace, &metadata.name)) {
            let reason = format!("`{}/{}` appears twice", metadata.namespace, metadata.name);
            return Err(Finding::new(format!("{path}.metadata"), reason));
        }
        if applies(config, policy) {
            selected.push(index);
        }
    }
    Ok(selected)
}

fn applies(config: &Config, policy: &Policy) -> bool {
    let Some(workload) = &config.workload else { return true };
    let namespace = &policy.metadata.namespace;
    let labels = policy.spec.selector.iter().flat_map(|selector| &selector.match_labels);
    (*namespace == config.root_namespace || *namespace == workload.namespace)
        && !targets(policy)
        && labels.into_iter().all(|(name, value)| workload.labels.get(name) == Some(value))
}

fn targets(policy: &Policy) -> bool {
    policy.spec.target_ref.is_some() || policy.spec.target_refs.as_ref().is_some_and(|targets| !targets.is_empty())
}

fn well_formed(path: &str, policy: &Policy) -> Result<(), Finding> {
    for (name, value) in [("name", &policy.metadata.name), ("namespace", &policy.metadata.namespace)] {
        if value.is_empty() {
            return Err(Finding::new(format!("{path}.metadata.{name}"), "must not be empty"));
        }
        if value.contains('/') {
            return Err(Finding::new(format!("{path}.metadata.{name}"), format!("`{value}` must not contain `/`")));
        }
    }
    if targets(policy) && policy.spec.selector.is_some() {
        return Err(Finding::new(format!("{path}.spec.selector"), "does not go together with `targetRefs`"));
    }
    for (name, value) in policy.spec.selector.iter().flat_map(|selector| &selector.match_labels) {
        if name.is_empty() || name.contains('*') || value.contains('*') {
            let path = format!("{path}.spec.selector.matchLabels[{name}]");
            return Err(Finding::new(path, "a label has a name, and no wildcards"));
        }
    }
    Ok(())
}
