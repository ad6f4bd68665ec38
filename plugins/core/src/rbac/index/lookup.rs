//! From one request to the clauses that hold: every value of it is looked up once.

use super::claims::ClaimIndex;
use super::identity::IdentityIndex;
use super::network::NetworkIndex;
use super::path::PathIndex;
use super::posting::Posting;
use super::text::TextIndex;
use super::token::TokenIndex;
use crate::rbac::facts::Facts;
use crate::rbac::matcher::Reach;
use crate::rbac::policy::{Attribute, Clause, Pattern};
use crate::rbac::table::Table;

/// All patterns of all clauses, by attribute.
#[derive(Debug, Clone, Default)]
pub(super) struct Lookup {
    host: TextIndex,
    method: TextIndex,
    path: PathIndex,
    headers: Table<TextIndex>,
    identity: IdentityIndex,
    /// The clauses that look at an identity where a match can only refuse, in order.
    refusing: Vec<usize>,
    token: TokenIndex,
    direct_ip: NetworkIndex,
    remote_ip: NetworkIndex,
    destination_ip: NetworkIndex,
    ports: Table<Vec<usize>>,
    sni: TextIndex,
    claims: ClaimIndex,
    /// By filter and key with a NUL in between: texts, and elements of lists.
    metadata: Table<(TextIndex, TextIndex)>,
}

impl Lookup {
    /// Adds the clause at `place`; places only grow.
    pub(super) fn add(&mut self, place: usize, clause: &Clause) {
        if clause.attribute == Attribute::Identity && clause.reach == Reach::Every {
            self.refusing.push(place);
        }
        clause.any.iter().for_each(|pattern| self.pattern(place, clause, pattern));
    }

    /// Makes it ready to be asked.
    pub(super) fn seal(&mut self) {
        [&mut self.host, &mut self.method, &mut self.sni].into_iter().for_each(TextIndex::seal);
        self.headers.values_mut().for_each(TextIndex::seal);
        self.path.seal();
        self.identity.seal();
        self.token.seal();
        self.claims.seal();
        for (texts, elements) in self.metadata.values_mut() {
            texts.seal();
            elements.seal();
        }
    }

    /// Tells every clause that holds, some more than once.
    pub(super) fn find(&self, facts: &Facts<'_>, found: &mut dyn FnMut(usize)) {
        let mut text = |index: &TextIndex, value: &[u8]| index.find(value, &mut |posting| found(posting.clause));
        if let Some(host) = facts.authority {
            if host.iter().any(u8::is_ascii_uppercase) {
                text(&self.host, &host.to_ascii_lowercase());
            } else {
                text(&self.host, host);
            }
        }
        facts.method.into_iter().for_each(|method| text(&self.method, method));
        facts.sni.into_iter().for_each(|name| text(&self.sni, name));
        if !self.headers.is_empty() {
            for (name, value) in facts.lines() {
                if let Some(index) = self.header(name) {
                    text(index, value);
                }
            }
        }
        for metadata in facts.metadata.iter().filter(|_| !self.metadata.is_empty()) {
            if let Some((texts, elements)) = self.metadata.get(&joined(metadata.namespace, metadata.key)) {
                metadata.value.text().into_iter().for_each(|value| text(texts, value.as_bytes()));
                metadata.value.elements().for_each(|value| text(elements, value.as_bytes()));
            }
        }
        facts.plain_path().into_iter().for_each(|path| self.path.find(path, found));
        facts.identities.iter().for_each(|id| self.identity.find(id, found));
        for name in facts.other_names {
            self.identity.find(name, &mut |clause| {
                if self.refusing.binary_search(&clause).is_ok() {
                    found(clause);
                }
            });
        }
        if let Some((issuer, subject)) = facts.token() {
            self.token.find(issuer.as_bytes(), subject.as_bytes(), found);
        }
        if let Some(claims) = facts.claims {
            self.claims.find(claims, found);
        }
        self.direct_ip.find(facts.direct_ip, found);
        self.remote_ip.find(facts.remote_ip, found);
        self.destination_ip.find(facts.destination_ip, found);
        if let Some(port) = facts.destination_port {
            self.ports.all(&port.to_be_bytes()).iter().copied().for_each(found);
        }
    }

    fn header(&self, name: &[u8]) -> Option<&TextIndex> {
        if name.iter().any(u8::is_ascii_uppercase) {
            return self.headers.get(&name.to_ascii_lowercase());
        }
        self.headers.get(name)
    }

    fn pattern(&mut self, place: usize, clause: &Clause, pattern: &Pattern) {
        let reach = clause.reach;
        let posting = Posting { clause: place, reach };
        match (&clause.attribute, pattern) {
            (Attribute::Host, Pattern::Text(text)) => self.host.add(text, posting),
            (Attribute::Method, Pattern::Text(text)) => self.method.add(text, posting),
            (Attribute::Sni, Pattern::Text(text)) => self.sni.add(text, posting),
            (Attribute::Path, Pattern::Text(text)) => self.path.add(text, reach, place),
            (Attribute::Path, Pattern::Template(template)) => self.path.add_template(template, posting),
            (Attribute::Header(name), Pattern::Text(text)) => {
                if let Some(header) = self.headers.or_default(name.as_bytes()) {
                    header.add(text, posting);
                }
            }
            (Attribute::Identity, Pattern::Identity(identity)) => self.identity.add(identity, place, reach),
            (Attribute::Token, Pattern::Token { issuer, subject }) => self.token.add(issuer, subject, place, reach),
            (Attribute::DirectIp, Pattern::Network(network)) => self.direct_ip.add(*network, place),
            (Attribute::RemoteIp, Pattern::Network(network)) => self.remote_ip.add(*network, place),
            (Attribute::DestinationIp, Pattern::Network(network)) => self.destination_ip.add(*network, place),
            (Attribute::DestinationPort, Pattern::Port(port)) => self.ports.push(&port.to_be_bytes(), place),
            (Attribute::Claim(path), Pattern::Text(text)) => self.claims.add(path, text, reach, place),
            (Attribute::Metadata { namespace, key }, Pattern::Text(text)) => {
                if let Some((texts, _)) = self.metadata.or_default(&joined(namespace, key)) {
                    texts.add(text, posting);
                }
            }
            (Attribute::Metadata { namespace, key }, Pattern::Element(text)) => {
                if let Some((_, elements)) = self.metadata.or_default(&joined(namespace, key)) {
                    elements.add(text, posting);
                }
            }
            // The compiler makes no other pair, and one would hold for nothing in the plain evaluator as well.
            _ => {}
        }
    }
}

/// The place of a value in dynamic metadata as bytes; neither part has a NUL in a policy.
fn joined(namespace: &str, key: &str) -> Vec<u8> {
    [namespace.as_bytes(), b"\0", key.as_bytes()].concat()
}
