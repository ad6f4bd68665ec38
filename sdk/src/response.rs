//! The second half of an exchange in the hands of a handler.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_lite::future::poll_fn;

use crate::attributes::attribute_methods;
use crate::body::{
    Bounded, Chunks, Whole, chunk_methods, debug_as_size, deref_to_head, held_methods, replace_methods, whole_methods,
};
use crate::done::Done;
use crate::error::{Error, Result};
use crate::exchange::Exchange;
use crate::head::ResponseHead;
use crate::reply::Reply;
use crate::sse::{Event, Framer};
use crate::stream::Half;

/// A response whose headers, and everything behind them, wait for the plugin.
///
/// It reads and writes its headers as a [`ResponseHead`].
#[must_use = "a response waits until it is passed or answered otherwise"]
pub struct Response {
    exchange: Rc<Exchange>,
    head: ResponseHead,
}

/// The response of a request that is still streaming; made by
/// [`Request::into_duplex`](crate::Request::into_duplex).
///
/// As a future it is the response, as soon as its headers are here. Dropped before, it lets the response pass.
#[must_use = "a response is waited for by awaiting it"]
pub struct PendingResponse {
    /// Nothing once the response was handed out.
    exchange: Option<Rc<Exchange>>,
}

impl PendingResponse {
    pub(crate) fn new(exchange: Rc<Exchange>) -> Self {
        exchange.want_response(true);
        Self { exchange: Some(exchange) }
    }
}

impl Future for PendingResponse {
    type Output = Result<Response>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Response>> {
        let Some(exchange) = self.exchange.take() else {
            return Poll::Ready(Err(Error::app("the response was handed out already")));
        };
        match exchange.poll_response(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(Response { head: ResponseHead::new(exchange.id()), exchange })),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.exchange = Some(exchange);
                Poll::Pending
            }
        }
    }
}

impl Drop for PendingResponse {
    fn drop(&mut self) {
        let Some(exchange) = self.exchange.take() else { return };
        if let Err(error) = exchange.give_response_up() {
            log::error!("a response could not pass: {error}");
        }
    }
}

impl fmt::Debug for PendingResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingResponse").finish_non_exhaustive()
    }
}

impl Response {
    /// Lets the request of an exchange go and waits for its response.
    pub(crate) async fn of(exchange: Rc<Exchange>) -> Result<Self> {
        exchange.forward()?;
        poll_fn(|cx| exchange.poll_response(cx)).await?;
        Ok(Self { head: ResponseHead::new(exchange.id()), exchange })
    }

    /// Lets the response move on to the client.
    pub fn pass(self) -> Result<Done> {
        self.exchange.release(Half::Response)?;
        Ok(Done::new())
    }

    /// Answers in the place of the upstream's response.
    pub fn reply(self, reply: Reply) -> Result<Done> {
        self.exchange.reply(&reply);
        Ok(Done::new())
    }

    /// Lets the headers move on and waits for the whole body, which may then be read and replaced.
    ///
    /// `content-length` is taken out, since the body may change. A body larger than `limit` bytes is an error, and
    /// as the headers have gone then, an error that is not handled cuts the response off.
    pub async fn into_body(self, limit: usize) -> Result<ResponseBody> {
        ResponseBody::collect(self.exchange, limit).await
    }

    /// As [`into_body`](Self::into_body), but a body larger than `limit` bytes is no error: it is shown chunk by chunk.
    ///
    /// The limit has to be lower than the host's own buffer limit (`per_connection_buffer_limit_bytes` of listener
    /// and cluster, 1 MiB in Envoy by default), which ends the exchange first otherwise.
    pub async fn into_bounded_body(self, limit: usize) -> Result<Bounded<ResponseBody, ResponseChunks>> {
        Ok(match Whole::collect_or_stream(self.exchange, Half::Response, limit).await? {
            Bounded::Whole(whole) => Bounded::Whole(ResponseBody { whole }),
            Bounded::TooLarge(chunks) => Bounded::TooLarge(ResponseChunks { chunks }),
        })
    }

    /// Waits for the whole body while the headers wait too: both can be read and changed before anything has left.
    ///
    /// The proxy has to show bodies behind held headers, which Envoy does with `allow_on_headers_stop_iteration: true`
    /// in the plugin's `PluginConfig`; without it this is the error [`BodyHidden`](crate::error::ErrorKind::BodyHidden).
    /// That is known once a first body has come, or was received and not shown; until then, ten seconds without
    /// a sign of a body are the same error. A body larger than `limit` bytes is an error as in
    /// [`into_body`](Self::into_body), and here it is in time for an answer.
    pub async fn buffered(self, limit: usize) -> Result<BufferedResponse> {
        let Self { exchange, head } = self;
        Ok(BufferedResponse { whole: Whole::hold(exchange, Half::Response, limit).await?, head })
    }

