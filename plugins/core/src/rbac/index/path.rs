//! Many paths at once: text patterns, and templates by a trie of their segments.

use super::posting::Posting;
use super::text::TextIndex;
use crate::rbac::matcher::{Reach, Text};
use crate::rbac::table::Table;
use crate::rbac::template::{Segment, Template, allowed, split};

/// Paths and path templates.
#[derive(Debug, Clone, Default)]
pub(super) struct PathIndex {
    text: TextIndex,
    nodes: Vec<Node>,
}

/// A place in the trie: what may follow, and what ends here.
#[derive(Debug, Clone, Default)]
struct Node {
    literal: Table<usize>,
    one: Option<usize>,
    end: Vec<Posting>,
    rest: Vec<(Box<[u8]>, Posting)>,
}

impl PathIndex {
    /// Adds a path.
    pub(super) fn add(&mut self, pattern: &Text, reach: Reach, clause: usize) {
        self.text.add(pattern, Posting { clause, reach });
    }

    /// Adds a template.
    pub(super) fn add_template(&mut self, template: &Template, posting: Posting) {
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        let mut place = 0;
        for segment in &template.segments {
            place = self.child(place, segment);
        }
        if let Some(node) = self.nodes.get_mut(place) {
            match &template.tail {
                Some(tail) => node.rest.push((tail.clone(), posting)),
                None => node.end.push(posting),
            }
        }
    }

    /// Makes it ready to be asked.
    pub(super) fn seal(&mut self) {
        self.text.seal();
    }

    /// Tells every clause with a pattern that the path fits.
    pub(super) fn find(&self, path: &[u8], found: &mut dyn FnMut(usize)) {
        self.text.find(path, &mut |posting| found(posting.clause));
        if let Some(root) = self.nodes.first() {
            self.walk(root, Some(path), true, found);
        }
    }

    fn child(&mut self, place: usize, segment: &Segment) -> usize {
        let fresh = self.nodes.len();
        let Some(node) = self.nodes.get_mut(place) else { return place };
        let child = match segment {
            // The root is nobody's child, so that 0 is a child that was just made.
            Segment::Literal(text) => match node.literal.or_default(text) {
                Some(child) if *child == 0 => {
                    *child = fresh;
                    fresh
                }
                Some(child) => *child,
                None => return place,
            },
            Segment::One => *node.one.get_or_insert(fresh),
        };
        if child == fresh {
            self.nodes.push(Node::default());
        }
        child
    }

    /// Follows the segments of a path; `regular` is whether the operators so far stood for nothing beyond Envoy's reach.
    fn walk(&self, node: &Node, path: Option<&[u8]>, regular: bool, found: &mut dyn FnMut(usize)) {
        let Some(path) = path else {
            let ends = node.end.iter().filter(|posting| posting.reach.covers(regular));
            return ends.for_each(|posting| found(posting.clause));
        };
        for (tail, posting) in &node.rest {
            if let Some(middle) = path.strip_suffix(&**tail)
                && posting.reach.covers(regular && allowed(middle))
            {
                found(posting.clause);
            }
        }
        let (head, next) = split(path);
        let at = |place: &usize| self.nodes.get(*place);
        if let Some(child) = node.literal.get(head).and_then(at) {
            self.walk(child, next, regular, found);
        }
        if let Some(child) = node.one.as_ref().and_then(at)
            && !head.is_empty()
        {
            self.walk(child, next, regular && allowed(head), found);
        }
    }
}
