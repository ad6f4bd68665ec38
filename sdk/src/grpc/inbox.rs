//! What peers say on gRPC calls, from the host's callbacks to the exchanges that wait for it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures_lite::future::poll_fn;

use super::error::{Code, Ending};
use crate::headers::Headers;
use crate::id_map::IdMap;
use crate::runtime;
use crate::sys::{self, BufferKind, MapKind};

/// What a call and the exchange that waits for it share.
#[derive(Default)]
pub(super) struct Slot {
    limit: usize,
    kept: Cell<usize>,
    inbox: RefCell<VecDeque<Vec<u8>>>,
    pub(super) metadata: RefCell<Headers>,
    pub(super) trailers: RefCell<Headers>,
    end: RefCell<Option<Result<(), Ending>>>,
    waker: Cell<Option<Waker>>,
}

impl Slot {
    pub(super) fn is_over(&self) -> bool {
        self.end.borrow().is_some()
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Result<Option<Vec<u8>>, Ending>> {
        if let Some(message) = self.inbox.borrow_mut().pop_front() {
            self.kept.set(self.kept.get().saturating_sub(message.len()));
            return Poll::Ready(Ok(Some(message)));
        }
        match &*self.end.borrow() {
            Some(Ok(())) => Poll::Ready(Ok(None)),
            Some(Err(ending)) => Poll::Ready(Err(ending.clone())),
            None => {
                self.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}

thread_local! {
    static CALLS: RefCell<IdMap<Rc<Slot>>> = const { RefCell::new(IdMap::new()) };
}

/// The plugin's end of a call; dropped, it cancels the call at the host.
pub(super) struct Handle {
    pub(super) token: u32,
    pub(super) slot: Rc<Slot>,
}

impl Handle {
    pub(super) fn new(token: u32, limit: usize) -> Self {
        let slot = Rc::new(Slot { limit, ..Slot::default() });
        CALLS.with_borrow_mut(|calls| calls.insert(token, Rc::clone(&slot)));
        Self { token, slot }
    }

    pub(super) fn next(&mut self) -> impl Future<Output = Result<Option<Vec<u8>>, Ending>> + '_ {
        poll_fn(|cx| self.slot.poll(cx))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let known = CALLS.with_borrow_mut(|calls| calls.remove(self.token)).is_some();
        // A call whose end came is gone at the host as well.
        if known {
            cancel(self.token);
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("token", &self.token).finish_non_exhaustive()
    }
}

/// Gives a call up at the host, which has to be told twice when it stumbles once: a stream has no time-out.
fn cancel(token: u32) {
    if let Err(error) = sys::grpc_cancel(token).or_else(|_| sys::grpc_cancel(token)) {
        log::debug!("a gRPC call could not be cancelled: {error}");
    }
}

/// How many calls have not ended.
pub(crate) fn waiting() -> usize {
    CALLS.with_borrow(|calls| calls.len())
}

/// The call of a token, if anybody waits for it.
fn slot(token: u32) -> Option<Rc<Slot>> {
    CALLS.with_borrow(|calls| calls.get(token).cloned())
}

/// Ends a call for its plugin; the host knows, or is told.
fn end(token: u32, slot: &Slot, how: Result<(), Ending>) {
    CALLS.with_borrow_mut(|calls| calls.remove(token));
    slot.end.replace(Some(how));
    slot.wake();
    runtime::run();
}

/// As [`end`], for a call that goes on at the host.
fn give_up(token: u32, slot: &Slot, why: Ending) {
    cancel(token);
    end(token, slot, Err(why));
}

/// Initial metadata came.
pub(crate) fn metadata_received(token: u32) {
    let Some(slot) = slot(token) else { return };
    slot.metadata.replace(Headers::read(MapKind::GrpcInitialMetadata).unwrap_or_default());
}

/// A message came; that of a unary call is its end as well.
pub(crate) fn received(token: u32, size: usize) {
    let Some(slot) = slot(token) else { return };
    let unary = token & 3 == 1;
    let kept = slot.kept.get().saturating_add(size);
    let message = match size {
        _ if kept > slot.limit => {
            let text = format!("messages of more than {} bytes", slot.limit);
            Err(Ending::new(Code::RESOURCE_EXHAUSTED, text))
        }
        0 => Ok(Vec::new()),
        _ => sys::buffer_bytes(BufferKind::GrpcMessage, 0, usize::MAX)
            .map_err(|error| Ending::new(Code::INTERNAL, error.to_string())),
    };
    match message {
        Ok(message) => {
            slot.kept.set(kept);
            slot.inbox.borrow_mut().push_back(message);
            if unary {
                return end(token, &slot, Ok(()));
            }
            slot.wake();
            runtime::run();
        }
        Err(ending) if unary => end(token, &slot, Err(ending)),
        Err(ending) => give_up(token, &slot, ending),
    }
}

/// Trailing metadata came.
pub(crate) fn trailers_received(token: u32) {
    let Some(slot) = slot(token) else { return };
    slot.trailers.replace(Headers::read(MapKind::GrpcTrailingMetadata).unwrap_or_default());
}

/// The call is over at the host.
pub(crate) fn closed(token: u32, status: u32) {
    let Some(slot) = slot(token) else { return };
    let told = if status == 0 { Ok(()) } else { Err(sys::status().map(|(_, text)| text).unwrap_or_default()) };
    if token & 3 == 2 {
        // Envoy keeps a stream until its plugin closes it, and has forgotten those that were closed before.
        let _forgotten = sys::grpc_close(token);
    }
    end(token, &slot, told.map_err(|text| Ending::told(status, &text)));
}
