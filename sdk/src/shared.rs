//! State that all workers of the proxy share: counters, cells, and token buckets.
//!
//! Each worker has a VM of its own; what they have in common is the host's table of keys and values, one per `vm_id`.
//! Istio leaves the `vm_id` empty, so that all plugins of a proxy have the same table: a plugin therefore names itself
//! once, and its keys are kept apart from everybody else's.
//!
//! ```
//! use wasmplugin::shared::{Rate, Shared};
//!
//! const SHARED: Shared = Shared::of("my-plugin");
//! # fn example(rate: Rate) -> wasmplugin::Result<()> {
//! let visits = SHARED.counter("visits").add(1)?;
//! let granted = SHARED.bucket("requests", rate).take("client-7", 1)?;
//! # let _ = (visits, granted);
//! # Ok(())
//! # }
//! ```
//!
//! Every change is exact: it is made by compare-and-swap, and tried again when another worker was faster. After 1,000
//! tries it is [`ErrorKind::Contended`], and nothing has changed. A value stays until the last VM of its `vm_id` is gone.

use std::hint::black_box;
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::sys::{self, HostError, Status};

/// How often a change is tried; each failed try is another worker's success. With 128 tries, and nobody stepping
/// aside, a request failed where four workers of a real Envoy did nothing else.
const TRIES: u32 = 1_000;

/// What a value that does not exist is replaced by number. 0 would overwrite what another worker just stored; any
/// other number stores where there is nothing, and is refused where there is something.
const ABSENT: u32 = u32::MAX;

/// The part of the shared state that belongs to one plugin.
#[derive(Debug, Clone, Copy)]
pub struct Shared {
    plugin: &'static str,
}

impl Shared {
    /// The state of the plugin of this name, which no other plugin of the proxy should use.
    #[must_use]
    pub const fn of(plugin: &'static str) -> Self {
        Self { plugin }
    }

    /// A number that all workers add to.
    #[must_use]
    pub fn counter(self, name: &str) -> SharedCounter {
        SharedCounter { key: self.key("counter", name) }
    }

    /// A value that all workers read and replace.
    #[must_use]
    pub fn cell<T: Encode>(self, name: &str) -> SharedCell<T> {
        SharedCell { key: self.key("cell", name), value: PhantomData }
    }

    /// Token buckets, one for each of 1,024 slots that keys are spread over.
    #[must_use]
    pub fn bucket(self, name: &str, rate: Rate) -> SharedBucket {
        SharedBucket { key: self.key("bucket", name), rate, slots: 1_024 }
    }

    /// No two of plugin, kind and name have the same key, whatever is in them.
    fn key(self, kind: &str, name: &str) -> Vec<u8> {
        format!("wasmplugin/{}:{}/{kind}/{name}", self.plugin.len(), self.plugin).into_bytes()
    }
}

/// A number that all workers add to; it begins at 0.
#[derive(Debug, Clone)]
pub struct SharedCounter {
    key: Vec<u8>,
}

impl SharedCounter {
    /// Adds `n` and tells the sum, which stops at the largest number.
    pub fn add(&self, n: u64) -> Result<u64> {
        change(&self.key, |old| {
            let sum = number(old)?.saturating_add(n);
            Ok((Some(sum.to_le_bytes().to_vec()), sum))
        })
    }

    /// The sum as it stands.
    pub fn value(&self) -> Result<u64> {
        number(read(&self.key)?.0.as_deref())
    }
}

/// A value that a [`SharedCell`] can hold: one that is bytes, and comes from bytes.
pub trait Encode: Sized {
    /// The value as bytes.
    fn encode(&self) -> Vec<u8>;

    /// The value of these bytes; nothing if they are not one.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

impl Encode for u64 {
    fn encode(&self) -> Vec<u8> {
        self.to_le_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_le_bytes)
    }
}

impl Encode for String {
    fn encode(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        std::str::from_utf8(bytes).ok().map(str::to_owned)
    }
}

