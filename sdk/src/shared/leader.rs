//! One leader among the workers of a proxy, for work that is to be done once.

use std::cell::Cell;
use std::future::Future;
use std::time::Duration;

use super::content::foreign;
use super::counter::SharedCounter;
use super::swap::change;
use crate::error::Result;
use crate::future::race;
use crate::sys;
use crate::time::sleep;

/// How long a leader that says nothing keeps its office, unless [`Leader::lease`] says otherwise.
const LEASE: Duration = Duration::from_secs(60);

/// The shortest lease: a tick has a millisecond, and a busy worker is late.
const SHORTEST_LEASE: Duration = Duration::from_secs(1);

/// How much later than the own clock another worker's may be, in nanoseconds.
const SKEW: u64 = 1_000_000_000;

/// An office that one VM of the proxy holds at a time, by a lease in shared data.
///
/// Its holder renews the lease; when it does not (its VM trapped, its worker hangs), another one takes over as soon as the
/// lease has expired. Time is the host's clock, one for all workers. When it is set back by more than a second, the lease
/// counts as expired, and whoever comes first takes it; when it is set forward, the lease expires early. So a step may
/// cost a change of leader, and never leaves the office empty for longer than a lease.
///
/// A lease is a promise of time, not a lock: a worker that stops in the middle of its work for longer than the lease may
/// find that another has begun. Work that must not overlap in any case needs a check where its effect is made.
///
/// ```
/// use std::rc::Rc;
/// use std::time::Duration;
///
/// use wasmplugin::shared::Shared;
/// use wasmplugin::{Cluster, Http, Result};
///
/// struct Keys;
///
/// impl Http for Keys {
///     async fn background(self: Rc<Self>) -> Result<()> {
///         let leader = Shared::of("keys").leader("refresh");
///         leader.run(Duration::from_secs(300), async || {
///             let answer = Cluster::named("keys")?.get("/keys").send().await?;
///             Shared::of("keys").cell("keys").set(&answer.into_body())
///         })
///         .await
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Leader {
    key: Vec<u8>,
    /// Gives each holder a number of its own.
    members: SharedCounter,
    me: Cell<u64>,
    lease: Duration,
}

impl Leader {
    pub(super) fn new(key: Vec<u8>, members: SharedCounter) -> Self {
        Self { key, members, me: Cell::new(0), lease: LEASE }
    }

    /// Sets how long the office is held without renewal, at least 1 s; 60 s unless set. All workers should agree.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease.max(SHORTEST_LEASE);
        self
    }

    /// Takes the office if it is free, renews the lease if it is this one's; whether this one leads now, for a lease.
    pub fn lead(&self) -> Result<bool> {
        self.hold(|term| Ok((term, ()))).map(|held| held.is_some())
    }

    /// Gives the office up, if this one has it; the next who asks gets it.
    pub fn resign(&self) -> Result<()> {
        self.hold(|term| Ok((Term { expires: 0, ..term }, ()))).map(|_| ())
    }

    /// Does `work` once per proxy, at once and then every `period`, as long as this task lives.
    ///
    /// All instances of a plugin call it; the leader works, the others wait for the office. When the work was last done
    /// is kept with the office, so that a new leader goes on in the same rhythm. An error of `work` gives the office up
    /// and is returned; a background task that ends with it starts again after a pause, and meanwhile another leads. If the
    /// office is lost in the middle of the work, the work is dropped.
    pub async fn run<F>(&self, period: Duration, mut work: impl FnMut() -> F) -> Result<()>
    where
        F: Future<Output = Result<()>>,
    {
        let period = nanoseconds(period);
        let look = self.lease / 3;
        loop {
            match self.hold(|term| Ok((term, term.done)))? {
                None => sleep(look).await,
                Some(done) => match pause(done, sys::current_time()?, period) {
                    Some(left) => sleep(left.min(look)).await,
                    None => match race(async { Some(work().await) }, self.lost()).await {
                        Some(Ok(())) => self.finish(period)?,
                        Some(Err(error)) => {
                            self.resign()?;
                            return Err(error);
                        }
                        None => {}
                    },
                },
            }
        }
    }

    /// Notes that the work is done.
    fn finish(&self, period: u64) -> Result<()> {
        let now = sys::current_time()?;
        // A period of nothing must not become a loop without a wait.
        let done = if period == 0 { now.saturating_add(1) } else { now };
        self.hold(|term| Ok((Term { done, ..term }, ()))).map(|_| ())
    }

    /// Renews the lease until it is lost.
    async fn lost<T>(&self) -> Option<T> {
        loop {
            sleep(self.lease / 3).await;
            if !matches!(self.lead(), Ok(true)) {
                return None;
            }
        }
    }

    /// Takes or renews the lease and changes the term; nothing if another one leads.
    fn hold<R>(&self, mut step: impl FnMut(Term) -> Result<(Term, R)>) -> Result<Option<R>> {
        let me = self.number()?;
        let lease = nanoseconds(self.lease);
        change(&self.key, |content| {
            // Read after the content: its writer's clock cannot be ahead of this.
            let now = sys::current_time()?;
            match Term::of(content)?.held_by(me, now, lease) {
                None => Ok((None, None)),
                Some(term) => step(term).map(|(term, result)| (Some(term.encode()), Some(result))),
            }
        })
    }

    /// The number of this VM among those who may lead.
    fn number(&self) -> Result<u64> {
        if self.me.get() == 0 {
            self.me.set(self.members.add(1)?);
        }
        Ok(self.me.get())
    }
}

