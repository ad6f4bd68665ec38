//! A request in the making, on its way through a proxy.

use bytes::Bytes;

use super::failure::Failure;
use super::message::{Headers, Response};
use super::proxy::{Exchange, Proxy};

/// A request that is sent by [`send`](Self::send) or [`open`](Self::open).
#[derive(Debug)]
#[must_use = "a request goes out only with `send` or `open`"]
pub struct RequestBuilder<'proxy> {
    proxy: &'proxy mut Proxy,
    headers: Headers,
    body: Body,
    trailers: Headers,
}

#[derive(Debug)]
enum Body {
    None,
    Whole(Bytes),
    Chunks(Vec<Bytes>),
}

impl<'proxy> RequestBuilder<'proxy> {
    pub(super) fn new(proxy: &'proxy mut Proxy, method: &str, path: &str) -> Self {
        let mut headers = Headers::new();
        headers.add(":method", method.to_owned());
        headers.add(":path", path.to_owned());
        headers.add(":authority", "example.test");
        headers.add(":scheme", "http");
        Self { proxy, headers, body: Body::None, trailers: Headers::new() }
    }

    /// Adds a header; a pseudo header such as `:authority`, or `host`, is set instead.
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Self {
        let name = name.as_ref();
        if name.eq_ignore_ascii_case(b"host") {
            self.headers.set(":authority", value);
        } else if name.first() == Some(&b':') {
            self.headers.set(name, value);
        } else {
            self.headers.add(name, value);
        }
        self
    }

    /// The whole body in one piece, with a `content-length`.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Body::Whole(body.into());
        self
    }

    /// The body in these pieces, without a `content-length`.
    pub fn chunks<C: Into<Bytes>>(mut self, chunks: impl IntoIterator<Item = C>) -> Self {
        self.body = Body::Chunks(chunks.into_iter().map(Into::into).collect());
        self
    }

    /// Adds a trailer.
    pub fn trailer(mut self, name: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Self {
        self.trailers.add(name, value);
        self
    }

    /// Sends the request and waits for its response.
    pub fn send(mut self) -> Result<Response, Failure> {
        if matches!(self.body, Body::None) && self.may_have_body() && self.trailers.is_empty() {
            self.body = Body::Whole(Bytes::new());
        }
        let (proxy, exchange) = self.dispatch()?;
        proxy.finish(exchange)
    }

    /// Sends what is there and waits for nothing.
    ///
    /// A `GET` or `HEAD`, and a request whose body was given, go out whole. Any other stays open for
    /// [`Proxy::send_data`] until that says `end`.
    pub fn open(self) -> Result<Exchange, Failure> {
        self.dispatch().map(|(_, exchange)| exchange)
    }

    fn may_have_body(&self) -> bool {
        !matches!(self.headers.get(":method"), Some("GET" | "HEAD"))
    }

    fn dispatch(self) -> Result<(&'proxy mut Proxy, Exchange), Failure> {
        let has_trailers = !self.trailers.is_empty();
        let stays_open = matches!(self.body, Body::None) && self.may_have_body() && !has_trailers;
        let (chunks, length) = match self.body {
            Body::None => (Vec::new(), None),
            Body::Whole(body) => (vec![body.clone()], Some(body.len())),
            Body::Chunks(chunks) => (chunks, None),
        };
        let pieces: Vec<_> = chunks.into_iter().filter(|piece| !piece.is_empty()).collect();
        let whole = pieces.is_empty() && !has_trailers && !stays_open;

        let mut headers = self.headers;
        let framed = headers.contains("content-length") || headers.contains("transfer-encoding");
        match length {
            _ if framed => {}
            Some(length) if !has_trailers => headers.add("content-length", length.to_string()),
            _ if whole || self.proxy.speaks_http2() => {}
            _ => headers.add("transfer-encoding", "chunked"),
        }

        let exchange = self.proxy.open(headers, whole)?;
        let last = pieces.len();
        for (index, piece) in pieces.into_iter().enumerate() {
            let end = index + 1 == last && !has_trailers;
            self.proxy.send_data(&exchange, piece, end)?;
        }
        if has_trailers {
            self.proxy.send_trailers(&exchange, self.trailers)?;
        }
        Ok((self.proxy, exchange))
    }
}