impl Encode for Vec<u8> {
    fn encode(&self) -> Vec<u8> {
        self.clone()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(bytes.to_vec())
    }
}

/// A value that all workers read and replace.
#[derive(Debug, Clone)]
pub struct SharedCell<T> {
    key: Vec<u8>,
    value: PhantomData<T>,
}

impl<T: Encode> SharedCell<T> {
    /// The value, if there is one.
    pub fn get(&self) -> Result<Option<T>> {
        decode(read(&self.key)?.0.as_deref())
    }

    /// Stores a value, whatever is there.
    pub fn set(&self, value: &T) -> Result<()> {
        Ok(sys::set_shared_data(&self.key, &encode(Some(value)), 0)?)
    }

    /// Replaces the value by what `step` makes of it, and tells the new one. When another worker was faster, `step`
    /// is called again with that worker's value.
    pub fn update(&self, mut step: impl FnMut(Option<T>) -> T) -> Result<T> {
        change(&self.key, |old| {
            let new = step(decode(old)?);
            Ok((Some(encode(Some(&new))), new))
        })
    }

    /// The value, or what `make` makes if there is none: all workers get the same one.
    pub fn get_or_insert_with(&self, mut make: impl FnMut() -> T) -> Result<T> {
        change(&self.key, |old| {
            Ok(match decode(old)? {
                Some(present) => (None, present),
                None => {
                    let new = make();
                    (Some(encode(Some(&new))), new)
                }
            })
        })
    }

    /// Takes the value out. Its key remains in the host, which has no way to delete one.
    pub fn clear(&self) -> Result<()> {
        Ok(sys::set_shared_data(&self.key, &encode::<T>(None), 0)?)
    }
}

/// How many tokens a bucket holds, and how fast they come back.
///
/// In configuration: `{"per_second": 10, "burst": 20}`, both from 1 to 2^32 - 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Deserialize))]
pub struct Rate {
    /// Tokens that come back per second. The time for one is rounded up to whole nanoseconds.
    pub per_second: NonZeroU32,
    /// Tokens in a full bucket.
    pub burst: NonZeroU32,
}

/// What a bucket answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a token that was not granted must not be used"]
pub enum Take {
    /// The tokens are taken.
    Granted {
        /// How many are left.
        left: u32,
    },
    /// Nothing is taken, for there are too few.
    Empty {
        /// When there will be enough, if nobody else takes any.
        retry_after: Duration,
    },
}

/// Token buckets that all workers take from, one for each of a fixed number of slots.
///
/// A key belongs to a slot by its hash, and keys in one slot share a bucket: memory does not grow with the keys, and a
/// slot never grants more than one bucket would. Over any time `t` of the host's clock that is at most `burst +
/// per_second * t`. (A client that may choose its key can find another's slot: the key should be one it cannot choose.)
///
/// The clock of a host can be set. A bucket that was changed more than a second after the present time is taken for
/// empty now; so a step back costs one refill, and does not stop the traffic until the clock is there again.
#[derive(Debug, Clone)]
pub struct SharedBucket {
    key: Vec<u8>,
    rate: Rate,
    slots: u32,
}

impl SharedBucket {
    /// Sets the number of slots, at least 1; 1,024 unless set. Each needs about 100 bytes in the host, once used.
    #[must_use]
    pub fn slots(mut self, slots: u32) -> Self {
        self.slots = slots.max(1);
        self
    }

    /// Takes `n` tokens from the bucket of a key, all or none. More than `burst` is an error, for it would never be
    /// granted.
    pub fn take(&self, key: impl AsRef<[u8]>, n: u32) -> Result<Take> {
        if n > self.rate.burst.get() {
            return Err(Error::app(format!("a bucket of {} tokens never grants {n}", self.rate.burst)));
        }
        let slot = hash(key.as_ref()) % u64::from(self.slots);
        let key = [self.key.as_slice(), b"/", &slot.to_le_bytes()].concat();
        change(&key, |old| {
            let (new, take) = self.rate.take(number(old)?, sys::current_time()?, n);
            Ok((new.map(|full_at| full_at.to_le_bytes().to_vec()), take))
        })
    }
}

