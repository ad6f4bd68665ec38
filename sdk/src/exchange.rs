//! One request with its response, as the SDK keeps it: which half stands where, and what the host was told.
//!
//! Plugins never pause and never resume. They decide; and from the decision, and from whether a callback of this
//! very exchange is running, follows what the callback returns or which host call is made.

use std::cell::Cell;
use std::task::{Context, Poll, Waker};

use crate::error::{Error, ErrorKind, Result};
use crate::reply::{self, Reply};
use crate::stream::{Action, Half, Stream};
use crate::{resets, runtime, sys};

/// Where one half stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its headers are not here yet.
    Ahead,
    /// Its headers wait for the plugin's decision, and everything behind them waits too.
    Held,
    /// Its headers have moved on; its body is kept until it is whole.
    Collecting {
        /// The most bytes that the plugin wants to keep.
        limit: usize,
    },
    /// Its headers have moved on; each chunk waits until the plugin has seen it.
    Streaming,
    /// The plugin is done with it.
    Released,
    /// A reply or a reset took its place: nothing of it may move any more.
    Closed,
}

/// What the SDK knows of one half.
pub(crate) struct HalfState {
    stage: Cell<Stage>,
    /// The host was told to stop, and has to be told to go on.
    stopped: Cell<bool>,
    /// The headers were the whole message.
    bodiless: Cell<bool>,
    /// The last byte of the body is in the window.
    ended: Cell<bool>,
    trailers: Cell<bool>,
    /// How many body bytes the host shows.
    window: Cell<usize>,
    /// A body callback came while the headers were held: the host stops iteration only, so the body is kept there.
    body_seen: Cell<bool>,
    waiter: Cell<Option<Waker>>,
}

