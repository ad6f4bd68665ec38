//! What an index leads to: a clause, and how far the wildcard reaches that led there.

use crate::rbac::matcher::Reach;

/// A clause, by its place, that some value makes hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Posting {
    /// The place of the clause.
    pub(super) clause: usize,
    /// How far its wildcards reach.
    pub(super) reach: Reach,
}

impl Posting {
    /// One without a wildcard over bytes that Envoy's wildcards do not step over.
    pub(super) fn anyway(clause: usize) -> Self {
        Self { clause, reach: Reach::Every }
    }
}
