//! Waiting: any number of timers over the one tick that the host offers.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::future::race;
use crate::id_map::IdMap;
use crate::{machinery, runtime, sys};

/// A timer: the nanosecond at which it is due, and a number that tells it from others due then.
type Key = (u64, u32);

/// The timers of one root context: the host ticks each root by itself.
#[derive(Default)]
struct Timers {
    /// INVARIANT: sorted by key. New deadlines are mostly the latest ones, so that they go to the end.
    due: VecDeque<(Key, Waker)>,
    /// The deadline that the tick is set for; `None` while it is off.
    armed: Option<u64>,
}

thread_local! {
    static TIMERS: RefCell<IdMap<Timers>> = const { RefCell::new(IdMap::new()) };
    /// The root that was promised a tick in a millisecond; 0 is none.
    static SOON: Cell<u32> = const { Cell::new(0) };
    static NEXT_NUMBER: Cell<u32> = const { Cell::new(0) };
    /// The last time that the host told, for a host that stops telling.
    static LAST: Cell<u64> = const { Cell::new(0) };
}

/// The host's wall clock as the time since 1970.
///
/// A host that does not tell the time any more answers the last time that it told.
#[must_use]
pub fn now() -> Duration {
    Duration::from_nanos(nanoseconds())
}

/// Waits; the resolution is a millisecond.
///
/// When the host refuses its timer, the wait ends at once (with an error in the log) rather than never.
pub fn sleep(duration: Duration) -> Sleep {
    let wait = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    Sleep { due: nanoseconds().saturating_add(wait), timer: None }
}

/// Waits for a future, but not longer than `limit`; `None` when the time is over, and then the future is dropped.
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    race(async { Some(future.await) }, async {
        sleep(limit).await;
        None
    })
    .await
}

/// The future of [`sleep`].
#[derive(Debug)]
#[must_use = "nothing waits until it is awaited"]
pub struct Sleep {
    due: u64,
    /// The root and the key under which the timer is kept, once it is.
    timer: Option<(u32, Key)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let now = nanoseconds();
        if now >= self.due {
            return Poll::Ready(());
        }
        use_ticks();
        let due = self.due;
        let (root, key) = *self.timer.get_or_insert_with(|| (runtime::root(), (due, next_number())));
        let armed = TIMERS.with_borrow_mut(|roots| {
            if roots.get(root).is_none() {
                roots.insert(root, Timers::default());
            }
            let Some(timers) = roots.get_mut(root) else { return Ok(()) };
            timers.insert(key, cx.waker().clone());
            // That tick arms what is due after it.
            if SOON.get() == root { Ok(()) } else { timers.arm(now) }
        });
        match armed {
            Ok(()) => Poll::Pending,
            Err(error) => {
                log::error!("a wait was cut short: {error}");
                Poll::Ready(())
            }
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some((root, key)) = self.timer {
            TIMERS.with_borrow_mut(|roots| roots.get_mut(root).map(|timers| timers.remove(key)));
        }
    }
}

/// Has the host's ticks come here.
fn use_ticks() {
    machinery::tick::used(tick);
    machinery::rearm::used(rearm);
    machinery::forget_timers::used(forget);
}

/// Wakes what is due for a root; the host's tick calls it.
fn tick(root: u32) {
    if SOON.get() == root {
        SOON.set(0);
    }
    let told = told();
    TIMERS.with_borrow_mut(|roots| {
        let Some(timers) = roots.get_mut(root) else { return };
        // A host that does not tell the time any more still ticks, when it is time.
        let now = told.or(timers.armed).unwrap_or_else(|| LAST.get());
        LAST.set(now);
        timers.armed = None;
        while let Some((_, waker)) = timers.due.pop_front_if(|((due, _), _)| *due <= now) {
            waker.wake();
        }
    });
}

/// Has the active context's root ticked in a millisecond; no timer that is due later puts that off.
pub(crate) fn tick_soon(root: u32) -> sys::Result<()> {
    use_ticks();
    SOON.set(root);
    sys::set_tick_period(1).or_else(|_| sys::set_tick_period(1)).inspect_err(|_| SOON.set(0))
}

/// Sets the tick of a root for what is due next, or ends it; called when the tasks that a tick woke have run.
fn rearm(root: u32) {
    let now = nanoseconds();
    let result = runtime::focus(root).and_then(|()| {
        TIMERS.with_borrow_mut(|roots| match roots.get_mut(root).filter(|timers| !timers.due.is_empty()) {
            Some(timers) => timers.arm(now),
            None => {
                roots.remove(root);
                sys::set_tick_period(0)
            }
        })
    });
    if let Err(error) = result {
        log::error!("the timer could not be set: {error}");
    }
}

/// How many timers run.
pub(crate) fn waiting() -> usize {
    TIMERS.with_borrow(|roots| roots.iter().map(|(_, timers)| timers.due.len()).sum())
}

/// Forgets the timers of a root that is gone.
fn forget(root: u32) {
    let timers = TIMERS.with_borrow_mut(|roots| roots.remove(root));
    drop(timers);
}

impl Timers {
    fn insert(&mut self, key: Key, waker: Waker) {
        match self.due.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(place) => {
                if let Some(timer) = self.due.get_mut(place) {
                    timer.1 = waker;
                }
            }
            Err(place) => self.due.insert(place, (key, waker)),
        }
    }

    fn remove(&mut self, key: Key) {
        if let Ok(place) = self.due.binary_search_by_key(&key, |(key, _)| *key) {
            self.due.remove(place);
        }
    }

    /// Sets the tick of the active context's root, if the earliest deadline is earlier than what it is set for.
    fn arm(&mut self, now: u64) -> sys::Result<()> {
        let Some(first) = self.due.front().map(|((due, _), _)| *due) else { return Ok(()) };
        if self.armed.is_some_and(|armed| armed <= first) {
            return Ok(());
        }
        let wait = first.saturating_sub(now).div_ceil(1_000_000).clamp(1, u32::MAX.into());
        let period = u32::try_from(wait).unwrap_or(u32::MAX);
        sys::set_tick_period(period).or_else(|_| sys::set_tick_period(period))?;
        self.armed = Some(first);
        Ok(())
    }
}

fn next_number() -> u32 {
    let number = NEXT_NUMBER.get();
    NEXT_NUMBER.set(number.wrapping_add(1));
    number
}

fn nanoseconds() -> u64 {
    told().unwrap_or_else(|| LAST.get())
}

/// What the host says that the time is.
fn told() -> Option<u64> {
    let now = sys::current_time().ok()?;
    LAST.set(now);
    Some(now)
}
