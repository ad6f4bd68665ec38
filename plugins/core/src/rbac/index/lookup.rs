//! From one request to the clauses that hold: every value of it is looked up once.

use hashbrown::HashMap;

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

/// All patterns of all clauses, by attribute.
#[derive(Debug, Clone, Default)]
pub(super) struct Lookup {
    host: TextIndex,
    method: TextIndex,
    path: PathIndex,
    headers: HashMap<Box<[u8]>, TextIndex>,
    identity: IdentityIndex,
    /// The clauses that look at an identity where a match can only refuse, in order.
    refusing: Vec<usize>,
    token: TokenIndex,
    direct_ip: NetworkIndex,
    remote_ip: NetworkIndex,
    destination_ip: NetworkIndex,
    ports: HashMap<u16, Vec<usize>>,
    sni: TextIndex,
    claims: ClaimIndex,
    metadata: HashMap<(String, String), (TextIndex, TextIndex)>,
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
    pub(super) fn find(&self, facts: &Facts<'_>, mut found: impl FnMut(usize)) {
        let mut text = |index: &TextIndex, value: &[u8]| index.find(value, |posting| found(posting.clause));
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
            let key = (metadata.namespace.to_owned(), metadata.key.to_owned());
            if let Some((texts, elements)) = self.metadata.get(&key) {
                metadata.value.text().into_iter().for_each(|value| text(texts, value.as_bytes()));
                metadata.value.elements().for_each(|value| text(elements, value.as_bytes()));
            }
        }
        facts.plain_path().into_iter().for_each(|path| self.path.find(path, &mut found));
        facts.identities.iter().for_each(|id| self.identity.find(id, &mut found));
        for name in facts.other_names {
            self.identity.find(name, |clause| {
                if self.refusing.binary_search(&clause).is_ok() {
                    found(clause);
                }
            });
        }
        if let Some((issuer, subject)) = facts.token() {
            self.token.find(issuer.as_bytes(), subject.as_bytes(), &mut found);
        }
        if let Some(claims) = facts.claims {
            self.claims.find(claims, &mut found);
        }
        self.direct_ip.find(facts.direct_ip, &mut found);
        self.remote_ip.find(facts.remote_ip, &mut found);
        self.destination_ip.find(facts.destination_ip, &mut found);
        let ports = facts.destination_port.and_then(|port| self.ports.get(&port));
        ports.into_iter().flatten().copied().for_each(found);
    }

    fn header(&self, name: &[u8]) -> Option<&TextIndex> {
        if name.iter().any(u8::is_ascii_uppercase) {
            return self.headers.get(&*name.to_ascii_lowercase());
        }
        self.headers.get(name)
    }

    fn pattern(&mut self, place: usize, clause: &Clause, pattern: &Pattern) {
        let reach = clause.reach;
        let posting = Posting { clause: place, reach };
        match (&clause.attribute, pattern) {
            (Attribute::Host, Pattern::Text(text)) => self.host.add(text, reach, posting),
            (Attribute::Method, Pattern::Text(text)) => self.method.add(text, reach, posting),
            (Attribute::Sni, Pattern::Text(text)) => self.sni.add(text, reach, posting),
            (Attribute::Path, Pattern::Text(text)) => self.path.add(text, reach, place),
            (Attribute::Path, Pattern::Template(template)) => self.path.add_template(template, posting),
            (Attribute::Header(name), Pattern::Text(text)) => {
                self.headers.entry(name.as_bytes().into()).or_default().add(text, reach, posting);
            }
            (Attribute::Identity, Pattern::Identity(identity)) => self.identity.add(identity, place, reach),
            (Attribute::Token, Pattern::Token { issuer, subject }) => self.token.add(issuer, subject, place, reach),
            (Attribute::DirectIp, Pattern::Network(network)) => self.direct_ip.add(*network, place),
            (Attribute::RemoteIp, Pattern::Network(network)) => self.remote_ip.add(*network, place),
            (Attribute::DestinationIp, Pattern::Network(network)) => self.destination_ip.add(*network, place),
            (Attribute::DestinationPort, Pattern::Port(port)) => self.ports.entry(*port).or_default().push(place),
            (Attribute::Claim(path), Pattern::Text(text)) => self.claims.add(path, text, reach, place),
            (Attribute::Metadata { namespace, key }, Pattern::Text(text)) => {
                self.metadata.entry((namespace.clone(), key.clone())).or_default().0.add(text, reach, posting);
            }
            (Attribute::Metadata { namespace, key }, Pattern::Element(text)) => {
                self.metadata.entry((namespace.clone(), key.clone())).or_default().1.add(text, reach, posting);
            }
            // The compiler makes no other pair, and one would hold for nothing in the plain evaluator as well.
            _ => {}
        }
    }
}
