//! Many patterns for SPIFFE ids at once; an id is taken apart once, and no regular expression is needed.

use super::posting::Posting;
use super::prefixes::{Prefixes, reversed};
use crate::rbac::identity::{Domain, Identity, SCHEME, in_namespace, names, trust_domain};
use crate::rbac::matcher::{Reach, regular};
use crate::rbac::table::Table;

/// Patterns for the identity of the peer.
#[derive(Debug, Clone, Default)]
pub(super) struct IdentityIndex {
    any: Vec<Posting>,
    exact: Table<Vec<Posting>>,
    prefixes: Prefixes<Posting>,
    suffixes: Prefixes<Posting>,
    namespaces: Namespaces,
    accounts: Table<Table<Vec<Posting>>>,
    domains: Domains,
}

#[derive(Debug, Clone, Default)]
struct Namespaces {
    exact: Table<Vec<Posting>>,
    prefixes: Prefixes<Posting>,
    suffixes: Prefixes<Posting>,
    /// With a wildcard in the middle, or a slash: rare, and tried one by one.
    others: Vec<(Vec<Box<[u8]>>, Posting)>,
}

#[derive(Debug, Clone, Default)]
struct Domains {
    any: Vec<Posting>,
    exact: Table<Vec<Posting>>,
    prefixes: Prefixes<Posting>,
    suffixes: Prefixes<Posting>,
}

impl IdentityIndex {
    /// Adds a pattern.
    pub(super) fn add(&mut self, pattern: &Identity, clause: usize, reach: Reach) {
        let posting = Posting { clause, reach };
        match pattern {
            Identity::Any => self.any.push(posting),
            Identity::Exact(text) => self.exact.push(text, Posting::anyway(clause)),
            Identity::Prefix(text) => self.prefixes.add(text.clone(), Posting::anyway(clause)),
            Identity::Suffix(text) => self.suffixes.add_reversed(text, posting),
            Identity::Namespace(pieces) => self.namespaces.add(pieces, posting),
            Identity::Account { namespace, name } => {
                if let Some(accounts) = self.accounts.or_default(namespace) {
                    accounts.push(name, posting);
                }
            }
            Identity::Domain(domain) => self.domains.add(domain, posting),
        }
    }

    /// Makes it ready to be asked.
    pub(super) fn seal(&mut self) {
        self.prefixes.seal();
        self.suffixes.seal();
        self.namespaces.prefixes.seal();
        self.namespaces.suffixes.seal();
        self.domains.prefixes.seal();
        self.domains.suffixes.seal();
    }

    /// Tells every clause with a pattern that the id fits.
    pub(super) fn find(&self, id: &[u8], found: &mut dyn FnMut(usize)) {
        let regular = regular(id);
        let mut covered = |posting: Posting| {
            if posting.reach.covers(regular) {
                found(posting.clause);
            }
        };
        if !id.is_empty() {
            self.any.iter().copied().for_each(&mut covered);
        }
        self.namespaces.find(id, &mut covered);
        let Some(path) = id.strip_prefix(SCHEME) else { return };
        self.exact.all(path).iter().copied().for_each(&mut covered);
        self.prefixes.find(path, &mut covered);
        if !self.suffixes.is_empty() {
            self.suffixes.find(&reversed(path), &mut covered);
        }
        self.account(path, &mut covered);
        self.domains.find(path, &mut covered);
    }

    fn account(&self, path: &[u8], found: &mut dyn FnMut(Posting)) {
        if self.accounts.is_empty() {
            return;
        }
        // Istio's expression wants at least one character before `/ns/`.
        for rest in behind_ns(path.get(1..).unwrap_or_default()) {
            let Some((namespace, rest)) = segment(rest) else { continue };
            let Some(accounts) = self.accounts.get(namespace) else { continue };
            for behind in names(rest) {
                let name = match segment(behind) {
                    Some((_, [])) => continue,
                    Some((name, _)) => name,
                    None => behind,
                };
                accounts.all(name).iter().copied().for_each(&mut *found);
            }
        }
    }
}

impl Namespaces {
    fn add(&mut self, pieces: &[Box<[u8]>], posting: Posting) {
        match pieces {
            [name] if !name.contains(&b'/') => self.exact.push(name, posting),
            [start, end] if end.is_empty() => self.prefixes.add(start.clone(), posting),
            [start, end] if start.is_empty() => self.suffixes.add_reversed(end, posting),
            _ => self.others.push((pieces.to_vec(), posting)),
        }
    }

    fn find(&self, id: &[u8], found: &mut dyn FnMut(Posting)) {
        for (pieces, posting) in &self.others {
            if in_namespace(id, pieces) {
                found(*posting);
            }
        }
        // What a wildcard may stand for ends before the last slash.
        let Some(last) = id.iter().rposition(|byte| *byte == b'/') else { return };
        let behind_last = id.len().saturating_sub(last);
        for rest in behind_ns(id) {
            if let Some((name, _)) = segment(rest) {
                self.exact.all(name).iter().copied().for_each(&mut *found);
            }
            if let Some(text) = rest.len().checked_sub(behind_last).and_then(|end| rest.get(..end)) {
                self.prefixes.find(text, found);
            }
        }
        if !self.suffixes.is_empty()
            && let Some(rest) = behind_ns(id).next()
        {
            let backwards = reversed(rest);
            for (start, _) in backwards.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
                self.suffixes.find(backwards.get(start + 1..).unwrap_or_default(), found);
            }
        }
    }
}

impl Domains {
    fn add(&mut self, domain: &Domain, posting: Posting) {
        match domain {
            Domain::Any => self.any.push(Posting::anyway(posting.clause)),
            Domain::Exact(text) => {
                self.exact.push(text, Posting::anyway(posting.clause));
            }
            Domain::Prefix(text) => self.prefixes.add(text.clone(), posting),
            Domain::Suffix(text) => self.suffixes.add_reversed(text, posting),
        }
    }

    fn find(&self, path: &[u8], found: &mut dyn FnMut(Posting)) {
        self.any.iter().copied().for_each(&mut *found);
        let Some(name) = trust_domain(path) else { return };
        self.exact.all(name).iter().copied().for_each(&mut *found);
        self.prefixes.find(name, found);
        if !self.suffixes.is_empty() {
            self.suffixes.find(&reversed(name), found);
        }
    }
}

/// What stands behind every `/ns/`.
fn behind_ns(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let starts = text.windows(4).enumerate().filter(|(_, window)| *window == b"/ns/");
    starts.filter_map(|(start, _)| text.get(start + 4..))
}

/// What stands before the first slash, and behind it; none without a slash.
fn segment(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let slash = text.iter().position(|byte| *byte == b'/')?;
    Some((text.get(..slash)?, text.get(slash + 1..)?))
}
