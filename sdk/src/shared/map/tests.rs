//! The decisions of the map, against a map as one would write it without slots.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_800_000_000 * SECOND;
const TTL: u64 = 60 * SECOND;

fn entry<'a>(expires: u64, key: &'a [u8], value: &'a [u8]) -> Entry<'a> {
    Entry { expires, key, value }
}

#[test]
fn an_entry_survives_its_bytes() {
    let bytes = entry(START + TTL, b"key", b"value").encode();
    assert_eq!(Entry::of(Some(&bytes), START, TTL).unwrap(), Some(entry(START + TTL, b"key", b"value")));
    assert_eq!(Entry::of(Some(b""), START, TTL).unwrap(), None, "taken out");
    assert!(Entry::of(Some(b"something else"), START, TTL).is_err());
    assert!(Entry::of(Some(&bytes[..11]), START, TTL).is_err());
}

#[test]
fn nothing_outlives_its_time() {
    let bytes = entry(START + TTL, b"k", b"v").encode();
    let lives = |now| Entry::of(Some(&bytes), now, TTL).unwrap().is_some();
    assert!(lives(START + TTL - 1));
    assert!(!lives(START + TTL));
    assert!(lives(START - SECOND), "a worker whose clock is a little late");
    assert!(!lives(START - 3_600 * SECOND), "a clock that was set back");
}

#[test]
fn maps_of_different_sizes_share_no_slot() {
    let map = |slots| SharedMap::<u64>::new(b"m".to_vec(), slots, Duration::from_secs(1));
    assert_ne!(map(7).slot(b"k"), map(8).slot(b"k"));
    assert_eq!(map(0).slot(b"k"), map(1).slot(b"k"), "at least one slot");
}

#[test]
fn an_entry_that_is_too_large_is_refused() {
    let map = SharedMap::<Vec<u8>>::new(b"m".to_vec(), 1, Duration::from_secs(1)).entry_limit(8);
    assert!(map.entry(b"four", b"four", START).is_ok());
    assert!(map.entry(b"four", b"fives", START).unwrap_err().to_string().contains("9 bytes"));
}

/// The slots of a map, as the host would keep them.
struct Slots {
    map: SharedMap<u64>,
    kept: HashMap<Vec<u8>, Vec<u8>>,
}

impl Slots {
    fn get(&self, key: &[u8], now: u64) -> Option<u64> {
        let content = self.kept.get(&self.map.slot(key)).map(Vec::as_slice);
        let entry = Entry::of(content, now, self.map.ttl).unwrap();
        entry.and_then(|entry| entry.value_of(key)).map(|value| decoded(value).unwrap())
    }

    fn insert(&mut self, key: &[u8], value: u64, now: u64) -> bool {
        let slot = self.map.slot(key);
        let step = |_: Option<&[u8]>| Ok((Some(Encode::encode(&value)), ()));
        let (new, done) = self.map.decide(key, self.kept.get(&slot).map(Vec::as_slice), now, step).unwrap();
        if let Some(new) = new {
            self.kept.insert(slot, new);
        }
        done.is_some()
    }
}

proptest! {
    #[test]
    fn a_map_never_says_what_the_reference_does_not(
        slots in 1..20_u32,
        keep in any::<bool>(),
        steps in prop::collection::vec((0..30_u8, any::<u64>(), 0..20 * SECOND, any::<bool>()), 1..300),
    ) {
        let collision = if keep { Collision::Keep } else { Collision::Overwrite };
        let map = SharedMap::new(b"m".to_vec(), slots, Duration::from_nanos(TTL)).on_collision(collision);
        let mut slots = Slots { map, kept: HashMap::new() };
        let mut reference: HashMap<u8, (u64, u64)> = HashMap::new();
        let mut now = START;
        for (key, value, wait, write) in steps {
            now += wait;
            let expected = reference.get(&key).filter(|(_, expires)| *expires > now).map(|(value, _)| *value);
            let found = slots.get(&[key], now);
            if keep {
                // What was stored stays for its whole time.
                prop_assert_eq!(found, expected);
            } else if found.is_some() {
                prop_assert_eq!(found, expected);
            }
            if write && slots.insert(&[key], value, now) {
                prop_assert_eq!(slots.get(&[key], now), Some(value));
                reference.insert(key, (value, now + TTL));
            } else if write {
                prop_assert!(keep, "only a kept entry refuses a newcomer");
            }
        }
        prop_assert!(slots.kept.len() <= slots.map.slots as usize);
    }
}
