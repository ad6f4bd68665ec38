//! What is decided about one request or connection, and what is reported of it.

use super::policy::{Policies, Rule, Set};

/// The body of a refusal, and of a refused gRPC call the message.
pub const REFUSAL_BODY: &str = "RBAC: access denied";

/// Whether an external authorizer has to be asked before anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Custom<'p> {
    /// No `CUSTOM` rule matches.
    Pass,
    /// One matches: the authorizer is to be asked, and its "no" is final.
    Ask {
        /// The id of the rule.
        policy: &'p str,
    },
    /// One matches and there is nobody to ask: refuse.
    Refuse {
        /// The id of the rule, ending in `-deny-due-to-bad-CUSTOM-action`.
        policy: &'p str,
    },
}

/// The decision of `AUDIT`, `DENY` and `ALLOW` policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision<'p> {
    /// Whether the request passes, and why.
    pub outcome: Outcome<'p>,
    /// The hint for the access log; none without `AUDIT` policies.
    pub audit: Option<bool>,
    /// What `DENY` policies under dry run would have decided; none without such.
    pub shadow_deny: Option<Shadow<'p>>,
    /// The same of `ALLOW` policies; also none where the request was refused before they were looked at.
    pub shadow_allow: Option<Shadow<'p>>,
}

/// Whether the request passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<'p> {
    /// It passes, by the `ALLOW` rule named, or for want of `ALLOW` policies.
    Allowed {
        /// The id of the rule.
        policy: Option<&'p str>,
    },
    /// It is refused, by the `DENY` rule named, or because no `ALLOW` rule matched.
    Denied {
        /// The id of the rule.
        policy: Option<&'p str>,
    },
}

/// What policies under dry run would have decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shadow<'p> {
    /// Whether the request would have passed.
    pub allowed: bool,
    /// The id of the rule that matched.
    pub policy: Option<&'p str>,
}

impl Outcome<'_> {
    /// Whether the request passes.
    pub fn allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }
}

impl Decision<'_> {
    /// The response-code details of a refusal; none of a request that passes.
    pub fn details(&self) -> Option<String> {
        match self.outcome {
            Outcome::Allowed { .. } => None,
            Outcome::Denied { policy } => Some(details(policy)),
        }
    }
}

/// The response-code details of a refusal as Envoy's RBAC filter writes them, blanks replaced.
pub fn details(policy: Option<&str>) -> String {
    format!("rbac_access_denied_matched_policy[{}]", policy.unwrap_or("none"))
        .chars()
        .map(|letter| if letter.is_ascii_whitespace() { '_' } else { letter })
        .collect()
}

/// Asks for the first match of the `CUSTOM` sets in their order.
pub(super) fn custom<'p>(first: impl Fn(Set) -> Option<&'p Rule>) -> Custom<'p> {
    if let Some(rule) = first(Set::Unanswerable) {
        return Custom::Refuse { policy: &rule.id };
    }
    first(Set::Custom).map_or(Custom::Pass, |rule| Custom::Ask { policy: &rule.id })
}

/// Walks the other sets in their order: `AUDIT`, `DENY` with its dry run, `ALLOW` with its dry run. As in Envoy, where
/// these are three filters, what stands behind a refusal is not looked at.
pub(super) fn decide<'p>(policies: &'p Policies, first: impl Fn(Set) -> Option<&'p Rule>) -> Decision<'p> {
    let id = |set: Set| first(set).map(|rule| &*rule.id);
    let audit = policies.has(Set::Audit).then(|| first(Set::Audit).is_some());
    let shadow_deny = policies.has(Set::ShadowDeny).then(|| {
        let policy = id(Set::ShadowDeny);
        Shadow { allowed: policy.is_none(), policy }
    });
    if let policy @ Some(_) = id(Set::Deny) {
        return Decision { outcome: Outcome::Denied { policy }, audit, shadow_deny, shadow_allow: None };
    }
    let shadow_allow = policies.has(Set::ShadowAllow).then(|| {
        let policy = id(Set::ShadowAllow);
        Shadow { allowed: policy.is_some(), policy }
    });
    let outcome = if policies.has(Set::Allow) {
        match id(Set::Allow) {
            None => Outcome::Denied { policy: None },
            policy => Outcome::Allowed { policy },
        }
    } else {
        Outcome::Allowed { policy: None }
    };
    Decision { outcome, audit, shadow_deny, shadow_allow }
}
