//! Many text patterns at once: exact ones by hash, prefixes and suffixes by sorted sets.

use super::posting::Posting;
use super::prefixes::{Prefixes, reversed};
use crate::rbac::matcher::{Text, regular};
use crate::rbac::table::Table;

/// Patterns for one attribute, each leading to a posting.
#[derive(Debug, Clone, Default)]
pub(super) struct TextIndex {
    present: Vec<Posting>,
    non_empty: Vec<Posting>,
    exact: Table<Vec<Posting>>,
    prefixes: Prefixes<Posting>,
    suffixes: Prefixes<Posting>,
}

impl TextIndex {
    /// Adds a pattern.
    pub(super) fn add(&mut self, pattern: &Text, value: Posting) {
        match pattern {
            Text::Present => self.present.push(value),
            Text::NonEmpty => self.non_empty.push(value),
            Text::Exact(text) => self.exact.push(text, value),
            Text::Prefix(text) => self.prefixes.add(text.clone(), value),
            Text::Suffix(text) => self.suffixes.add_reversed(text, value),
        }
    }

    /// Makes it ready to be asked.
    pub(super) fn seal(&mut self) {
        self.prefixes.seal();
        self.suffixes.seal();
    }

    /// Tells every posting whose pattern the value fits.
    pub(super) fn find(&self, value: &[u8], found: &mut dyn FnMut(Posting)) {
        self.present.iter().copied().for_each(&mut *found);
        if !value.is_empty() && !self.non_empty.is_empty() {
            let regular = regular(value);
            let covered = self.non_empty.iter().filter(|posting| posting.reach.covers(regular));
            covered.copied().for_each(&mut *found);
        }
        self.exact.all(value).iter().copied().for_each(&mut *found);
        self.prefixes.find(value, found);
        if !self.suffixes.is_empty() {
            self.suffixes.find(&reversed(value), found);
        }
    }
}
