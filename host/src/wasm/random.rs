//! The random bytes that guests get: different in every run, or the same in every run of a test.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A source of random bytes.
#[derive(Debug)]
pub(super) enum Random {
    /// Keyed by the operating system.
    System,
    /// A sequence that begins again with every VM.
    Repeatable(u64),
}

impl Random {
    pub(super) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    fn next(&mut self) -> u64 {
        match self {
            // Each state has keys of its own, derived from the system's entropy.
            Random::System => RandomState::new().build_hasher().finish(),
            // SplitMix64: an odd step through all numbers, then mixed.
            Random::Repeatable(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                mixed ^ (mixed >> 31)
            }
        }
    }
}
