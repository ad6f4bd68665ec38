//! Many text patterns at once: exact ones by hash, prefixes and suffixes by sorted sets.

use hashbrown::HashMap;

use super::posting::Posting;
use super::prefixes::{Prefixes, reversed};
use crate::rbac::matcher::{Reach, Text, regular};

/// Patterns for one attribute, each leading to a posting.
#[derive(Debug, Clone)]
pub(super) struct TextIndex<V = Posting> {
    present: Vec<V>,
    non_empty: Vec<(V, Reach)>,
    exact: HashMap<Box<[u8]>, Vec<V>>,
    prefixes: Prefixes<V>,
    suffixes: Prefixes<V>,
}

impl<V> Default for TextIndex<V> {
    fn default() -> Self {
        Self {
            present: Vec::new(),
            non_empty: Vec::new(),
            exact: HashMap::new(),
            prefixes: Prefixes::default(),
            suffixes: Prefixes::default(),
        }
    }
}

impl<V: Copy> TextIndex<V> {
    /// Adds a pattern.
    pub(super) fn add(&mut self, pattern: &Text, reach: Reach, value: V) {
        match pattern {
            Text::Present => self.present.push(value),
            Text::NonEmpty => self.non_empty.push((value, reach)),
            Text::Exact(text) => self.exact.entry(text.clone()).or_default().push(value),
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
    pub(super) fn find(&self, value: &[u8], mut found: impl FnMut(V)) {
        self.present.iter().copied().for_each(&mut found);
        if !value.is_empty() && !self.non_empty.is_empty() {
            let regular = regular(value);
            let covered = self.non_empty.iter().filter(|(_, reach)| reach.covers(regular));
            covered.for_each(|(posting, _)| found(*posting));
        }
        if let Some(postings) = self.exact.get(value) {
            postings.iter().copied().for_each(&mut found);
        }
        self.prefixes.find(value, &mut found);
        if !self.suffixes.is_empty() {
            self.suffixes.find(&reversed(value), &mut found);
        }
    }
}
