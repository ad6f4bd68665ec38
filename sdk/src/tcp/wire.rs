//! One TCP connection, as the SDK keeps it: where each direction stands, and what the host was told.
//!
//! What Envoy offers decides what can be offered here: the client's bytes can be held and let go at any time, the
//! upstream's only in their own callback. So whatever the plugin has decided about the upstream's bytes outside of it
//! takes effect with the next ones; and their end, which nothing follows, cannot be held at all.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};

use crate::error::{Error, ErrorKind, Result};
use crate::runtime;
use crate::stream::{Action, Side, Stream};
use crate::sys::{self, StreamKind};

/// The callback of this connection that is running: its return value carries the decision, not a host call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    NewConnection,
    Data(Side),
}

/// One direction.
#[derive(Default)]
struct Line {
    /// The plugin is done with it: bytes pass.
    passing: Cell<bool>,
    /// The host was told to stop.
    stopped: Cell<bool>,
    /// How many bytes the host shows.
    window: Cell<usize>,
    /// No more bytes will come.
    ended: Cell<bool>,
    /// How many of the window's bytes the plugin has taken, and what goes out in their place.
    taken: Cell<usize>,
    out: RefCell<Vec<u8>>,
    waiter: Cell<Option<Waker>>,
}

/// One connection; shared by the dispatcher and by what the plugin holds of it.
pub(crate) struct Wire {
    id: u32,
    /// The proxy may connect to the upstream.
    opened: Cell<bool>,
    /// The host was told to wait with that.
    stopped: Cell<bool>,
    closed: Cell<bool>,
    /// The plugin has dropped a direction that it had not decided about.
    abandoned: Cell<bool>,
    inside: Cell<Option<Inside>>,
    downstream: Line,
    upstream: Line,
}

