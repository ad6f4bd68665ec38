//! Finds the blocks that may hold for a path and a host, without asking all of them.

use std::cmp::Ordering;
use std::iter::{once, successors};

use super::condition::{Block, Key};

/// Blocks by what they need; in every list they stand in their order.
#[derive(Debug, Default)]
pub(super) struct Index {
    paths: Table,
    /// For those that ignore case.
    folded_paths: Table,
    hosts: Table,
    /// Those that may hold anywhere.
    rest: Vec<usize>,
}

impl Index {
    pub(super) fn of(blocks: &[Block]) -> Self {
        let mut index = Self { folded_paths: Table::folded(), hosts: Table::folded(), ..Self::default() };
        for (place, block) in blocks.iter().enumerate() {
            let keys = block.keys();
            if keys.is_empty() {
                index.rest.push(place);
            }
            for key in keys {
                match key {
                    Key::Uri { text, is_prefix, any_case: false } => index.paths.insert(text, is_prefix, place),
                    Key::Uri { text, is_prefix, any_case: true } => index.folded_paths.insert(text, is_prefix, place),
                    Key::Host(name) => index.hosts.insert(name, false, place),
                }
            }
        }
        for table in [&mut index.paths, &mut index.folded_paths, &mut index.hosts] {
            table.link();
        }
        index
    }

    /// Lists that together have every block that may hold.
    pub(super) fn candidates<'a>(&'a self, path: &'a [u8], host: &'a [u8]) -> impl Iterator<Item = &'a [usize]> {
        let lists = self.paths.matching(path).chain(self.folded_paths.matching(path)).chain(self.hosts.matching(host));
        lists.chain(once(self.rest.as_slice()))
    }
}

/// Texts in order; each knows the longest other one that it begins with.
#[derive(Debug, Default)]
struct Table {
    entries: Vec<Entry>,
    folds: bool,
}

#[derive(Debug)]
struct Entry {
    text: Box<[u8]>,
    /// Who needs this text.
    exact: Vec<usize>,
    /// Who needs a text that begins with this one.
    prefix: Vec<usize>,
    parent: Option<usize>,
}

impl Table {
    fn folded() -> Self {
        Self { folds: true, ..Self::default() }
    }

    fn insert(&mut self, text: &[u8], is_prefix: bool, place: usize) {
        let folds = self.folds;
        let at = match self.entries.binary_search_by(|entry| order(folds, &entry.text, text)) {
            Ok(at) => at,
            Err(at) => {
                let entry = Entry { text: text.into(), exact: Vec::new(), prefix: Vec::new(), parent: None };
                self.entries.insert(at, entry);
                at
            }
        };
        if let Some(entry) = self.entries.get_mut(at) {
            let list = if is_prefix { &mut entry.prefix } else { &mut entry.exact };
            // One block may name a host twice.
            if list.last() != Some(&place) {
                list.push(place);
            }
        }
    }

    /// Finds the parents, once all texts are there.
    fn link(&mut self) {
        for at in 0..self.entries.len() {
            let before = at.checked_sub(1);
            let parent = self.entries.get(at).and_then(|entry| self.longest(before, &entry.text));
            if let Some(entry) = self.entries.get_mut(at) {
                entry.parent = parent;
            }
        }
    }

    /// The longest entry that a text begins with, from one that is not behind the text, whose parents are known.
    fn longest(&self, from: Option<usize>, text: &[u8]) -> Option<usize> {
        let chain = successors(from, |at| self.entries.get(*at)?.parent);
        chain.into_iter().find(|at| self.entries.get(*at).is_some_and(|entry| begins(self.folds, text, &entry.text)))
    }

    fn matching<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = &'a [usize]> {
        let behind = self.entries.partition_point(|entry| order(self.folds, &entry.text, text) != Ordering::Greater);
        let first = self.longest(behind.checked_sub(1), text);
        let chain = successors(first, |at| self.entries.get(*at)?.parent).filter_map(|at| self.entries.get(at));
        chain.flat_map(move |entry| {
            let exact = if entry.text.len() == text.len() { entry.exact.as_slice() } else { &[] };
            [exact, entry.prefix.as_slice()]
        })
    }
}

fn order(folds: bool, one: &[u8], other: &[u8]) -> Ordering {
    if folds {
        one.iter().map(u8::to_ascii_lowercase).cmp(other.iter().map(u8::to_ascii_lowercase))
    } else {
        one.cmp(other)
    }
}

fn begins(folds: bool, text: &[u8], start: &[u8]) -> bool {
    match text.get(..start.len()) {
        Some(head) if folds => head.eq_ignore_ascii_case(start),
        Some(head) => head == start,
        None => false,
    }
}
