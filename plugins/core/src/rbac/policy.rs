//! Policies in the form in which they are evaluated: rules over shared clauses.

use std::fmt;

use super::identity::Identity;
use super::matcher::{Reach, Text};
use super::network::Network;
use super::template::Template;

/// What a matching policy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Action {
    /// Asks an external authorizer; its "no" is final.
    Custom,
    /// Leaves a hint for the access log.
    Audit,
    /// Refuses.
    Deny,
    /// Allows, and refuses what no policy of this kind matches.
    #[default]
    Allow,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Custom => "CUSTOM",
            Self::Audit => "AUDIT",
            Self::Deny => "DENY",
            Self::Allow => "ALLOW",
        })
    }
}

/// What a clause looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Attribute {
    /// `:authority`, compared in lower case.
    Host,
    /// `:method`.
    Method,
    /// `:path` without query and fragment.
    Path,
    /// Every line of a header, its name in lower case.
    Header(Box<str>),
    /// The peer's SPIFFE ids.
    Identity,
    /// Issuer and subject of the token.
    Token,
    /// The peer of the TCP connection.
    DirectIp,
    /// The client.
    RemoteIp,
    /// The local address.
    DestinationIp,
    /// The local port.
    DestinationPort,
    /// The server name.
    Sni,
    /// A claim, by its path.
    Claim(Vec<String>),
    /// A value of dynamic metadata.
    Metadata {
        /// The filter that wrote it.
        namespace: String,
        /// The key in it.
        key: String,
    },
}

impl Attribute {
    /// Whether it exists in HTTP only.
    pub(super) fn http_only(&self) -> bool {
        matches!(self, Self::Host | Self::Method | Self::Path | Self::Header(_) | Self::Token | Self::Claim(_))
    }
}

/// What a value must look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pattern {
    /// Text.
    Text(Text),
    /// Text that is an element of a list in metadata.
    Element(Text),
    /// A path.
    Template(Template),
    /// A SPIFFE id.
    Identity(Identity),
    /// An address.
    Network(Network),
    /// A port.
    Port(u16),
    /// A token.
    Token {
        /// Its issuer.
        issuer: Text,
        /// Its subject.
        subject: Text,
    },
}

/// One field of a rule with its values: holds if some value of the attribute fits some pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clause {
    /// What it looks at.
    pub(super) attribute: Attribute,
    /// How far its wildcards reach.
    pub(super) reach: Reach,
    /// What it looks for.
    pub(super) any: Vec<Pattern>,
}

/// A clause as a rule uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Term {
    /// The place of the clause in [`Policies::clauses`].
    pub(super) clause: usize,
    /// Whether the clause must not hold.
    pub(super) negated: bool,
}

impl Term {
    /// Whether the term holds, given the clauses that do.
    pub(super) fn holds(&self, clause: impl Fn(usize) -> bool) -> bool {
        clause(self.clause) != self.negated
    }
}

/// One rule: some group of `from`, some group of `to`, all of `when`. No group at all is no constraint.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    /// Which rules it stands among.
    pub(super) set: Set,
    /// What is reported when it matches: `ns[NAMESPACE]-policy[NAME]-rule[INDEX]`.
    pub(super) id: Box<str>,
    /// Sources; of one of them all terms are needed.
    pub(super) from: Vec<Vec<Term>>,
    /// Operations; of one of them all terms are needed.
    pub(super) to: Vec<Vec<Term>>,
    /// Conditions; all are needed.
    pub(super) when: Vec<Term>,
}

impl Rule {
    /// Whether the rule matches, given the clauses that hold.
    pub(super) fn matches(&self, clause: impl Fn(usize) -> bool) -> bool {
        let all = |terms: &[Term]| terms.iter().all(|term| term.holds(&clause));
        let some = |groups: &[Vec<Term>]| groups.is_empty() || groups.iter().any(|terms| all(terms));
        all(&self.when) && some(&self.to) && some(&self.from)
    }
}

/// The rules that are walked together. In each the first match, in byte order of the ids, is the one reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Set {
    /// `CUSTOM` rules without a usable provider: they refuse.
    Unanswerable,
    /// `CUSTOM` rules.
    Custom,
    /// `AUDIT` rules.
    Audit,
    /// `DENY` rules under dry run.
    ShadowDeny,
    /// `DENY` rules.
    Deny,
    /// `ALLOW` rules under dry run.
    ShadowAllow,
    /// `ALLOW` rules.
    Allow,
}

/// Compiled policies.
#[derive(Debug, Clone, Default)]
pub(super) struct Policies {
    /// All clauses; equal ones stand here once, but for some that were written in two ways.
    pub(super) clauses: Vec<Clause>,
    /// All rules, sorted by set and id.
    pub(super) rules: Vec<Rule>,
    /// The sets that some policy belongs to, even one without rules.
    pub(super) sets: Vec<Set>,
}

impl Policies {
    /// Whether some policy belongs to a set.
    pub(super) fn has(&self, set: Set) -> bool {
        self.sets.contains(&set)
    }
}