impl Wire {
    pub(crate) fn new(id: u32) -> Self {
        Self {
            id,
            opened: Cell::new(false),
            stopped: Cell::new(false),
            closed: Cell::new(false),
            abandoned: Cell::new(false),
            inside: Cell::new(None),
            downstream: Line::default(),
            upstream: Line::default(),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    fn line(&self, side: Side) -> &Line {
        match side {
            Side::Downstream => &self.downstream,
            Side::Upstream => &self.upstream,
        }
    }

    // What the host reports; each returns what the callback answers.

    /// The client has connected; `decide` runs the plugin.
    pub(crate) fn arrived(&self, decide: impl FnOnce()) -> Action {
        self.inside.set(Some(Inside::NewConnection));
        decide();
        runtime::run();
        self.inside.set(None);
        let stops = self.closed.get() || !self.opened.get();
        self.stopped.set(stops);
        if stops { Action::Pause } else { Action::Continue }
    }

    /// Whether what the host shows goes on, after the plugin has seen it.
    fn leave(&self, side: Side) -> Result<bool> {
        let line = self.line(side);
        if self.closed.get() {
            return Ok(false);
        }
        if line.passing.get() || line.wants_more() {
            self.hand_on(side)?;
            return Ok(true);
        }
        if side == Side::Upstream && line.ended.get() {
            return Err(Error::app(
                "the upstream has sent its last bytes while the plugin waits, and the host cannot hold them",
            ));
        }
        Ok(false)
    }

    // What the plugin decides.

    /// Lets the proxy connect to the upstream.
    pub(crate) fn open(&self) -> Result<()> {
        if self.opened.replace(true) || !self.stopped.get() {
            return Ok(());
        }
        self.resume()?;
        self.stopped.set(false);
        Ok(())
    }

    /// Lets everything of a direction pass, from what the plugin has not taken on.
    pub(crate) fn pass(&self, side: Side) -> Result<()> {
        let line = self.line(side);
        line.passing.set(true);
        // The upstream's bytes go on from their own callback only.
        if side == Side::Downstream && self.inside.get() != Some(Inside::Data(side)) && line.stopped.get() {
            self.hand_on(side)?;
            self.resume()?;
            line.stopped.set(false);
        }
        Ok(())
    }

    /// Closes both connections; nothing passes any more.
    pub(crate) fn close(&self) {
        if self.closed.replace(true) {
            return;
        }
        let close = || runtime::focus(self.id).and_then(|()| sys::close_stream(StreamKind::Downstream));
        // Once more: a connection that is not closed hangs.
        if let Err(error) = close().or_else(|_| close()) {
            log::error!("connection {} could not be closed: {error}", self.id);
        }
    }

    /// Whether there is something that nobody has decided.
    pub(crate) fn undecided(&self) -> bool {
        let passing = self.opened.get() && self.downstream.passing.get() && self.upstream.passing.get();
        self.abandoned.get() || (!passing && !self.closed.get())
    }

    /// The plugin holds a direction no more. Without a decision nobody will ever make one: the connection is closed.
    pub(crate) fn dropped(&self, side: Side) {
        if !self.line(side).passing.get() && !self.closed.get() {
            self.abandoned.set(true);
            self.close();
        }
    }

    /// Sends bytes on, behind those that were sent before and in the place of those that were taken.
    pub(crate) fn write(&self, side: Side, bytes: &[u8]) {
        self.line(side).out.borrow_mut().extend_from_slice(bytes);
    }

    /// Puts what the plugin sends where its input was.
    fn hand_on(&self, side: Side) -> Result<()> {
        let line = self.line(side);
        let mut out = line.out.borrow_mut();
        if line.taken.get() > 0 || !out.is_empty() {
            let put = || {
                runtime::focus(self.id)?;
                sys::set_buffer_bytes(side.buffer(), 0, line.taken.get(), &out)
            };
            put()?;
            out.clear();
        }
        line.taken.set(0);
        line.window.set(0);
        Ok(())
    }

    fn resume(&self) -> Result<()> {
        runtime::focus(self.id)?;
        let resume = || sys::continue_stream(StreamKind::Downstream);
        Ok(resume().or_else(|_| resume())?)
    }

    // What the plugin waits for.

    /// At most `limit` of the next bytes; `None` is the end.
    pub(crate) fn poll_read(&self, side: Side, limit: usize, cx: &Context<'_>) -> Poll<Result<Option<Vec<u8>>>> {
        let line = self.line(side);
        if line.fresh() > 0 {
            let bytes = self.show(side, limit.max(1));
            if let Ok(bytes) = &bytes {
                line.taken.set(line.taken.get() + bytes.len());
            }
            return Poll::Ready(bytes.map(Some));
        }
        if line.ended.get() {
            return Poll::Ready(Ok(None));
        }
        self.poll_more(side, cx)
    }

    /// The next `count` bytes, or all there are before the end, without taking them.
    pub(crate) fn poll_peek(&self, side: Side, count: usize, cx: &Context<'_>) -> Poll<Result<Vec<u8>>> {
        let line = self.line(side);
        if line.fresh() >= count || line.ended.get() {
            return Poll::Ready(if line.fresh() == 0 || count == 0 { Ok(Vec::new()) } else { self.show(side, count) });
        }
        self.poll_more(side, cx)
    }

    /// Everything up to the end, taken.
    pub(crate) fn poll_whole(&self, side: Side, limit: usize, cx: &Context<'_>) -> Poll<Result<Vec<u8>>> {
        let line = self.line(side);
        if line.fresh() > limit {
            return Poll::Ready(Err(ErrorKind::TooManyBytes { limit }.into()));
        }
        if !line.ended.get() {
            return self.poll_more(side, cx);
        }
        Poll::Ready(match self.poll_read(side, limit, cx) {
            Poll::Ready(bytes) => bytes.map(Option::unwrap_or_default),
            Poll::Pending => Ok(Vec::new()),
        })
    }

    /// Waits for bytes; lets those go before that the plugin has finished.
    fn poll_more<T>(&self, side: Side, cx: &Context<'_>) -> Poll<Result<T>> {
        let line = self.line(side);
        line.waiter.set(Some(cx.waker().clone()));
        let outside = self.inside.get() != Some(Inside::Data(side));
        if side == Side::Downstream && outside && line.stopped.get() && line.fresh() == 0 {
            if let Err(error) = self.hand_on(side).and_then(|()| self.resume()) {
                return Poll::Ready(Err(error));
            }
            line.stopped.set(false);
        }
        Poll::Pending
    }

    /// Bytes of the window that the plugin has not taken.
    fn show(&self, side: Side, count: usize) -> Result<Vec<u8>> {
        runtime::focus(self.id)?;
        let bytes = sys::buffer_bytes(side.buffer(), self.line(side).taken.get(), count)?;
        if bytes.is_empty() {
            return Err(Error::malformed("the host announced bytes and shows none"));
        }
        Ok(bytes)
    }
}

impl Stream for Wire {
    fn data_arrived(&self, side: Side, size: usize, end: bool) -> Action {
        let line = self.line(side);
        if self.closed.get() {
            return Action::Pause;
        }
        line.window.set(size);
        line.ended.set(end);
        self.inside.set(Some(Inside::Data(side)));
        line.wake();
        runtime::run();
        let goes = self.leave(side);
        self.inside.set(None);
        match goes {
            Ok(true) => {
                line.stopped.set(false);
                Action::Continue
            }
            Ok(false) => {
                line.stopped.set(true);
                Action::Pause
            }
            Err(error) => {
                log::error!("connection {} failed: {error}", self.id);
                self.close();
                runtime::cancel(self.id);
                Action::Pause
            }
        }
    }

    fn deleted(&self) {
        // There is nothing left to close.
        self.closed.set(true);
        runtime::cancel(self.id);
    }

    fn last_words(&self) {
        if self.undecided() {
            self.close();
        }
    }
}

impl Line {
    /// How many bytes are there that the plugin has not taken.
    fn fresh(&self) -> usize {
        self.window.get().saturating_sub(self.taken.get())
    }

    /// Whether the plugin has finished what there is and waits for more.
    fn wants_more(&self) -> bool {
        let waiter = self.waiter.take();
        let waits = waiter.is_some();
        self.waiter.set(waiter);
        waits && self.fresh() == 0 && !self.ended.get()
    }

    fn wake(&self) {
        if let Some(waiter) = self.waiter.take() {
            waiter.wake();
        }
    }
}
