//! Many claims at once: a tree of the names that rules ask for, walked along the token.

use super::posting::Posting;
use super::text::TextIndex;
use crate::rbac::claims::Claim;
use crate::rbac::matcher::{Reach, Text};
use crate::rbac::table::Table;

/// Patterns for one claim, and for those inside it.
#[derive(Debug, Clone, Default)]
pub(super) struct ClaimIndex {
    here: TextIndex,
    inside: Table<ClaimIndex>,
}

impl ClaimIndex {
    /// Adds a pattern for the claim at a path.
    pub(super) fn add(&mut self, path: &[String], pattern: &Text, reach: Reach, clause: usize) {
        match path.split_first() {
            Some((name, rest)) => {
                if let Some(inside) = self.inside.or_default(name.as_bytes()) {
                    inside.add(rest, pattern, reach, clause);
                }
            }
            None => self.here.add(pattern, Posting { clause, reach }),
        }
    }

    /// Makes it ready to be asked.
    pub(super) fn seal(&mut self) {
        self.here.seal();
        self.inside.values_mut().for_each(Self::seal);
    }

    /// Tells every clause with a pattern that the claim, or one inside it, fits.
    pub(super) fn find(&self, claim: &Claim<'_>, found: &mut dyn FnMut(usize)) {
        for text in claim.text().into_iter().chain(claim.elements()) {
            self.here.find(text.as_bytes(), &mut |posting| found(posting.clause));
        }
        if self.inside.is_empty() {
            return;
        }
        for (name, member) in claim.members() {
            if let Some(inside) = self.inside.get(name.as_bytes()) {
                inside.find(member, found);
            }
        }
    }
}
