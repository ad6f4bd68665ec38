//! Many request principals at once: by their exact issuer where they have one, else by whichever half says more.

use hashbrown::HashMap;

use super::posting::Posting;
use super::text::TextIndex;
use crate::rbac::matcher::{Reach, Text};

/// Patterns for issuer and subject.
#[derive(Debug, Clone, Default)]
pub(super) struct TokenIndex {
    by_exact_issuer: HashMap<Box<[u8]>, TextIndex>,
    by_subject: TextIndex<usize>,
    by_issuer: TextIndex<usize>,
    /// The half that is still to be looked at after the other one was found.
    halves: Vec<(Text, Posting)>,
}

impl TokenIndex {
    /// Adds a pattern.
    pub(super) fn add(&mut self, issuer: &Text, subject: &Text, clause: usize, reach: Reach) {
        let posting = Posting { clause, reach };
        let place = self.halves.len();
        match (issuer, subject) {
            (Text::Exact(text), subject) => {
                self.by_exact_issuer.entry(text.clone()).or_default().add(subject, reach, posting);
            }
            (issuer, Text::Present | Text::NonEmpty) => {
                self.by_issuer.add(issuer, reach, place);
                self.halves.push((subject.clone(), posting));
            }
            (issuer, subject) => {
                self.by_subject.add(subject, reach, place);
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
    pub(super) fn find(&self, issuer: &[u8], subject: &[u8], mut found: impl FnMut(usize)) {
        if let Some(subjects) = self.by_exact_issuer.get(issuer) {
            subjects.find(subject, |posting| found(posting.clause));
        }
        let mut other = |place: usize, value: &[u8]| {
            if let Some((half, posting)) = self.halves.get(place)
                && half.fits(value, posting.reach)
            {
                found(posting.clause);
            }
        };
        self.by_subject.find(subject, |place| other(place, issuer));
        self.by_issuer.find(issuer, |place| other(place, subject));
    }
}