impl HalfState {
    fn new() -> Self {
        Self {
            stage: Cell::new(Stage::Ahead),
            stopped: Cell::new(false),
            bodiless: Cell::new(false),
            ended: Cell::new(false),
            trailers: Cell::new(false),
            window: Cell::new(0),
            body_seen: Cell::new(false),
            waiter: Cell::new(None),
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage.get()
    }

    pub(crate) fn set_stage(&self, stage: Stage) {
        self.stage.set(stage);
    }

    pub(crate) fn has_trailers(&self) -> bool {
        self.trailers.get()
    }

    pub(crate) fn is_bodiless(&self) -> bool {
        self.bodiless.get()
    }

    fn undecided(&self) -> bool {
        matches!(self.stage(), Stage::Held | Stage::Collecting { .. } | Stage::Streaming)
    }

    fn wait(&self, cx: &Context<'_>) {
        self.waiter.set(Some(cx.waker().clone()));
    }

    fn wake(&self) {
        if let Some(waiter) = self.waiter.take() {
            waiter.wake();
        }
    }
}

/// One exchange; shared by the dispatcher and by what the plugin holds of it.
pub(crate) struct Exchange {
    id: u32,
    /// The plugin instance that it belongs to.
    root: u32,
    pub(crate) request: HalfState,
    pub(crate) response: HalfState,
    /// The half whose callback runs now: its return value carries the decision, not a host call.
    inside: Cell<Option<Half>>,
    /// The plugin has let the request go and wants to see the response.
    forwarded: Cell<bool>,
    /// The plugin has answered, or cut the exchange off.
    replied: Cell<bool>,
    /// The exchange has to be reset, in a callback where Envoy does not survive that.
    must_reset: Cell<bool>,
}

impl Exchange {
    pub(crate) fn new(id: u32, root: u32) -> Self {
        Self {
            id,
            root,
            request: HalfState::new(),
            response: HalfState::new(),
            inside: Cell::new(None),
            forwarded: Cell::new(false),
            replied: Cell::new(false),
            must_reset: Cell::new(false),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    pub(crate) fn half(&self, half: Half) -> &HalfState {
        match half {
            Half::Request => &self.request,
            Half::Response => &self.response,
        }
    }

    /// Makes host calls act on this exchange, wherever the plugin makes them from.
    pub(crate) fn focus(&self) -> Result<()> {
        Ok(runtime::focus(self.id)?)
    }

    // What the host reports; each returns what the callback answers.

    /// Headers are here; `decide` runs the plugin.
    pub(crate) fn headers_arrived(&self, half: Half, end: bool, decide: impl FnOnce()) -> Action {
        let state = self.half(half);
        state.bodiless.set(end);
        state.ended.set(end);
        if state.stage() == Stage::Ahead {
            state.set_stage(Stage::Held);
        }
        self.inside.set(Some(half));
        decide();
        state.wake();
        runtime::run();
        self.leave(half)
    }

    /// Ends a callback: says what the plugin's decision means for the host.
    fn leave(&self, half: Half) -> Action {
        self.inside.set(None);
        let state = self.half(half);
        let go = match state.stage() {
            Stage::Held | Stage::Closed => false,
            Stage::Ahead | Stage::Released => true,
            // The body callbacks come only when the headers have gone; later ones wait for the last byte.
            Stage::Collecting { .. } => state.window.get() == 0 && !state.ended.get(),
            Stage::Streaming => !self.chunk_waits(half),
        };
        if go {
            state.stopped.set(false);
            Action::Continue
        } else {
            state.stopped.set(true);
            Action::Pause
        }
    }

    /// Whether bytes, or the end, are in the window and the plugin is busy with something else.
    fn chunk_waits(&self, half: Half) -> bool {
        let state = self.half(half);
        state.window.get() > 0 || state.ended.get()
    }

    /// What to do with a response that arrives: `true` when the plugin's task wants to see it.
    ///
    /// A response that nobody has forwarded a request for is Envoy's own (a time-out, a limit) or an upstream that
    /// did not wait for the body. It must pass, or the client would wait for ever; and the plugin's decision about
    /// the request has become void. A plugin that still streams the request goes on.
    fn response_wanted(&self) -> bool {
        if self.forwarded.get() {
            return true;
        }
        if matches!(self.request.stage(), Stage::Held | Stage::Collecting { .. }) {
            self.request.set_stage(Stage::Closed);
            runtime::cancel(self.id);
        }
        false
    }

    // What the plugin decides.

    /// Lets a half move on.
    pub(crate) fn release(&self, half: Half) -> Result<()> {
        let state = self.half(half);
        if state.stage() == Stage::Closed {
            return Ok(());
        }
        state.set_stage(Stage::Released);
        self.resume(half)
    }

    /// Marks that the plugin wants the response, and lets the request move on.
    pub(crate) fn forward(&self) -> Result<()> {
        self.forwarded.set(true);
        self.release(Half::Request)
    }

    /// Says whether somebody waits for the response; one that nobody waits for passes.
    pub(crate) fn want_response(&self, wanted: bool) {
        self.forwarded.set(wanted);
    }

    /// Lets a response pass that was waited for, whether it is here or not.
    pub(crate) fn give_response_up(&self) -> Result<()> {
        self.want_response(false);
        if self.response.stage() == Stage::Held { self.release(Half::Response) } else { Ok(()) }
    }

    /// Lets the headers move on and keeps the body, or shows it chunk by chunk.
    pub(crate) fn open_body(&self, half: Half, stage: Stage) -> Result<()> {
        let state = self.half(half);
        if state.is_bodiless() || state.stage() != Stage::Held {
            return Ok(());
        }
        self.focus()?;
        // The body may get another length, and what follows a wrong one is the next request's problem.
        sys::remove_header_map_value(half.headers(), "content-length")?;
        state.set_stage(stage);
        // With `allow_on_headers_stop_iteration` the host already keeps body bytes behind the held headers;
        // continuing now would send them unseen.
        if state.body_seen.get() { Ok(()) } else { self.resume(half) }
    }

    /// Shows a body chunk by chunk that turned out too large to be kept: from its first byte, which is still here.
    pub(crate) fn stream_kept(&self, half: Half) {
        let state = self.half(half);
        if matches!(state.stage(), Stage::Collecting { .. }) {
            state.set_stage(Stage::Streaming);
        }
    }

    /// Answers in the place of the upstream, or resets where it is too late for an answer.
    pub(crate) fn reply(&self, reply: &Reply) {
        let too_late = !matches!(self.response.stage(), Stage::Ahead | Stage::Held);
        self.request.set_stage(Stage::Closed);
        if self.replied.replace(true) {
            // What comes by is the first answer, and there is no second one.
            self.response.set_stage(Stage::Released);
            return;
        }
        // An answer given in the request phase comes back through the response callbacks, and has to pass them.
        let replaced = self.inside.get() == Some(Half::Response);
        self.response.set_stage(if replaced { Stage::Closed } else { Stage::Released });
        if too_late {
            return self.reset();
        }
        match self.focus() {
            Ok(()) => reply.send_or_reset(),
            Err(error) => log::error!("exchange {} is lost: {error}", self.id),
        }
    }

    /// Cuts the exchange off.
    fn reset(&self) {
        if self.inside.get() == Some(Half::Response) && self.response.has_trailers() {
            // Envoy 1.40 crashes when a stream is closed in its response trailers callback.
            self.must_reset.set(true);
            return;
        }
        match self.focus() {
            Ok(()) => reply::reset(),
            Err(error) => log::error!("exchange {} is lost: {error}", self.id),
        }
    }

    /// Whether the plugin left a half without a decision.
    pub(crate) fn undecided(&self) -> bool {
        self.request.undecided() || self.response.undecided()
    }

    /// Whether the client waits for this exchange because of the plugin.
    fn is_stopped(&self) -> bool {
        (self.request.stopped.get() && self.request.undecided())
            || (self.response.stopped.get() && self.response.undecided())
    }

    fn resume(&self, half: Half) -> Result<()> {
        let state = self.half(half);
        if self.inside.get() == Some(half) || !state.stopped.get() {
            return Ok(());
        }
        self.focus()?;
        sys::continue_stream(half.stream()).or_else(|_| sys::continue_stream(half.stream()))?;
        state.stopped.set(false);
        Ok(())
    }

    // What the plugin waits for.

    /// Ready when the response headers are here.
    pub(crate) fn poll_response(&self, cx: &Context<'_>) -> Poll<Result<()>> {
        match self.response.stage() {
            Stage::Ahead => {
                self.response.wait(cx);
                Poll::Pending
            }
            Stage::Held => Poll::Ready(Ok(())),
            _ => Poll::Ready(Err(Error::app("the response has already passed"))),
        }
    }

    /// Ready when the host has shown a part of a body whose headers are held, or its end.
    pub(crate) fn poll_shown(&self, half: Half, cx: &Context<'_>) -> Poll<()> {
        let state = self.half(half);
        if state.body_seen.get() || state.ended.get() {
            return Poll::Ready(());
        }
        state.wait(cx);
        Poll::Pending
    }

    /// Ready when the whole body is in the window.
    pub(crate) fn poll_whole(&self, half: Half, limit: usize, cx: &Context<'_>) -> Poll<Result<()>> {
        let state = self.half(half);
        if state.window.get() > limit {
            Poll::Ready(Err(ErrorKind::BodyTooLarge { limit }.into()))
        } else if state.ended.get() {
            Poll::Ready(Ok(()))
        } else {
            state.wait(cx);
            Poll::Pending
        }
    }

    /// The next bytes of a body that is streamed; `None` is its end.
    ///
    /// `taken` counts the window's bytes that the plugin has seen and `out` is what takes their place.
    pub(crate) fn poll_chunk(
        &self,
        half: Half,
        taken: &mut usize,
        out: &mut Vec<u8>,
        cx: &Context<'_>,
    ) -> Poll<Result<Option<Vec<u8>>>> {
        let state = self.half(half);
        if state.window.get() > *taken {
            let chunk = match self.focus().and_then(|()| Ok(sys::buffer_bytes(half.body(), *taken, usize::MAX)?)) {
                Ok(chunk) => chunk,
                Err(error) => return Poll::Ready(Err(error)),
            };
            *taken = state.window.get();
            if !chunk.is_empty() {
                return Poll::Ready(Ok(Some(chunk)));
            }
        }
        if state.ended.get() {
            return Poll::Ready(Ok(None));
        }
        if let Err(error) = self.hand_on(half, taken, out).and_then(|()| self.resume(half)) {
            return Poll::Ready(Err(error));
        }
        state.wait(cx);
        Poll::Pending
    }

    /// Puts the finished bytes where the plugin's input was.
    pub(crate) fn hand_on(&self, half: Half, taken: &mut usize, out: &mut Vec<u8>) -> Result<()> {
        if *taken > 0 || !out.is_empty() {
            self.focus()?;
            sys::set_buffer_bytes(half.body(), 0, *taken, out)?;
            *taken = 0;
            out.clear();
        }
        self.half(half).window.set(0);
        Ok(())
    }
}

impl Stream for Exchange {
    fn response_arrived(&self, end: bool, reply: Option<&Reply>) -> Action {
        let wanted = self.response_wanted();
        self.headers_arrived(Half::Response, end, || match reply {
            Some(reply) => {
                self.reply(reply);
                runtime::cancel(self.id);
            }
            None if wanted => {}
            None => self.response.set_stage(Stage::Released),
        })
    }

    fn body_arrived(&self, half: Half, size: usize, end: bool) -> Action {
        let state = self.half(half);
        match state.stage() {
            Stage::Released | Stage::Ahead => return Action::Continue,
            Stage::Closed => return Action::Pause,
            Stage::Held => state.body_seen.set(true),
            Stage::Collecting { .. } | Stage::Streaming => {}
        }
        state.window.set(size);
        state.ended.set(end);
        self.inside.set(Some(half));
        state.wake();
        runtime::run();
        self.leave(half)
    }

    fn trailers_arrived(&self, half: Half) -> Action {
        let state = self.half(half);
        match state.stage() {
            Stage::Released | Stage::Ahead => return Action::Continue,
            Stage::Closed => return Action::Pause,
            Stage::Held | Stage::Collecting { .. } | Stage::Streaming => {}
        }
        state.trailers.set(true);
        state.ended.set(true);
        self.inside.set(Some(half));
        state.wake();
        runtime::run();
        let action = self.leave(half);
        if self.must_reset.take() {
            resets::soon(self.id, self.root);
        }
        action
    }

    fn deleted(&self) {
        runtime::cancel(self.id);
    }

    fn last_words(&self) {
        if self.is_stopped() {
            self.reply(&Reply::new(503).details("plugin_panic"));
        }
    }
}