/// Who leads, until when, and when the work was last done; both in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Term {
    holder: u64,
    expires: u64,
    done: u64,
}

impl Term {
    fn of(content: Option<&[u8]>) -> Result<Self> {
        let Some(content) = content else { return Ok(Self::default()) };
        let (fields, rest) = content.as_chunks();
        match (fields, rest) {
            ([holder, expires, done], []) => Ok(Self {
                holder: u64::from_le_bytes(*holder),
                expires: u64::from_le_bytes(*expires),
                done: u64::from_le_bytes(*done),
            }),
            _ => Err(foreign()),
        }
    }

    fn encode(self) -> Vec<u8> {
        [self.holder, self.expires, self.done].map(u64::to_le_bytes).concat()
    }

    /// The term after `me` has asked for the office; nothing if another one has it.
    fn held_by(self, me: u64, now: u64, lease: u64) -> Option<Self> {
        let left = self.expires.saturating_sub(now);
        let free = left == 0 || left > lease.saturating_add(SKEW);
        (free || self.holder == me).then(|| Self { holder: me, expires: now.saturating_add(lease), ..self })
    }
}

/// How long until the work is due again; nothing if it is due. Work that was done in the future is due: the clock was
/// set back.
fn pause(done: u64, now: u64, period: u64) -> Option<Duration> {
    if done > now.saturating_add(SKEW) {
        return None;
    }
    let left = done.saturating_add(period).saturating_sub(now);
    (done > 0 && left > 0).then(|| Duration::from_nanos(left))
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const START: u64 = 1_800_000_000 * SECOND;
    const LEASE: u64 = 30 * SECOND;

    #[test]
    fn an_office_is_held_renewed_and_taken_over() {
        let term = Term::default().held_by(1, START, LEASE).unwrap();
        assert_eq!(term.held_by(2, START + LEASE - 1, LEASE), None);
        let renewed = term.held_by(1, START + 10 * SECOND, LEASE).unwrap();
        assert_eq!(renewed.held_by(2, START + LEASE, LEASE), None);
        assert_eq!(renewed.held_by(2, START + LEASE + 10 * SECOND, LEASE).unwrap().holder, 2);
    }

    #[test]
    fn a_clock_that_is_set_back_frees_the_office() {
        let term = Term::default().held_by(1, START, LEASE).unwrap();
        assert_eq!(term.held_by(2, START - 3_600 * SECOND, LEASE).unwrap().holder, 2);
        assert_eq!(term.held_by(2, START - 1_000, LEASE), None, "a clock a little late frees nothing");
    }

    #[test]
    fn work_is_due_a_period_after_it_was_done() {
        assert_eq!(pause(0, START, 60 * SECOND), None, "never done");
        assert_eq!(pause(START, START + 20 * SECOND, 60 * SECOND), Some(Duration::from_secs(40)));
        assert_eq!(pause(START, START + 60 * SECOND, 60 * SECOND), None);
        assert_eq!(pause(START, START - 3_600 * SECOND, 60 * SECOND), None, "done in the future");
    }

    #[test]
    fn a_term_survives_its_bytes_and_nothing_else_does() {
        let term = Term { holder: 7, expires: START, done: 9 };
        assert_eq!(Term::of(Some(&term.encode())).unwrap(), term);
        assert!(Term::of(Some(b"other")).is_err());
    }

    proptest! {
        /// While the clock runs forwards, who was told that it leads is the only one for a whole lease; and whatever the
        /// clock did, an office that everybody asks for is empty for no longer than that.
        #[test]
        fn there_is_one_leader_per_lease(
            steps in prop::collection::vec((1..5_u64, 0..40 * SECOND, prop::bool::weighted(0.05)), 1..300)
        ) {
            let (mut term, mut now) = (Term::default(), START);
            // Who may believe that it leads, and until when.
            let mut belief: Option<(u64, u64)> = None;
            for (who, wait, set_back) in steps {
                if set_back {
                    now -= 2 * LEASE;
                    belief = None;
                } else {
                    now += wait;
                }
                match term.held_by(who, now, LEASE) {
                    Some(next) => {
                        if let Some((holder, until)) = belief {
                            prop_assert!(holder == who || now >= until, "{} leads beside {}", who, holder);
                        }
                        belief = Some((who, now + LEASE));
                        term = next;
                    }
                    None => {
                        prop_assert!(term.holder != who);
                        prop_assert!(term.held_by(who, now + LEASE + SKEW, LEASE).is_some(), "nobody leads for too long");
                    }
                }
            }
        }
    }
}
