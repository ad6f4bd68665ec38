//! A trie laid flat: sorted prefixes, each knowing the longest other one that it begins with.

use crate::order;

/// Finds all of many prefixes that a value begins with, at the cost of one binary search and one step per hit or per
/// nested prefix. The other prefixes cost nothing but their own bytes.
#[derive(Debug, Clone)]
pub(super) struct Prefixes<V> {
    entries: Vec<Entry<V>>,
}

#[derive(Debug, Clone)]
struct Entry<V> {
    prefix: Box<[u8]>,
    values: Vec<V>,
    parent: Option<usize>,
}

impl<V> Default for Prefixes<V> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<V: Copy> Prefixes<V> {
    /// Adds a prefix; [`Prefixes::seal`] must follow before anything is found.
    pub(super) fn add(&mut self, prefix: Box<[u8]>, value: V) {
        self.entries.push(Entry { prefix, values: vec![value], parent: None });
    }

    /// Adds a suffix, for a set that is asked with reversed values.
    pub(super) fn add_reversed(&mut self, suffix: &[u8], value: V) {
        self.add(reversed(suffix).into(), value);
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sorts, joins equal prefixes, and links each to its parent.
    pub(super) fn seal(&mut self) {
        order::sort(&mut self.entries, |a, b| a.prefix.cmp(&b.prefix));
        let mut sealed: Vec<Entry<V>> = Vec::with_capacity(self.entries.len());
        // The prefixes of the last entry, innermost last.
        let mut open: Vec<usize> = Vec::new();
        for mut entry in self.entries.drain(..) {
            if let Some(last) = sealed.last_mut().filter(|last| last.prefix == entry.prefix) {
                last.values.append(&mut entry.values);
                continue;
            }
            while open
                .last()
                .and_then(|last| sealed.get(*last))
                .is_some_and(|last| !entry.prefix.starts_with(&last.prefix))
            {
                open.pop();
            }
            entry.parent = open.last().copied();
            open.push(sealed.len());
            sealed.push(entry);
        }
        self.entries = sealed;
    }

    /// Tells every value whose prefix this text begins with.
    pub(super) fn find(&self, text: &[u8], found: &mut dyn FnMut(V)) {
        // Every prefix of the text sorts before it, and is a prefix of whatever sorts in between.
        let after = self.entries.partition_point(|entry| *entry.prefix <= *text);
        let mut next = after.checked_sub(1).and_then(|last| self.entries.get(last));
        let Some(nearest) = next else { return };
        let common = nearest.prefix.iter().zip(text).take_while(|(a, b)| a == b).count();
        while let Some(entry) = next {
            if entry.prefix.len() <= common {
                entry.values.iter().copied().for_each(&mut *found);
            }
            next = entry.parent.and_then(|parent| self.entries.get(parent));
        }
    }
}

/// The bytes from the last to the first.
pub(super) fn reversed(text: &[u8]) -> Vec<u8> {
    text.iter().rev().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_prefixes_are_found_and_no_others() {
        let words = ["", "a", "ab", "abc", "abd", "b", "ba", "abc", "c\u{ff}"];
        let mut prefixes = Prefixes::default();
        for (place, word) in words.iter().enumerate() {
            prefixes.add(word.as_bytes().into(), place);
        }
        prefixes.seal();
        for text in ["", "a", "abcd", "abda", "abz", "az", "b", "bb", "c", "c\u{ff}x", "zzz"] {
            let mut found = Vec::new();
            prefixes.find(text.as_bytes(), &mut |place| found.push(place));
            found.sort_unstable();
            let expected: Vec<_> = (0..words.len()).filter(|place| text.starts_with(words[*place])).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn nothing_is_found_in_nothing() {
        Prefixes::<()>::default().find(b"a", &mut |()| panic!("found"));
    }
}
