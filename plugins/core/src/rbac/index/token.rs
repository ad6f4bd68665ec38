//! Many request principals at once: by their exact issuer where they have one, else by whichever half says more.

use super::posting::Posting;
use super::text::TextIndex;
use crate::rbac::matcher::{Reach, Text};
use crate::rbac::table::Table;

/// Patterns for issuer and subject.
#[derive(Debug, Clone, Default)]
pub(super) struct TokenIndex {
    by_exact_issuer: Table<TextIndex>,
    by_subject: TextIndex,
    by_issuer: TextIndex,
    /// The half that is still to be looked at after the other one was found.
    halves: Vec<(Text, Posting)>,
}

impl TokenIndex {
    /// Adds a pattern.
    pub(super) fn add(&mut self, issuer: &Text, subject: &Text, clause: usize, reach: Reach) {
        let posting = Posting { clause, reach };
        let half = Posting { clause: self.halves.len(), reach };
        match (issuer, subject) {
            (Text::Exact(text), subject) => {
                if let Some(subjects) = self.by_exact_issuer.or_default(text) {
                    subjects.add(subject, posting);
                }
            }
            (issuer, Text::Present | Text::NonEmpty) => {
                self.by_issuer.add(issuer, half);
                self.halves.push((subject.clone(), posting));
            }
            (issuer, subject) => {
                self.by_subject.add(subject, half);
                self.halves.push((issuer.clone(), posting));
            }
        }
    }

    /// Makes it ready to be asked.
    pub(super) fn seal(&mut self) {
        self.by_exact_issuer.values_mut().for_each(TextIndex::seal);
        self.by_subject.seal();
        self.by_issuer.seal();
    }

    /// Tells every clause with a pattern that the token fits.
    pub(super) fn find(&self, issuer: &[u8], subject: &[u8], found: &mut dyn FnMut(usize)) {
        if let Some(subjects) = self.by_exact_issuer.get(issuer) {
            subjects.find(subject, &mut |posting| found(posting.clause));
        }
        let mut other = |half: Posting, value: &[u8]| {
            if let Some((half, posting)) = self.halves.get(half.clause)
                && half.fits(value, posting.reach)
            {
                found(posting.clause);
            }
        };
        self.by_subject.find(subject, &mut |half| other(half, issuer));
        self.by_issuer.find(issuer, &mut |half| other(half, subject));
    }
}