/// How much later than the own clock another worker's may be before a bucket's time is taken for wrong.
const SKEW: u64 = 1_000_000_000;

impl Rate {
    /// Nanoseconds until one token comes back.
    fn interval(self) -> u64 {
        1_000_000_000_u64.div_ceil(self.per_second.get().into())
    }

    /// Decides about `n` tokens. A bucket is one number, the nanosecond at which it will be full again; `Some` is what
    /// it becomes.
    fn take(self, full_at: u64, now: u64, n: u32) -> (Option<u64>, Take) {
        let interval = self.interval();
        // The time from empty to full: at most 2^32 seconds, which fits beside the present time.
        let capacity = interval.saturating_mul(self.burst.get().into());
        let empty = now.saturating_add(capacity);
        if full_at > empty.saturating_add(SKEW) {
            let retry_after = Duration::from_nanos(interval.saturating_mul(n.into()));
            return (Some(empty), if n == 0 { Take::Granted { left: 0 } } else { Take::Empty { retry_after } });
        }
        let after = full_at.max(now).saturating_add(interval.saturating_mul(n.into()));
        match empty.checked_sub(after) {
            Some(rest) => {
                let left = u32::try_from(rest.checked_div(interval).unwrap_or_default()).unwrap_or(u32::MAX);
                ((n > 0).then_some(after), Take::Granted { left })
            }
            None => (None, Take::Empty { retry_after: Duration::from_nanos(after.saturating_sub(empty)) }),
        }
    }
}

/// A value and its number for compare-and-swap.
type Versioned = (Option<Vec<u8>>, u32);

fn read(key: &[u8]) -> Result<Versioned> {
    match sys::shared_data(key) {
        // The number 0 would overwrite; a host that gives it out, against the ABI, gets one that it refuses.
        Ok((value, cas)) => Ok((Some(value), cas.max(1))),
        Err(HostError { status: Status::NOT_FOUND, .. }) => Ok((None, ABSENT)),
        Err(error) => Err(error.into()),
    }
}

/// Replaces the value of a key by what `step` makes of it; `None` leaves it.
fn change<R>(key: &[u8], step: impl FnMut(Option<&[u8]>) -> Result<(Option<Vec<u8>>, R)>) -> Result<R> {
    swap(|| read(key), |value, cas| sys::set_shared_data(key, value, cas), step)
}

fn swap<R>(
    mut read: impl FnMut() -> Result<Versioned>,
    mut write: impl FnMut(&[u8], u32) -> sys::Result<()>,
    mut step: impl FnMut(Option<&[u8]>) -> Result<(Option<Vec<u8>>, R)>,
) -> Result<R> {
    for lost in 0..TRIES {
        let (old, cas) = read()?;
        let (new, result) = step(old.as_deref())?;
        let Some(new) = new else { return Ok(result) };
        match write(&new, cas) {
            Ok(()) => return Ok(result),
            Err(HostError { status: Status::CAS_MISMATCH, .. }) => step_aside(lost, cas),
            Err(error) => return Err(error.into()),
        }
    }
    Err(ErrorKind::Contended.into())
}

/// Spends a moment, longer after more lost races, at most some 10 µs: workers in lockstep would lose for ever.
fn step_aside(lost: u32, cas: u32) {
    let turns = (cas.wrapping_mul(0x9e37_79b9) >> 24).wrapping_mul(lost.min(32));
    for turn in 0..turns {
        black_box(turn);
    }
}

/// A number of eight bytes; 0 where there is nothing yet.
fn number(value: Option<&[u8]>) -> Result<u64> {
    match value {
        None => Ok(0),
        Some(bytes) => Encode::decode(bytes).ok_or_else(foreign),
    }
}

