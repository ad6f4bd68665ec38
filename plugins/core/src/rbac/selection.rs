//! Which policies apply to the workload, and whom their `CUSTOM` ones ask.

use super::config::{Config, Policy};
use super::policy::Action;
use crate::finding::{At, Finding};
use crate::json::member;
use crate::order;

/// What has to be known of all policies before the first one is compiled.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// The one provider that all selected `CUSTOM` policies name. With several, or with one that is not configured,
    /// Istio turns `CUSTOM` into a refusal.
    pub(super) provider: Option<String>,
}

impl Selection {
    /// Looks at all policies. One that is given twice is refused, selected or not.
    pub(super) fn new(config: &Config<'_>) -> Result<Self, Finding> {
        let mut names: Vec<(Box<str>, usize)> = Vec::new();
        let mut providers: Vec<String> = Vec::new();
        config.policies(&mut |policy, _| {
            names.push((format!("{}/{}", policy.namespace, policy.name).into(), names.len()));
            let asked = policy.provider.as_ref().filter(|_| policy.action == Action::Custom && selects(config, policy));
            if let Some(name) = asked.filter(|name| !providers.iter().any(|other| other == *name)) {
                providers.push(name.to_string());
            }
            Ok(())
        })?;
        order::sort(&mut names, Ord::cmp);
        if let Some([_, (name, index)]) = names.array_windows().find(|[(a, _), (b, _)]| a == b) {
            let (policies, reason) = (At::Field(&At::Whole, "policies"), format!("`{name}` appears twice"));
            return Err(At::Field(&At::Element(&policies, *index), "metadata").finding(reason));
        }
        let provider = match providers.as_mut_slice() {
            [only] if member(&config.providers, only).is_some() => Some(std::mem::take(only)),
            _ => None,
        };
        Ok(Self { provider })
    }
}

/// Whether a policy applies to the workload. Without a configured workload all do.
///
/// One with targets applies to a workload that serves a gateway among them, and to no other.
pub(super) fn selects(config: &Config<'_>, policy: &Policy<'_>) -> bool {
    let Some(workload) = &config.workload else { return true };
    let here = *policy.namespace == *workload.namespace;
    if !policy.targets.is_empty() {
        return here && policy.targets.iter().any(|target| target.is_served_by(&workload.namespace, &workload.labels));
    }
    let mut labels = policy.selector.iter().flatten();
    (here || *policy.namespace == *config.root_namespace)
        && labels.all(|(name, value)| member(&workload.labels, name).is_some_and(|own| **own == **value))
}
