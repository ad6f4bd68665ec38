//! The plain evaluator: every rule in turn, every clause anew. Slow, obviously right, and the measure for the index.

use std::net::IpAddr;

use super::facts::Facts;
use super::matcher::{Reach, Text};
use super::policy::{Attribute, Clause, Pattern, Policies, Rule, Set};

/// The first rule of a set that matches.
pub(super) fn first<'p>(policies: &'p Policies, set: Set, facts: &Facts<'_>) -> Option<&'p Rule> {
    let holds = |clause: usize| policies.clauses.get(clause).is_some_and(|clause| clause.holds(facts));
    policies.rules.iter().find(|rule| rule.set == set && rule.matches(holds))
}

impl Clause {
    /// Whether some value of the attribute fits some pattern.
    pub(super) fn holds(&self, facts: &Facts<'_>) -> bool {
        match &self.attribute {
            Attribute::Host => facts.authority.is_some_and(|host| self.text(&host.to_ascii_lowercase())),
            Attribute::Method => facts.method.is_some_and(|method| self.text(method)),
            Attribute::Path => facts.plain_path().is_some_and(|path| self.text(path)),
            Attribute::Sni => facts.sni.is_some_and(|name| self.text(name)),
            Attribute::Header(name) => {
                facts.lines().any(|(line, value)| line.eq_ignore_ascii_case(name.as_bytes()) && self.text(value))
            }
            Attribute::Identity => {
                let others = facts.other_names.iter().filter(|_| self.reach == Reach::Every);
                facts.identities.iter().chain(others).any(|id| self.identity(id))
            }
            Attribute::Token => facts.token().is_some_and(|(issuer, subject)| self.token(issuer, subject)),
            Attribute::DirectIp => self.address(facts.direct_ip),
            Attribute::RemoteIp => self.address(facts.remote_ip),
            Attribute::DestinationIp => self.address(facts.destination_ip),
            Attribute::DestinationPort => {
                facts.destination_port.is_some_and(|port| self.any.contains(&Pattern::Port(port)))
            }
            Attribute::Claim(path) => {
                facts.claims.and_then(|claims| claims.at(path.iter().map(String::as_str))).is_some_and(|claim| {
                    claim.text().into_iter().chain(claim.elements()).any(|text| self.text(text.as_bytes()))
                })
            }
            Attribute::Metadata { namespace, key } => {
                facts.metadata.iter().filter(|metadata| metadata.namespace == namespace && metadata.key == key).any(
                    |metadata| {
                        metadata.value.text().is_some_and(|text| self.text(text.as_bytes()))
                            || metadata.value.elements().any(|text| self.element(text.as_bytes()))
                    },
                )
            }
        }
    }

    fn text(&self, value: &[u8]) -> bool {
        self.any.iter().any(|pattern| match pattern {
            Pattern::Text(text) => text.fits(value, self.reach),
            Pattern::Template(template) => template.fits(value, self.reach),
            _ => false,
        })
    }

    fn element(&self, value: &[u8]) -> bool {
        self.any.iter().any(|pattern| matches!(pattern, Pattern::Element(text) if text.fits(value, self.reach)))
    }

    fn identity(&self, id: &[u8]) -> bool {
        self.any.iter().any(|pattern| matches!(pattern, Pattern::Identity(identity) if identity.fits(id, self.reach)))
    }

    fn token(&self, issuer: &str, subject: &str) -> bool {
        let fits = |pattern: &Text, value: &str| pattern.fits(value.as_bytes(), self.reach);
        self.any.iter().any(|pattern| match pattern {
            Pattern::Token { issuer: i, subject: s } => fits(i, issuer) && fits(s, subject),
            _ => false,
        })
    }

    fn address(&self, address: Option<IpAddr>) -> bool {
        address.is_some_and(|address| {
            self.any.iter().any(|pattern| matches!(pattern, Pattern::Network(network) if network.holds(address)))
        })
    }
}
