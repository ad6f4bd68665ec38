//! Istio's `AuthorizationPolicy`: policies in, one decision per request or connection out.
//!
//! ```text
//! config ─► compile (field, trust, selection) ─► policy ─► index ─► decision
//!                                                   └────► plain, the measure for the index
//! ```
//!
//! An [`Engine`] is made from a configuration once, and then asked twice per request: [`Engine::custom`] where an external
//! authorizer comes first, and [`Engine::decide`] behind token verification. It decides as Envoy's RBAC filter does when
//! istiod configures it, down to the id of the rule that is reported, except that:
//!
//! | here | Istio with Envoy | why |
//! |---|---|---|
//! | an unknown `when` key, a bad value, an empty source or operation, and what else the admission webhook refuses, refuse the configuration | istiod drops the rule, or the value with its condition | a `DENY` that disappears lets everything pass |
//! | where a match can only refuse (`DENY` and its `x`, `ALLOW` and its `notX`, `CUSTOM` and its `x`), wildcards and path templates reach over every byte | `{*}` stops at `[`, a regular expression at a line feed or broken UTF-8 | a request must not slip past a `DENY` by one odd byte |
//! | the other names of a certificate (DNS, subject) count only where a match can only refuse | they count as identities everywhere | a subject `CN=x/ns/a/y` is not an identity of the mesh |
//! | a policy with `ipBlocks` or `source.ip` needs `sourceIp` | Envoy knows the direct peer | a plugin sees only the address that forwarding headers may have set |
//! | claims with a member given twice are an error | a verifier that lets them through decides which one counts | no two readers may disagree |
//!
//! A `DENY` or `CUSTOM` policy without rules, and an `istio.io/dry-run` that is no boolean, are told as
//! [warnings](Engine::warnings) and otherwise treated as istiod treats them: they never match, and are enforced.

pub mod claims;
pub mod config;
pub mod decision;
pub mod external;
pub mod facts;

mod compile;
mod field;
mod identity;
mod index;
mod matcher;
mod network;
mod plain;
mod policy;
mod selection;
mod table;
mod template;
mod trust;

#[cfg(test)]
mod tests;

use config::Config;
use decision::{Custom, Decision};
use external::Authorizer;
use facts::{Facts, Needs};
use index::Index;
use policy::{Policies, Set};

use crate::finding::Finding;
use crate::json::member;

/// Compiled policies, ready to be asked.
#[derive(Debug)]
pub struct Engine {
    policies: Policies,
    before: Index,
    after: Index,
    authorizer: Option<Authorizer>,
    warnings: Vec<Finding>,
}

impl Engine {
    /// Compiles a configuration, or says where it is wrong.
    pub fn new(config: &Config<'_>) -> Result<Self, Finding> {
        let authorizers = Authorizer::all(config)?;
        let compiled = compile::compile(config)?;
        let policies = compiled.policies;
        Ok(Self {
            before: Index::new(&policies, &[Set::Unanswerable, Set::Custom]),
            after: Index::new(&policies, &[Set::Audit, Set::ShadowDeny, Set::Deny, Set::ShadowAllow, Set::Allow]),
            policies,
            authorizer: compiled.provider.and_then(|name| member(&authorizers, &name).cloned()),
            warnings: compiled.warnings,
        })
    }

    /// What the configuration says and surely does not mean; for the log.
    pub fn warnings(&self) -> &[Finding] {
        &self.warnings
    }

    /// Whom [`Custom::Ask`] means.
    pub fn authorizer(&self) -> Option<&Authorizer> {
        self.authorizer.as_ref()
    }

    /// The facts that [`Engine::custom`] looks at.
    pub fn custom_needs(&self) -> &Needs {
        self.before.needs()
    }

    /// The facts that [`Engine::decide`] looks at.
    pub fn needs(&self) -> &Needs {
        self.after.needs()
    }

    /// Whether there is any `CUSTOM` rule at all.
    pub fn has_custom(&self) -> bool {
        self.policies.has(Set::Custom) || self.policies.has(Set::Unanswerable)
    }

    /// Whether the external authorizer has to be asked. This comes before tokens are verified.
    pub fn custom(&self, facts: &Facts<'_>) -> Custom<'_> {
        if !self.has_custom() {
            return Custom::Pass;
        }
        let hits = self.before.look(facts);
        decision::custom(|set| self.before.first(&self.policies, set, &hits))
    }

    /// Decides by `AUDIT`, `DENY` and `ALLOW` policies.
    pub fn decide(&self, facts: &Facts<'_>) -> Decision<'_> {
        let hits = self.after.look(facts);
        decision::decide(&self.policies, |set| self.after.first(&self.policies, set, &hits))
    }

    /// What [`Engine::custom`] must answer, found rule by rule: slow, and the measure for tests and benches.
    pub fn custom_plainly(&self, facts: &Facts<'_>) -> Custom<'_> {
        decision::custom(|set| plain::first(&self.policies, set, facts))
    }

    /// What [`Engine::decide`] must answer, found rule by rule: slow, and the measure for tests and benches.
    pub fn decide_plainly(&self, facts: &Facts<'_>) -> Decision<'_> {
        decision::decide(&self.policies, |set| plain::first(&self.policies, set, facts))
    }
}
