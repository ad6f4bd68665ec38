//! An exchange in the hands of a handler: each state is a type, and each decision consumes it.
//!
//! ```text
//! Request ── pass ─────────────────────────────► Done        the response passes by
//!    │ ├──── reply ────────────────────────────► Done        the upstream never sees the request
//!    │ ├──── into_body ──► RequestBody ─┐
//!    │ └──── into_chunks ► RequestChunks┤ pass · forward · reply
//!    └──── forward ──► Response ◄───────┘
//!                         ├── pass · reply ─────► Done
//!                         ├── into_body ──► ResponseBody ── pass ──► Done
//!                         └── into_chunks ► ResponseChunks ─ pass ──► Done
//! ```

use std::fmt;
use std::rc::Rc;

use crate::attributes::attribute_methods;
use crate::body::{
    Bounded, Chunks, Whole, chunk_methods, debug_as_size, deref_to_head, held_methods, replace_methods, whole_methods,
};
use crate::done::Done;
use crate::error::Result;
use crate::exchange::Exchange;
use crate::head::RequestHead;
use crate::reply::Reply;
use crate::response::{PendingResponse, Response};
use crate::stream::Half;

/// A request whose headers, and everything behind them, wait for the plugin.
///
/// It reads and writes its headers as a [`RequestHead`]. A request that is dropped without a decision is answered
/// as an error.
#[must_use = "a request waits until it is passed, forwarded or answered"]
pub struct Request {
    exchange: Rc<Exchange>,
    head: RequestHead,
}

impl Request {
    pub(crate) fn new(exchange: Rc<Exchange>, head: RequestHead) -> Self {
        Self { exchange, head }
    }

    /// Lets the request move on, and the response pass by.
    pub fn pass(self) -> Result<Done> {
        self.exchange.release(Half::Request)?;
        Ok(Done::new())
    }

    /// Lets the request move on and waits for the response's head; what the handler knows, it keeps.
    pub async fn forward(self) -> Result<Response> {
        Response::of(self.exchange).await
    }

    /// Answers in the place of the upstream.
    pub fn reply(self, reply: Reply) -> Result<Done> {
        self.exchange.reply(&reply);
        Ok(Done::new())
    }

    /// Lets the headers move on and waits for the whole body, which may then be read and replaced.
    ///
    /// `content-length` is taken out, since the body may change. A body larger than `limit` bytes is an error;
    /// the host's own buffer limit (1 MiB in Envoy by default) ends the exchange with 413 before that if it is lower.
    pub async fn into_body(self, limit: usize) -> Result<RequestBody> {
        RequestBody::collect(self.exchange, limit).await
    }

    /// As [`into_body`](Self::into_body), but a body larger than `limit` bytes is no error: it is shown chunk by chunk.
    ///
    /// The limit has to be lower than the host's own buffer limit (`per_connection_buffer_limit_bytes` of listener
    /// and cluster, 1 MiB in Envoy by default), which ends the exchange first otherwise.
    pub async fn into_bounded_body(self, limit: usize) -> Result<Bounded<RequestBody, RequestChunks>> {
        Ok(match Whole::collect_or_stream(self.exchange, Half::Request, limit).await? {
            Bounded::Whole(whole) => Bounded::Whole(RequestBody { whole }),
            Bounded::TooLarge(chunks) => Bounded::TooLarge(RequestChunks { chunks }),
        })
    }

    /// Lets the headers move on and works on both directions at once, for streams in which the upstream may answer
    /// before the request has ended, as gRPC's do.
    ///
    /// The two are awaited together with [`try_join`](crate::future::try_join), so that an error of one is not left
    /// waiting for the other; each needs its decision. A response that is not awaited any more passes.
    pub fn into_duplex(self) -> Result<(RequestChunks, PendingResponse)> {
        let response = PendingResponse::new(Rc::clone(&self.exchange));
        Ok((RequestChunks::open(self.exchange)?, response))
    }

