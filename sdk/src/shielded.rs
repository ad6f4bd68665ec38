//! Work that outlives the exchange that began it.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::error::{Error, Result};
use crate::runtime;

/// Begins work that goes on when its exchange ends, or is cancelled because the client has left; it is dropped only
/// with the plugin.
///
/// The work begins before the callback that runs now is over, and acts as the plugin, not as the exchange: it reaches
/// no headers and no body, but callouts, timers and shared state. Awaiting gives its output; not awaiting leaves it to
/// itself. A VM takes 1,000 such tasks at once; more are refused, which only awaiting tells (and the log).
///
/// ```
/// use wasmplugin::shielded::shielded;
/// use wasmplugin::{Cluster, Flow, Http, RequestHead, Result};
///
/// struct Mirror;
///
/// impl Http for Mirror {
///     fn on_request(&self, request: &mut RequestHead) -> Result<Flow> {
///         let call = Cluster::named("audit")?.get(request.path()?);
///         drop(shielded(async move { call.send().await }));
///         Ok(Flow::Continue)
///     }
/// }
/// ```
pub fn shielded<T: 'static>(future: impl Future<Output = T> + 'static) -> Shielded<T> {
    let slot = Rc::<Slot<T>>::default();
    let end = End { slot: Rc::clone(&slot) };
    let spawned = runtime::spawn(runtime::root(), async move {
        let output = future.await;
        end.slot.state.borrow_mut().output = Some(output);
        // Dropping `end` wakes who waits.
    });
    if !spawned {
        log::error!("work was refused: this VM has too many tasks at once");
    }
    Shielded { slot }
}

/// The output of [`shielded`] work, once it is there.
///
/// Dropped, it leaves the work alone. Awaited, it is an error when the work was refused or ended with the plugin.
pub struct Shielded<T> {
    slot: Rc<Slot<T>>,
}

impl<T> Future for Shielded<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let mut state = self.slot.state.borrow_mut();
        match state.output.take() {
            Some(output) => Poll::Ready(Ok(output)),
            None if state.ended => Poll::Ready(Err(Error::app("the work was refused, or ended with its plugin"))),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> fmt::Debug for Shielded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shielded").field("ended", &self.slot.state.borrow().ended).finish_non_exhaustive()
    }
}

/// What the work and who waits for it share.
struct Slot<T> {
    state: RefCell<State<T>>,
}

struct State<T> {
    output: Option<T>,
    ended: bool,
    waker: Option<Waker>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { state: RefCell::new(State { output: None, ended: false, waker: None }) }
    }
}

/// Marks the work as ended, however it ends.
struct End<T> {
    slot: Rc<Slot<T>>,
}

impl<T> Drop for End<T> {
    fn drop(&mut self) {
        let waker = {
            let mut state = self.slot.state.borrow_mut();
            state.ended = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
