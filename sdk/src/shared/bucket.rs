//! Token buckets that all workers take from.

use std::num::NonZeroU32;
use std::time::Duration;

use super::content::{hash, number};
use super::swap::change;
use crate::error::{Error, Result};
use crate::sys;

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
    pub(super) key: Vec<u8>,
    pub(super) rate: Rate,
    pub(super) slots: u32,
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

#[cfg(test)]
mod tests {
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
