//! Bodies as hyper sends them: how their parts look, and a request's on its way to a server.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use wasmplugin_host::headers::HeaderMap;
use wasmplugin_host::worker::Item;

use crate::headers;
use crate::lane::{Lane, Outgoing};

/// The message cannot be finished: hyper is to cut the connection or to reset the stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the exchange was cut")
    }
}

impl std::error::Error for Cut {}

/// A request's body.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// Known from the start: a callout's.
    Whole { body: Bytes, trailers: HeaderMap },
    /// As the worker lets it pass.
    Lane(Rc<Lane>),
    /// As a plugin sends it: a gRPC callout's.
    Outgoing(Rc<Outgoing>),
}

impl RequestBody {
    pub(crate) fn empty() -> Self {
        Self::Whole { body: Bytes::new(), trailers: HeaderMap::new() }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.get_mut() {
            Self::Whole { body, trailers } => {
                if !body.is_empty() {
                    return Poll::Ready(Some(Ok(Frame::data(std::mem::take(body)))));
                }
                let trailers = std::mem::take(trailers);
                Poll::Ready((!trailers.is_empty()).then(|| Ok(Frame::trailers(headers::trailers(&trailers)))))
            }
            Self::Lane(lane) => {
                if let Some(item) = lane.up.pop() {
                    lane.upload.wake();
                    return Poll::Ready(frame(item).map(Ok));
                }
                if lane.up.ended.get() {
                    return Poll::Ready(None);
                }
                if lane.over.get() || lane.upstream_gone.get() {
                    return Poll::Ready(Some(Err(Cut)));
                }
                lane.up.reader.sleep(cx)
            }
            Self::Outgoing(outgoing) => {
                if let Some(item) = outgoing.messages.pop() {
                    return Poll::Ready(frame(item).map(Ok));
                }
                if outgoing.messages.ended.get() {
                    return Poll::Ready(None);
                }
                if outgoing.gone.get() {
                    return Poll::Ready(Some(Err(Cut)));
                }
                outgoing.messages.reader.sleep(cx)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole { body, trailers } => body.is_empty() && trailers.is_empty(),
            Self::Lane(lane) => lane.up.ended.get(),
            Self::Outgoing(outgoing) => outgoing.messages.ended.get(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole { body, trailers } if trailers.is_empty() => SizeHint::with_exact(body.len() as u64),
            _ => SizeHint::default(),
        }
    }
}

/// A part of a body as hyper wants it; nothing for an end without bytes.
pub(crate) fn frame(item: Item) -> Option<Frame<Bytes>> {
    match item {
        Item::Data(data, end) => (!(end && data.is_empty())).then(|| Frame::data(data)),
        Item::Trailers(trailers) => Some(Frame::trailers(headers::trailers(&trailers))),
        // Headers come once, and not as a part of a body.
        Item::Headers(..) => None,
    }
}
