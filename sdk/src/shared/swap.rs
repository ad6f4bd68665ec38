//! Exact changes of a shared value: compare-and-swap, tried again when another worker was faster.

use std::hint::black_box;

use crate::error::{ErrorKind, Result};
use crate::sys::{self, HostError, Status};

/// How often a change is tried; each failed try is another worker's success. With 128 tries, and nobody stepping
/// aside, a request failed where four workers of a real Envoy did nothing else.
const TRIES: u32 = 1_000;

/// What a value that does not exist is replaced by number. 0 would overwrite what another worker just stored; any
/// other number stores where there is nothing, and is refused where there is something.
const ABSENT: u32 = u32::MAX;

/// A value and its number for compare-and-swap.
pub(super) type Versioned = (Option<Vec<u8>>, u32);

pub(super) fn read(key: &[u8]) -> Result<Versioned> {
    match sys::shared_data(key) {
        // The number 0 would overwrite; a host that gives it out, against the ABI, gets one that it refuses.
        Ok((value, cas)) => Ok((Some(value), cas.max(1))),
        Err(HostError { status: Status::NOT_FOUND, .. }) => Ok((None, ABSENT)),
        Err(error) => Err(error.into()),
    }
}

/// Replaces the value of a key by what `step` makes of it; `None` leaves it.
pub(super) fn change<R>(key: &[u8], step: impl FnMut(Option<&[u8]>) -> Result<(Option<Vec<u8>>, R)>) -> Result<R> {
    swap(|| read(key), |value, cas| sys::set_shared_data(key, value, cas), step)
}

pub(super) fn swap<R>(
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::super::content::number;
    use super::*;

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
}