    /// Lets the headers move on and shows the body chunk by chunk, without keeping it.
    pub fn into_chunks(self) -> Result<ResponseChunks> {
        ResponseChunks::open(self.exchange)
    }

    /// Lets the headers move on and shows a body of server-sent events one by one.
    ///
    /// An event of more than `limit` bytes is an error. What is no `text/event-stream` is cut at its empty lines.
    pub fn into_events(self, limit: usize) -> Result<ResponseEvents> {
        Ok(ResponseEvents { chunks: self.into_chunks()?, framer: Framer::new(limit) })
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").field("head", &self.head).finish_non_exhaustive()
    }
}

/// A response whose headers and whole body are here, and wait.
///
/// It reads and writes its headers as a [`ResponseHead`].
#[must_use = "a response waits until it is passed or answered otherwise"]
pub struct BufferedResponse {
    whole: Whole,
    head: ResponseHead,
}

impl BufferedResponse {
    whole_methods!();
    held_methods!();

    /// Lets the response move on to the client.
    pub fn pass(self) -> Result<Done> {
        self.whole.exchange.release(Half::Response)?;
        Ok(Done::new())
    }

    /// Answers in the place of the upstream's response.
    pub fn reply(self, reply: Reply) -> Result<Done> {
        self.whole.exchange.reply(&reply);
        Ok(Done::new())
    }
}

/// The whole body of a response; the response's headers are on their way, its body waits.
pub struct ResponseBody {
    whole: Whole,
}

impl ResponseBody {
    pub(crate) async fn collect(exchange: Rc<Exchange>, limit: usize) -> Result<Self> {
        Ok(Self { whole: Whole::collect(exchange, Half::Response, limit).await? })
    }

    whole_methods!();
    replace_methods!();

    attribute_methods!(ResponseBody, |body| body.whole.exchange.focus());

    /// Lets the response move on to the client.
    pub fn pass(self) -> Result<Done> {
        self.whole.exchange.release(Half::Response)?;
        Ok(Done::new())
    }
}

/// The body of a response, chunk by chunk.
pub struct ResponseChunks {
    chunks: Chunks,
}

impl ResponseChunks {
    pub(crate) fn open(exchange: Rc<Exchange>) -> Result<Self> {
        Ok(Self { chunks: Chunks::open(exchange, Half::Response)? })
    }

    chunk_methods!();

    attribute_methods!(ResponseBody, |body| body.chunks.exchange.focus());

    /// Sends what is left to send; the rest of the response passes by.
    pub fn pass(self) -> Result<Done> {
        self.chunks.finish()?.release(Half::Response)?;
        Ok(Done::new())
    }
}

/// The events of a response; made by [`Response::into_events`].
pub struct ResponseEvents {
    chunks: ResponseChunks,
    framer: Framer,
}

impl ResponseEvents {
    /// The next event; `None` at the end.
    ///
    /// What is not [sent](Self::send) is left out. An event that is longer than the limit is an error;
    /// [`pass`](Self::pass) still lets it through, unseen.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            while let Some(event) = self.framer.next_event()? {
                if !event.is_blank() {
                    return Ok(Some(event));
                }
                self.send(event);
            }
            match self.chunks.next().await? {
                Some(chunk) => self.framer.push(&chunk),
                None => return Ok(self.framer.finish()),
            }
        }
    }

    /// Sends an event on: one that was read, changed or not, or one of the plugin's own.
    ///
    /// It leaves when the plugin asks for an event that is not here yet; until then the host keeps what arrives.
    pub fn send(&mut self, event: impl AsRef<[u8]>) {
        self.chunks.send(event);
    }

    /// Lets the rest of the response pass, what was begun but not read included.
    pub fn pass(mut self) -> Result<Done> {
        if let Some(rest) = self.framer.finish() {
            self.chunks.send(rest);
        }
        self.chunks.pass()
    }
}

impl fmt::Debug for ResponseEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseEvents").field("framer", &self.framer).finish_non_exhaustive()
    }
}

deref_to_head! {
    Response: ResponseHead;
    BufferedResponse: ResponseHead;
}

debug_as_size! {
    BufferedResponse: |body| body.whole.bytes.len();
    ResponseBody: |body| body.whole.bytes.len();
    ResponseChunks: |body| body.chunks.taken;
}