/// The content of a cell: a byte before the value tells it from one that was taken out.
fn encode<T: Encode>(value: Option<&T>) -> Vec<u8> {
    value.map(|value| [&[1], value.encode().as_slice()].concat()).unwrap_or_default()
}

fn decode<T: Encode>(content: Option<&[u8]>) -> Result<Option<T>> {
    match content {
        None | Some([]) => Ok(None),
        Some([1, value @ ..]) => T::decode(value).map(Some).ok_or_else(foreign),
        Some(_) => Err(foreign()),
    }
}

fn foreign() -> Error {
    Error::malformed("a shared value; does another plugin, or another version, use this name?")
}

/// FNV-1a: short, and its lower bits are good enough to choose a slot. It must not change between versions or workers.
fn hash(key: &[u8]) -> u64 {
    let hash = key
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use proptest::prelude::*;

    use super::*;

    fn rate(per_second: u32, burst: u32) -> Rate {
        Rate { per_second: per_second.try_into().unwrap(), burst: burst.try_into().unwrap() }
    }

    const SECOND: u64 = 1_000_000_000;
    const START: u64 = 1_800_000_000 * SECOND;

    #[test]
    fn a_bucket_empties_and_fills() {
        let rate = rate(10, 3);
        let mut full_at = 0;
        let mut take = |now, n| {
            let (new, take) = rate.take(full_at, now, n);
            full_at = new.unwrap_or(full_at);
            take
        };
        assert_eq!(take(START, 2), Take::Granted { left: 1 });
        assert_eq!(take(START, 2), Take::Empty { retry_after: Duration::from_millis(100) });
        assert_eq!(take(START, 1), Take::Granted { left: 0 });
        assert_eq!(take(START + SECOND / 10 - 1, 1), Take::Empty { retry_after: Duration::from_nanos(1) });
        assert_eq!(take(START + SECOND / 10, 1), Take::Granted { left: 0 });
        assert_eq!(take(START + 60 * SECOND, 0), Take::Granted { left: 3 }, "never more than full");
    }

    #[test]
    fn a_clock_that_steps_back_costs_one_refill() {
        let rate = rate(10, 5);
        let (full_at, _) = rate.take(0, START, 5);
        let earlier = START - 3_600 * SECOND;
        let (full_at, take) = rate.take(full_at.unwrap(), earlier, 1);
        assert_eq!(take, Take::Empty { retry_after: Duration::from_millis(100) });
        let (_, take) = rate.take(full_at.unwrap(), earlier + SECOND / 10, 1);
        assert_eq!(take, Take::Granted { left: 0 });
    }

    #[test]
    fn a_worker_whose_clock_is_a_little_late_gains_nothing() {
        let rate = rate(10, 5);
        let (full_at, _) = rate.take(0, START, 5);
        assert_eq!(rate.take(full_at.unwrap(), START - 1_000, 1).0, None);
    }

    #[test]
    fn a_lost_race_is_run_again_and_nothing_is_lost() {
        let store = RefCell::new((None::<Vec<u8>>, 0_u32));
        let mut disturbances = 3;
        let sum = swap(
            || {
                Ok(match &*store.borrow() {
                    (None, _) => (None, ABSENT),
                    (Some(value), cas) => (Some(value.clone()), *cas),
                })
            },
            |value, cas| {
                let mut store = store.borrow_mut();
                if disturbances > 0 {
                    disturbances -= 1;
                    let old = number(store.0.as_deref()).unwrap();
                    *store = (Some((old + 10).to_le_bytes().to_vec()), store.1 + 1);
                }
                if store.0.is_some() && store.1 != cas {
                    return Err(HostError { call: "proxy_set_shared_data", status: Status::CAS_MISMATCH });
                }
                *store = (Some(value.to_vec()), store.1 + 1);
                Ok(())
            },
            |old| {
                let sum = number(old)? + 1;
                Ok((Some(sum.to_le_bytes().to_vec()), sum))
            },
        );
        assert_eq!(sum.unwrap(), 31);
    }

    #[test]
    fn who_always_loses_gives_up() {
        let mut tries = 0;
        let mismatch = HostError { call: "proxy_set_shared_data", status: Status::CAS_MISMATCH };
        let outcome = swap(
            || Ok((None, ABSENT)),
            |_, _| {
                tries += 1;
                Err(mismatch)
            },
            |_| Ok((Some(Vec::new()), ())),
        );
        assert!(matches!(outcome.unwrap_err().kind(), ErrorKind::Contended));
        assert_eq!(tries, TRIES);
    }

    #[test]
    fn keys_of_different_things_differ() {
        let keys = [
            Shared::of("a").key("cell", "b"),
            Shared::of("a").key("counter", "b"),
            Shared::of("a/cell").key("cell", "b"),
            Shared::of("a").key("cell", "cell/b"),
        ];
        assert!(keys.iter().enumerate().all(|(at, key)| !keys.iter().skip(at + 1).any(|other| other == key)));
    }

    #[test]
    fn a_cell_tells_nothing_from_an_empty_value() {
        assert_eq!(decode::<String>(Some(&encode(Some(&String::new())))).unwrap(), Some(String::new()));
        assert_eq!(decode::<String>(Some(&encode::<String>(None))).unwrap(), None);
        assert!(decode::<u64>(Some(b"\x01abc")).is_err());
    }

    /// The same bucket, as one would draw it: a level that rises with time and falls with every token.
    struct Reference {
        rate: Rate,
        level: u64,
        now: u64,
    }

    impl Reference {
        fn take(&mut self, now: u64, n: u32) -> bool {
            let full = self.rate.interval() * u64::from(self.rate.burst.get());
            self.level = (self.level + (now - self.now)).min(full);
            self.now = now;
            let cost = self.rate.interval() * u64::from(n);
            let granted = cost <= self.level;
            self.level -= if granted { cost } else { 0 };
            granted
        }
    }

    proptest! {
        #[test]
        fn a_bucket_does_what_the_reference_does(
            per_second in 1..2_000_000_u32,
            burst in 1..1_000_u32,
            steps in prop::collection::vec((0..2 * SECOND, 0..12_u32), 1..200),
        ) {
            let rate = rate(per_second, burst);
            let full = rate.interval() * u64::from(burst);
            let mut reference = Reference { rate, level: full, now: START };
            let (mut full_at, mut now) = (0, START);
            let mut grants: Vec<(u64, u64)> = Vec::new();
            for (wait, n) in steps {
                // Short waits as well, in which the bucket stays empty.
                now += wait % (rate.interval() * 8 + 1);
                let n = n.min(burst);
                let (new, take) = rate.take(full_at, now, n);
                full_at = new.unwrap_or(full_at);
                let granted = matches!(take, Take::Granted { .. });
                prop_assert_eq!(granted, reference.take(now, n));
                match take {
                    Take::Granted { left } => {
                        prop_assert_eq!(u64::from(left), reference.level / rate.interval());
                        grants.push((now, n.into()));
                    }
                    Take::Empty { retry_after } => {
                        let wait = u64::try_from(retry_after.as_nanos()).unwrap();
                        let granted = |at| matches!(rate.take(full_at, at, n).1, Take::Granted { .. });
                        prop_assert!(granted(now + wait) && !granted(now + wait - 1));
                    }
                }
            }
            for (first, (from, _)) in grants.iter().enumerate() {
                let mut sum = 0_u64;
                for (to, n) in &grants[first..] {
                    sum += n;
                    let most = u128::from(burst) + u128::from(to - from) * u128::from(per_second) / u128::from(SECOND);
                    prop_assert!(u128::from(sum) <= most, "{} tokens in {} ns", sum, to - from);
                }
            }
        }
    }
}
