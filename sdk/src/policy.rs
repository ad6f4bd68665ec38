//! What a callout does when an attempt goes wrong or takes long: retries, hedging, a limit for all of it.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_lite::future::poll_fn;

use crate::future::race;
use crate::time;

/// The first pause between two attempts, as Envoy's own.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
/// The longest pause, as Envoy's own.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// How an attempt can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failed {
    /// No healthy upstream, no connection, or it broke before an answer; gRPC status 14.
    Unreachable = 1,
    /// The answer broke off.
    Reset = 2,
    /// No answer within the attempt's time-out; gRPC status 4.
    Timeout = 4,
    /// The peer's answer is not readable.
    Malformed = 8,
    /// The peer answered with a status from 500 to 599; gRPC statuses 2, 8 and 13.
    Server = 16,
}

/// Whether, when and how often a callout is tried again.
///
/// A number stands for that many retries where no answer came at all; the pauses between attempts then grow from
/// 25 ms to 250 ms. A retry is a second request: the peer must be able to take it twice.
///
/// ```
/// use std::time::Duration;
/// use wasmplugin::callout::{Failed, Retry};
///
/// let retry = Retry::times(3).on(&[Failed::Unreachable, Failed::Server]).pause(Duration::from_millis(10));
/// ```
#[derive(Debug, Clone)]
pub struct Retry {
    times: u32,
    on: u8,
    first: Duration,
    longest: Duration,
}

impl Retry {
    /// Up to so many further attempts, when no answer came at all.
    #[must_use]
    pub fn times(times: u32) -> Self {
        Self { times, on: 0, first: FIRST_PAUSE, longest: LONGEST_PAUSE }.on(&[
            Failed::Unreachable,
            Failed::Reset,
            Failed::Timeout,
            Failed::Malformed,
        ])
    }

    /// Tries again after these failures, and no others.
    #[must_use]
    pub fn on(mut self, failures: &[Failed]) -> Self {
        self.on = failures.iter().fold(0, |on, failure| on | *failure as u8);
        self
    }

    /// The first pause, from half to all of which is waited; each further one is twice as long, up to ten times the first.
    #[must_use]
    pub fn pause(mut self, first: Duration) -> Self {
        self.first = first;
        self.longest = first.saturating_mul(10);
        self
    }

    fn covers(&self, failure: Failed) -> bool {
        self.on & failure as u8 != 0
    }

    /// A pause with jitter, so that those who failed together do not come back together.
    fn pause_after(&self, turn: u32) -> Duration {
        let whole = self.first.saturating_mul(1 << turn.min(16)).min(self.longest);
        let half = whole / 2;
        let span = u64::try_from((whole - half).as_nanos()).unwrap_or(u64::MAX);
        half + Duration::from_nanos(random() % span.max(1))
    }
}

impl From<u32> for Retry {
    fn from(times: u32) -> Self {
        Self::times(times)
    }
}

/// What of all this a callout wants.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) retry: Retry,
    pub(crate) hedge: Option<Duration>,
    pub(crate) within: Option<Duration>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { retry: Retry::times(0), hedge: None, within: None }
    }
}

impl Policy {
    /// Makes attempts until one is good enough; `late` is the error when the time for all of them is over.
    pub(crate) async fn run<T, E, F>(
        &self,
        attempt: impl Fn() -> F,
        failed: impl Fn(&Result<T, E>) -> Option<Failed>,
        late: impl FnOnce() -> E,
    ) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let attempts = async {
            let mut turn = 0;
            loop {
                let outcome = match self.hedge {
                    Some(delay) => hedged(delay, &attempt, |outcome| failed(outcome).is_none()).await,
                    None => attempt().await,
                };
                match failed(&outcome) {
                    Some(failure) if turn < self.retry.times && self.retry.covers(failure) => {
                        time::sleep(self.retry.pause_after(turn)).await;
                        turn += 1;
                    }
                    _ => return outcome,
                }
            }
        };
        match self.within {
            None => attempts.await,
            Some(limit) => time::timeout(limit, attempts).await.unwrap_or_else(|| Err(late())),
        }
    }
}

/// An attempt, and a second one beside it if the first takes longer than `delay`: the first good outcome wins, and the
/// other attempt is dropped.
async fn hedged<T, F: Future<Output = T>>(delay: Duration, attempt: impl Fn() -> F, good: impl Fn(&T) -> bool) -> T {
    let mut first = pin!(attempt());
    let early = race(async { Some(first.as_mut().await) }, async {
        time::sleep(delay).await;
        None
    });
    if let Some(outcome) = early.await {
        return outcome;
    }
    let mut second = pin!(attempt());
    let (mut first_runs, mut second_runs) = (true, true);
    poll_fn(|cx| {
        if first_runs && let Poll::Ready(outcome) = first.as_mut().poll(cx) {
            first_runs = false;
            if !second_runs || good(&outcome) {
                return Poll::Ready(outcome);
            }
        }
        if second_runs && let Poll::Ready(outcome) = second.as_mut().poll(cx) {
            second_runs = false;
            if !first_runs || good(&outcome) {
                return Poll::Ready(outcome);
            }
        }
        Poll::Pending
    })
    .await
}

/// A number that differs from call to call and from worker to worker; nothing secret hangs on it.
fn random() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = const { Cell::new(0) };
    }
    let now = u64::try_from(time::now().as_nanos() & u128::from(u64::MAX)).unwrap_or_default();
    let mut number = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15) ^ now;
    STATE.set(number);
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_in_bounds() {
        let retry = Retry::times(9).pause(Duration::from_millis(10));
        for (turn, most) in [(0, 10), (1, 20), (2, 40), (9, 100), (40, 100)] {
            let pause = retry.pause_after(turn);
            assert!(
                pause >= Duration::from_millis(most / 2) && pause <= Duration::from_millis(most),
                "{turn}: {pause:?}"
            );
        }
        assert_eq!(Retry::times(1).pause(Duration::ZERO).pause_after(3), Duration::ZERO);
    }

    #[test]
    fn only_what_is_named_is_tried_again() {
        assert!(!Retry::times(1).covers(Failed::Server));
        let retry = Retry::times(1).on(&[Failed::Server]);
        assert!(retry.covers(Failed::Server) && !retry.covers(Failed::Timeout));
    }
}