    /// Waits for the whole body while the headers wait too: both can be read and changed before anything has left.
    ///
    /// The proxy has to show bodies behind held headers, which Envoy does with `allow_on_headers_stop_iteration: true`
    /// in the plugin's `PluginConfig`; without it this is the error [`BodyHidden`](crate::error::ErrorKind::BodyHidden).
    /// That is known once a first body has come, or was received and not shown; until then, ten seconds without
    /// a sign of a body are the same error. A body larger than `limit` bytes is an error as in
    /// [`into_body`](Self::into_body), and here it is in time for an answer.
    pub async fn buffered(self, limit: usize) -> Result<BufferedRequest> {
        let Self { exchange, head } = self;
        Ok(BufferedRequest { whole: Whole::hold(exchange, Half::Request, limit).await?, head })
    }

    /// Lets the headers move on and shows the body chunk by chunk, without keeping it.
    pub fn into_chunks(self) -> Result<RequestChunks> {
        RequestChunks::open(self.exchange)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("head", &self.head).finish_non_exhaustive()
    }
}

/// A request whose headers and whole body are here, and wait.
///
/// It reads and writes its headers as a [`RequestHead`].
#[must_use = "a request waits until it is passed, forwarded or answered"]
pub struct BufferedRequest {
    whole: Whole,
    head: RequestHead,
}

impl BufferedRequest {
    whole_methods!();
    held_methods!();

    /// Lets the request move on, and the response pass by.
    pub fn pass(self) -> Result<Done> {
        self.whole.exchange.release(Half::Request)?;
        Ok(Done::new())
    }

    /// Lets the request move on and waits for the response's head.
    pub async fn forward(self) -> Result<Response> {
        Response::of(self.whole.exchange).await
    }

    /// Answers in the place of the upstream, which has seen nothing of the request.
    pub fn reply(self, reply: Reply) -> Result<Done> {
        self.whole.exchange.reply(&reply);
        Ok(Done::new())
    }
}

/// The whole body of a request; the request's headers are on their way, its body waits.
pub struct RequestBody {
    whole: Whole,
}

impl RequestBody {
    pub(crate) async fn collect(exchange: Rc<Exchange>, limit: usize) -> Result<Self> {
        Ok(Self { whole: Whole::collect(exchange, Half::Request, limit).await? })
    }

    whole_methods!();
    replace_methods!();

    attribute_methods!(RequestBody, |body| body.whole.exchange.focus());

    /// Lets the request move on, and the response pass by.
    pub fn pass(self) -> Result<Done> {
        self.whole.exchange.release(Half::Request)?;
        Ok(Done::new())
    }

    /// Lets the request move on and waits for the response's head.
    pub async fn forward(self) -> Result<Response> {
        Response::of(self.whole.exchange).await
    }

    /// Answers in the place of the upstream.
    pub fn reply(self, reply: Reply) -> Result<Done> {
        self.whole.exchange.reply(&reply);
        Ok(Done::new())
    }
}

/// The body of a request, chunk by chunk.
pub struct RequestChunks {
    chunks: Chunks,
}

impl RequestChunks {
    pub(crate) fn open(exchange: Rc<Exchange>) -> Result<Self> {
        Ok(Self { chunks: Chunks::open(exchange, Half::Request)? })
    }

    chunk_methods!();

    attribute_methods!(RequestBody, |body| body.chunks.exchange.focus());

    /// Sends what is left to send; the rest of the request, and the response, pass by.
    pub fn pass(self) -> Result<Done> {
        self.chunks.finish()?.release(Half::Request)?;
        Ok(Done::new())
    }

    /// Sends what is left to send and waits for the response's head.
    ///
    /// An upstream may answer before the request has ended, as gRPC streams do; such a response passes, and
    /// this is an error then, unless the request was opened with [`into_duplex`](Request::into_duplex).
    pub async fn forward(self) -> Result<Response> {
        Response::of(self.chunks.finish()?).await
    }

    /// Answers in the place of the upstream, which has seen the beginning of the request already.
    pub fn reply(self, reply: Reply) -> Result<Done> {
        self.chunks.exchange.reply(&reply);
        Ok(Done::new())
    }
}

deref_to_head! {
    Request: RequestHead;
    BufferedRequest: RequestHead;
}

debug_as_size! {
    BufferedRequest: |body| body.whole.bytes.len();
    RequestBody: |body| body.whole.bytes.len();
    RequestChunks: |body| body.chunks.taken;
}
