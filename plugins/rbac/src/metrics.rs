//! The counters of Envoy's RBAC filter.

use istio_core::rbac::decision::{Decision, Shadow};
use wasmplugin::metrics::Counter;

/// What was decided, and what would have been.
#[derive(Debug)]
pub(crate) struct Metrics {
    allowed: Counter,
    denied: Counter,
    shadow_allowed: Counter,
    shadow_denied: Counter,
    logged: Counter,
    not_logged: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            allowed: Counter::new("rbac.allowed"),
            denied: Counter::new("rbac.denied"),
            shadow_allowed: Counter::new("rbac.shadow_allowed"),
            shadow_denied: Counter::new("rbac.shadow_denied"),
            logged: Counter::new("rbac.logged"),
            not_logged: Counter::new("rbac.not_logged"),
        }
    }
}

impl Metrics {
    /// Counts a decision.
    pub(crate) fn count(&self, decision: &Decision<'_>) {
        if decision.outcome.allowed() {
            self.allowed.inc(1)
        } else {
            self.denied.inc(1)
        }
        for shadow in [decision.shadow_deny, decision.shadow_allow].into_iter().flatten() {
            self.count_shadow(shadow);
        }
        match decision.audit {
            Some(true) => self.logged.inc(1),
            Some(false) => self.not_logged.inc(1),
            None => {}
        }
    }

    /// Counts a refusal that no `DENY` or `ALLOW` policy has made.
    pub(crate) fn count_refusal(&self) {
        self.denied.inc(1);
    }

    fn count_shadow(&self, shadow: Shadow<'_>) {
        if shadow.allowed { self.shadow_allowed.inc(1) } else { self.shadow_denied.inc(1) }
    }
}
