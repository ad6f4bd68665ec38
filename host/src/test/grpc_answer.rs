//! What a test lets a gRPC cluster answer, failures included.

use std::time::Duration;

use bytes::Bytes;

use super::answer::{Answer, Ending};
use super::message::Headers;
use crate::grpc::framed;

/// The script of what a gRPC server says, once or next.
///
/// ```
/// use wasmplugin_host::test::GrpcAnswer;
///
/// let fine = GrpcAnswer::message("bytes of a message");
/// let refused = GrpcAnswer::status(7, "not you").trailer("x-reason", "quota");
/// let first_of_many = GrpcAnswer::more().and_message("first");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcAnswer {
    metadata: Headers,
    messages: Vec<Bytes>,
    trailers: Headers,
    /// Nothing: the stream goes on.
    status: Option<(u32, String)>,
    after: Duration,
    ending: Ending,
    /// In the place of all of it.
    http: Option<Box<Answer>>,
}

impl GrpcAnswer {
    /// One message and the status 0, which is all that a unary call needs.
    pub fn message(message: impl Into<Bytes>) -> Self {
        Self::status(0, "").and_message(message)
    }

    /// A status (0 to 16) with its message, and no answer.
    pub fn status(status: u32, message: &str) -> Self {
        Self { status: Some((status, message.to_owned())), ..Self::more() }
    }

    /// Nothing yet: the stream goes on.
    pub fn more() -> Self {
        Self {
            metadata: Headers::new(),
            messages: Vec::new(),
            trailers: Headers::new(),
            status: None,
            after: Duration::ZERO,
            ending: Ending::Complete,
            http: None,
        }
    }

    /// A server that takes the call and never answers.
    pub fn never() -> Self {
        Self { ending: Ending::Never, ..Self::more() }
    }

    /// A server that ends the call before it has said anything.
    pub fn reset() -> Self {
        Self { ending: Ending::Reset, ..Self::more() }
    }

    /// Ends the call after what was scripted so far, without a status.
    #[must_use]
    pub fn cut(mut self) -> Self {
        self.status = None;
        self.ending = Ending::ResetAfterHeaders;
        self
    }

    /// Adds a message.
    #[must_use]
    pub fn and_message(mut self, message: impl Into<Bytes>) -> Self {
        self.messages.push(message.into());
        self
    }

    /// Adds initial metadata; it counts in the first answer of a call.
    #[must_use]
    pub fn metadata(mut self, name: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Self {
        self.metadata.add(name, value);
        self
    }

    /// Adds trailing metadata; it counts beside a status.
    #[must_use]
    pub fn trailer(mut self, name: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Self {
        self.trailers.add(name, value);
        self
    }

    /// Lets the answer begin only so long after the question came.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.after = delay;
        self
    }

    /// How long the answer is held back.
    pub fn delay(&self) -> Duration {
        self.after
    }

    /// The parts that travel, in their order; `begun` says whether an earlier answer has sent the headers.
    pub(crate) fn parts(&self, begun: bool) -> Vec<GrpcPart> {
        if let Some(answer) = &self.http {
            return http_parts(answer);
        }
        match self.ending {
            Ending::Never => return Vec::new(),
            Ending::Reset | Ending::Unreachable => return vec![GrpcPart::Reset],
            Ending::Complete | Ending::ResetAfterHeaders | Ending::Malformed => {}
        }
        let mut parts = Vec::new();
        let trailers = self.status.as_ref().map(|(status, message)| {
            let mut trailers = Headers::new();
            trailers.add("grpc-status", status.to_string());
            if !message.is_empty() {
                trailers.add("grpc-message", message.clone());
            }
            self.trailers.iter().for_each(|(name, value)| trailers.add(name, value.clone()));
            trailers
        });
        if !begun && (trailers.is_some() || !self.messages.is_empty() || self.ending == Ending::ResetAfterHeaders) {
            let mut headers = Headers::new();
            headers.add(":status", "200");
            headers.add("content-type", "application/grpc");
            self.metadata.iter().for_each(|(name, value)| headers.add(name, value.clone()));
            parts.push(GrpcPart::Headers(headers, false));
        }
        parts.extend(self.messages.iter().map(|message| GrpcPart::Data(framed(message), false)));
        parts.extend(trailers.map(GrpcPart::Trailers));
        if self.ending == Ending::ResetAfterHeaders {
            parts.push(GrpcPart::Reset);
        }
        parts
    }

    /// The same for whoever asks in plain HTTP.
    pub(super) fn as_http(&self) -> Answer {
        let mut answer = Answer::new(200).header("content-type", "application/grpc").after(self.after);
        answer = answer.chunks(self.messages.iter().map(|message| framed(message)));
        for part in self.parts(true) {
            if let GrpcPart::Trailers(trailers) = part {
                answer = trailers.iter().fold(answer, |answer, (name, value)| answer.trailer(name, value.clone()));
            }
        }
        answer
    }

    /// What a server that knows no gRPC says.
    pub(super) fn from_http(answer: &Answer) -> Self {
        Self { after: answer.delay(), http: Some(Box::new(answer.clone())), ..Self::more() }
    }
}

/// A part of what a gRPC server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GrpcPart {
    /// The headers, and whether nothing follows.
    Headers(Headers, bool),
    /// Bytes, and whether nothing follows.
    Data(Bytes, bool),
    /// The end.
    Trailers(Headers),
    /// The end of the stream without one.
    Reset,
}

fn http_parts(answer: &Answer) -> Vec<GrpcPart> {
    let cut = match answer.how_it_ends() {
        Ending::Complete => false,
        Ending::ResetAfterHeaders => true,
        Ending::Never => return Vec::new(),
        Ending::Reset | Ending::Unreachable | Ending::Malformed => return vec![GrpcPart::Reset],
    };
    let pieces: Vec<Bytes> = answer.pieces().cloned().collect();
    let trailers = answer.scripted_trailers();
    let mut parts = vec![GrpcPart::Headers(answer.wire_headers(), pieces.is_empty() && trailers.is_empty() && !cut)];
    let last = pieces.len().saturating_sub(1);
    for (at, piece) in pieces.into_iter().enumerate() {
        parts.push(GrpcPart::Data(piece, at == last && trailers.is_empty() && !cut));
    }
    if cut {
        parts.push(GrpcPart::Reset);
    } else if !trailers.is_empty() {
        parts.push(GrpcPart::Trailers(trailers.clone()));
    }
    parts
}
