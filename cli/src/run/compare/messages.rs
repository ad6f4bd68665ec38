//! Messages of HTTP/2, whole: a request that has come, and a body that is to go.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::HeaderMap;
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{HeaderName, HeaderValue};
use wasmplugin_host::test::{Headers, Request};

/// A request, once all of it is there.
pub(crate) async fn received(request: hyper::Request<Incoming>) -> Result<Request, hyper::Error> {
    let (parts, body) = request.into_parts();
    let (authority, path) = (parts.uri.authority(), parts.uri.path_and_query());
    let mut headers = Headers::new();
    headers.add(":authority", authority.map(|authority| authority.as_str().to_owned()).unwrap_or_default());
    headers.add(":path", path.map(|path| path.as_str().to_owned()).unwrap_or_default());
    headers.add(":method", parts.method.as_str().to_owned());
    headers.add(":scheme", parts.uri.scheme_str().unwrap_or("http").to_owned());
    headers.extend(parts.headers.iter().map(shared));
    let body = body.collect().await?;
    let trailers = body.trailers().map(|trailers| trailers.iter().map(shared).collect()).unwrap_or_default();
    Ok(Request::new(headers, body.to_bytes(), trailers))
}

fn shared((name, value): (&HeaderName, &HeaderValue)) -> (HeaderName, Bytes) {
    (name.clone(), Bytes::copy_from_slice(value.as_bytes()))
}

/// A body that tells no length of its own accord, so that `content-length` is what the headers say.
#[derive(Debug)]
pub(crate) struct Frames(VecDeque<Frame<Bytes>>);

impl Frames {
    /// Pieces of data, each in a frame unless it is empty, and trailers if there are any.
    pub(crate) fn of(pieces: impl IntoIterator<Item = Bytes>, trailers: HeaderMap) -> Self {
        let mut frames: VecDeque<_> = pieces.into_iter().filter(|piece| !piece.is_empty()).map(Frame::data).collect();
        if !trailers.is_empty() {
            frames.push_back(Frame::trailers(trailers));
        }
        Self(frames)
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.get_mut().0.pop_front().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}
