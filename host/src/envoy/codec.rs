//! The seam between the test's client and the protocols that it speaks.

use std::fmt;

use bytes::Bytes;

use crate::test::Headers;

/// The client's side of a protocol, without a socket.
pub(super) trait Codec: fmt::Debug {
    /// Begins the request; with `end`, that is all of it.
    fn head(&mut self, headers: &Headers, end: bool);
    /// A piece of the request's body.
    fn data(&mut self, data: &[u8]);
    /// Ends the request.
    fn end(&mut self, trailers: &Headers);
    /// The bytes to send now.
    fn output(&mut self) -> Vec<u8>;
    /// Bytes arrived; none means that the other side closed.
    fn feed(&mut self, bytes: &[u8]);
    /// The next part of the response; nothing until more is fed.
    fn next(&mut self) -> Result<Option<Part>, Stop>;
}

/// A part of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Pseudo headers first, then the fields.
    Head(Headers),
    /// A piece of the body, never empty.
    Data(Bytes),
    /// The end of the message.
    End(Headers),
}

/// Why no further part will come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Closed between two messages.
    Closed,
    /// Closed inside a message.
    Cut,
    /// Not HTTP.
    Malformed(String),
}
