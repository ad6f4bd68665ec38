//! Bytes as the key of a cache, hashed and compared a word at a time.
//!
//! A token or a peer has about a thousand bytes. On wasm32 slices are compared byte by byte, and the usual hashes multiply
//! to 128 bits, which such a machine has to put together: either costs a request several times as much as this.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};

use ref_cast::RefCast;

/// Odd, with its bits spread over all places: the fraction of the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Bytes that are looked up.
///
/// Equal if all bytes are. The hash has no secret: who makes keys collide makes lookups longer, by at most as many words as
/// the cache has entries, and finds no key but his own.
#[derive(Debug, RefCast)]
#[repr(transparent)]
pub(crate) struct Key([u8]);

impl Key {
    pub(crate) fn of(bytes: &[u8]) -> &Self {
        Self::ref_cast(bytes)
    }

    /// The bytes by eight, and the rest filled up with zeros.
    fn words(&self) -> (impl Iterator<Item = u64>, u64) {
        let (words, rest) = self.0.as_chunks::<8>();
        let last = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        (words.iter().map(|word| u64::from_le_bytes(*word)), last)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        let ((words, last), (other_words, other_last)) = (self.words(), other.words());
        self.0.len() == other.0.len() && last == other_last && words.eq(other_words)
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (words, last) = self.words();
        let mix = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(FACTOR);
        // The length tells apart what zeros would make the same.
        let hash = words.fold(self.0.len() as u64, mix);
        state.write_u64(mix(hash, last));
    }
}

/// Bytes that are kept, and found by [`Key`].
#[derive(Debug)]
pub(crate) struct OwnedKey(Box<[u8]>);

impl OwnedKey {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Borrow<Key> for OwnedKey {
    fn borrow(&self) -> &Key {
        Key::of(&self.0)
    }
}

impl PartialEq for OwnedKey {
    fn eq(&self, other: &Self) -> bool {
        Key::of(&self.0) == Key::of(&other.0)
    }
}

impl Eq for OwnedKey {}

impl Hash for OwnedKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Key::of(&self.0).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use hashbrown::{DefaultHashBuilder, HashSet};
    use proptest::prelude::*;

    use super::*;

    fn hash(bytes: &[u8]) -> u64 {
        DefaultHashBuilder::default().hash_one(OwnedKey::of(bytes))
    }

    proptest! {
        #[test]
        fn keys_are_equal_if_all_bytes_are(one in prop::collection::vec(0..3_u8, 0..40), other in prop::collection::vec(0..3_u8, 0..40)) {
            prop_assert_eq!(Key::of(&one) == Key::of(&other), one == other);
            prop_assert!(Key::of(&one) == Key::of(&one.clone()));
        }

        #[test]
        fn any_other_byte_or_length_is_another_key(bytes in prop::collection::vec(any::<u8>(), 1..100), at in any::<prop::sample::Index>(), by in 1..=255_u8) {
            let mut other = bytes.clone();
            other[at.index(bytes.len())] ^= by;
            prop_assert!(OwnedKey::of(&bytes) != OwnedKey::of(&other));
            let longer = [bytes.as_slice(), &[0]].concat();
            prop_assert!(OwnedKey::of(&bytes) != OwnedKey::of(&longer) && OwnedKey::of(&bytes) != OwnedKey::of(&bytes[1..]));
        }
    }

    #[test]
    fn what_is_kept_is_found_by_what_is_looked_up() {
        let kept: HashSet<OwnedKey> = (0..1000).map(|n| OwnedKey::of(format!("key {n}").as_bytes())).collect();
        assert!((0..1000).all(|n| kept.contains(Key::of(format!("key {n}").as_bytes()))));
        assert!(!kept.contains(Key::of(b"key 1000")) && !kept.contains(Key::of(b"")));
    }

    #[test]
    fn keys_that_differ_in_one_place_are_spread() {
        let mut low = [0_u32; 64];
        let keys = (0..64_u8).flat_map(|at| (0..=255_u8).map(move |byte| (at, byte)));
        for (at, byte) in keys {
            let mut key = [b'a'; 64];
            key[usize::from(at)] = byte;
            low[usize::try_from(hash(&key) % 64).unwrap()] += 1;
        }
        // 256 in each place if they were spread by chance.
        assert!(low.iter().all(|count| (128..512).contains(count)), "{low:?}");
    }
}
