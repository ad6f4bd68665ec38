//! The numbers that tell requests apart.

use std::cell::Cell;
use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher, RandomState};

/// A source of request ids: random enough to tell requests apart, not to keep secrets.
#[derive(Debug)]
pub(crate) struct RequestIds(Cell<u64>);

impl Default for RequestIds {
    fn default() -> Self {
        // The standard library seeds its hashers from the system's randomness.
        Self(Cell::new(RandomState::new().build_hasher().finish()))
    }
}

impl RequestIds {
    /// A UUID of version 4.
    pub(crate) fn next(&self) -> String {
        let (high, low) = (self.number(), self.number());
        let (version, variant) = (0x4000 | (high & 0x0fff), 0x8000 | ((low >> 48) & 0x3fff));
        let mut text = String::with_capacity(36);
        let (a, b, c) = (high >> 32, (high >> 16) & 0xffff, low & 0xffff_ffff_ffff);
        // Writing to a string cannot fail.
        let _ = write!(text, "{a:08x}-{b:04x}-{version:04x}-{variant:04x}-{c:012x}");
        text
    }

    /// The next number of a SplitMix64 sequence.
    fn number(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_look_like_uuids_and_differ() {
        let ids = RequestIds::default();
        let (first, second) = (ids.next(), ids.next());
        assert_ne!(first, second);
        let lengths: Vec<usize> = first.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(first.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&first.as_bytes()[19]));
    }
}
