//! What a test lets the upstream or a callout cluster answer, failures included.

use std::time::Duration;

use bytes::Bytes;

use super::message::Headers;

/// The script of one answer.
///
/// ```
/// use std::time::Duration;
/// use wasmplugin_host::test::Answer;
///
/// let plain = Answer::new(200).header("content-type", "text/plain").body("hello");
/// let late = Answer::new(403).after(Duration::from_millis(20));
/// let half = Answer::new(200).body("half of it").cut();
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    headers: Headers,
    chunks: Vec<Bytes>,
    trailers: Headers,
    after: Duration,
    ending: Ending,
}

/// How an answer ends, or does not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// As it should.
    Complete,
    /// Nobody listens: the connection cannot be made.
    Unreachable,
    /// The connection is closed before any header.
    Reset,
    /// The connection is closed after the headers and the given part of the body.
    ResetAfterHeaders,
    /// Nothing ever comes; the connection stays open.
    Never,
    /// Bytes come that are not HTTP.
    Malformed,
}

impl Answer {
    /// An answer of that status, without headers and body.
    pub fn new(status: u16) -> Self {
        let mut headers = Headers::new();
        headers.add(":status", status.to_string());
        Self { headers, chunks: Vec::new(), trailers: Headers::new(), after: Duration::ZERO, ending: Ending::Complete }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Self {
        self.headers.add(name, value);
        self
    }

    /// The whole body in one piece; the answer then carries a `content-length`.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.chunks = vec![body.into()];
        self
    }

    /// The body in these pieces, sent one by one without a `content-length`.
    #[must_use]
    pub fn chunks<C: Into<Bytes>>(mut self, chunks: impl IntoIterator<Item = C>) -> Self {
        self.headers.remove("content-length");
        self.headers.set("transfer-encoding", "chunked");
        self.chunks = chunks.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a trailer; the body is then sent in chunks.
    #[must_use]
    pub fn trailer(mut self, name: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Self {
        self.headers.remove("content-length");
        self.headers.set("transfer-encoding", "chunked");
        self.trailers.add(name, value);
        self
    }

    /// Lets the answer begin only so long after the request came.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.after = delay;
        self
    }

    /// A cluster at which nobody listens.
    ///
    /// The proxy sees a failure before any header. In a real Envoy, where a script is asked only once a connection
    /// exists, this is the same as [`Answer::reset`]; a cluster that really refuses connections is made by
    /// [`Builder::unreachable_cluster`](super::Builder::unreachable_cluster).
    pub fn unreachable() -> Self {
        Self::new(503).ending(Ending::Unreachable)
    }

    /// A server that closes the connection before it sent a header.
    pub fn reset() -> Self {
        Self::new(503).ending(Ending::Reset)
    }

    /// A server that sends its headers and part of a body, then closes the connection.
    ///
    /// As a method, `Answer::new(200).body("part").cut()` says what comes before the end.
    pub fn reset_after_headers() -> Self {
        Self::new(200).cut()
    }

    /// Closes the connection after what was scripted so far, in place of a proper end.
    #[must_use]
    pub fn cut(self) -> Self {
        let part = if self.chunks.is_empty() { vec![Bytes::from_static(b"part")] } else { self.chunks.clone() };
        self.chunks(part).ending(Ending::ResetAfterHeaders)
    }

    /// A server that takes the request and never answers.
    pub fn never() -> Self {
        Self::new(200).ending(Ending::Never)
    }

    /// A server that answers with bytes that are not HTTP.
    pub fn malformed() -> Self {
        Self::new(200).ending(Ending::Malformed)
    }

    /// The headers as they go out: `:status`, what was scripted, and the framing (`content-length` or
    /// `transfer-encoding`).
    pub fn wire_headers(&self) -> Headers {
        let mut headers = self.headers.clone();
        let framed = headers.contains("content-length") || headers.contains("transfer-encoding");
        let bodiless = matches!(self.headers.get(":status"), Some("204" | "304"));
        if !framed && !bodiless {
            let length: usize = self.chunks.iter().map(Bytes::len).sum();
            headers.add("content-length", length.to_string());
        }
        headers
    }

    /// The pieces of the body; empty pieces are left out, as they cannot be sent.
    pub fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        self.chunks.iter().filter(|chunk| !chunk.is_empty())
    }

    /// The trailers that were scripted.
    pub fn scripted_trailers(&self) -> &Headers {
        &self.trailers
    }

    /// How long the answer is held back.
    pub fn delay(&self) -> Duration {
        self.after
    }

    /// How it ends.
    pub fn how_it_ends(&self) -> Ending {
        self.ending
    }

    fn ending(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_a_length() {
        let answer = Answer::new(200).header("X-A", "1").body("abc");
        let expected: Headers = [(":status", "200"), ("x-a", "1"), ("content-length", "3")].into_iter().collect();
        assert_eq!(answer.wire_headers(), expected);
        assert_eq!(Answer::new(200).wire_headers().get("content-length"), Some("0"));
        assert_eq!(Answer::new(204).wire_headers().get("content-length"), None);
    }

    #[test]
    fn chunks_and_trailers_have_none() {
        for answer in [Answer::new(200).chunks(["a", "", "b"]), Answer::new(200).body("ab").trailer("t", "1")] {
            let headers = answer.wire_headers();
            assert_eq!(headers.get("content-length"), None);
            assert_eq!(headers.get("transfer-encoding"), Some("chunked"));
        }
        assert_eq!(Answer::new(200).chunks(["a", "", "b"]).pieces().count(), 2);
    }

    #[test]
    fn a_cut_answer_has_sent_something() {
        let answer = Answer::reset_after_headers();
        assert_eq!(answer.how_it_ends(), Ending::ResetAfterHeaders);
        assert_eq!(answer.pieces().count(), 1);
        assert_eq!(Answer::new(201).body("x").cut().wire_headers().get(":status"), Some("201"));
    }
}
