//! The test as a client: one connection per exchange, no thread.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::codec::{Codec, Part, Stop};
use super::http1::Http1;
use super::stream::Stream;
use crate::test::{Failure, Headers, Response};

/// One request and its response, under way.
///
/// Sending and receiving do not wait for each other: the response of an exchange that nobody looks at stays in the
/// socket, so thousands can be open at once.
#[derive(Debug)]
pub(super) struct Conversation {
    stream: Stream,
    codec: Box<dyn Codec>,
    sent: bool,
    headers: Headers,
    chunks: Vec<Bytes>,
    outcome: Option<Outcome>,
}

#[derive(Debug)]
enum Outcome {
    Whole(Headers),
    Cut,
}

impl Conversation {
    /// Sends the head over a new connection.
    pub(super) fn open(stream: Stream, mut codec: Box<dyn Codec>, headers: &Headers, end: bool) -> Self {
        codec.head(headers, end);
        let mut conversation =
            Self { stream, codec, sent: end, headers: Headers::new(), chunks: Vec::new(), outcome: None };
        conversation.flush();
        conversation
    }

    /// Sends a piece of the body.
    pub(super) fn data(&mut self, data: &[u8], end: bool) {
        self.codec.data(data);
        if end {
            self.end(&Headers::new());
        }
        self.flush();
    }

    /// Ends the request, if that has not been done.
    pub(super) fn end(&mut self, trailers: &Headers) {
        if !self.sent {
            self.codec.end(trailers);
            self.flush();
        }
        self.sent = true;
    }

    /// Reads for at most that long; says whether the response is over.
    pub(super) fn poll(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.outcome.is_none() {
            if !self.take_parts() {
                break;
            }
            self.flush();
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            if self.stream.socket().set_read_timeout(Some(left)).is_err() {
                self.outcome = Some(Outcome::Cut);
                break;
            }
            let mut bytes = [0; 16 * 1024];
            match self.stream.read(&mut bytes) {
                Ok(length) => self.codec.feed(bytes.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if Instant::now() >= deadline {
                        break;
                    }
                }
                // Reset by the peer: what came before has been read already.
                Err(_) => self.codec.feed(&[]),
            }
        }
        self.outcome.is_some()
    }

    /// What came of it; to be asked when [`poll`](Self::poll) said that it is over.
    pub(super) fn finish(self, patience: Duration) -> Result<Response, Failure> {
        let arrived = !self.headers.is_empty();
        match self.outcome {
            None => Err(Failure::Hung(patience)),
            Some(Outcome::Whole(trailers)) => Ok(Response::new(self.headers, self.chunks, trailers)),
            Some(Outcome::Cut) => {
                Err(Failure::Reset(arrived.then(|| Box::new(Response::new(self.headers, self.chunks, Headers::new())))))
            }
        }
    }

    /// Goes away.
    pub(super) fn abort(self) {
        // A connection that is gone already is what was asked for.
        let _gone = self.stream.socket().shutdown(Shutdown::Both);
    }

    /// Takes what is complete; false once the response is over.
    fn take_parts(&mut self) -> bool {
        loop {
            match self.codec.next() {
                Ok(None) => return true,
                Ok(Some(Part::Head(headers))) => self.headers = headers,
                Ok(Some(Part::Data(data))) => self.chunks.push(data),
                Ok(Some(Part::End(trailers))) => {
                    self.outcome = Some(Outcome::Whole(trailers));
                    return false;
                }
                Err(Stop::Closed | Stop::Cut | Stop::Malformed(_)) => {
                    self.outcome = Some(Outcome::Cut);
                    return false;
                }
            }
        }
    }

    /// A proxy may answer and close before it has read everything, so a failed write is no failure of the exchange.
    fn flush(&mut self) {
        let bytes = self.codec.output();
        let _early_answer = self.stream.write_all(&bytes);
    }
}

/// A plain `GET` over a connection of its own, for the admin port.
pub(super) fn get(from: SocketAddr, path: &str, patience: Duration) -> Result<Response, Failure> {
    let authority = from.to_string();
    let headers: Headers =
        [(":method", "GET"), (":path", path), (":authority", authority.as_str()), ("connection", "close")]
            .into_iter()
            .map(|(name, value)| (name, value.to_owned()))
            .collect();
    let codec = Box::new(Http1::new(&headers));
    let stream = Stream::open(from, &[], None, patience).map_err(refused)?;
    let mut conversation = Conversation::open(stream, codec, &headers, true);
    conversation.poll(patience);
    conversation.finish(patience)
}

/// There is nobody to talk to.
pub(super) fn refused(error: std::io::Error) -> Failure {
    Failure::Refused(format!("no connection to Envoy: {error}"))
}
