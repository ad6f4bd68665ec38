//! What happened to one exchange, or to one TCP connection, on its way through a chain, as plain data: kept only while somebody
//! asks for it.
//!
//! A [`Recorder`] belongs to the workers of a proxy. While it is switched on, every new exchange is recorded as it goes:
//! the messages as they came and left, with the beginnings of their bodies, and for each callback of each plugin what it changed,
//! asked for and decided, how long it took, which host calls it made and what it logged. What grants access is never kept
//! (`redactor`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::abi::{LogLevel, Status};
use crate::callback::Callback;

mod assigned;
mod body;
mod recorder;
mod redactor;
mod secrets;
mod tape;
#[cfg(test)]
mod tests;
mod text;

pub use body::{Body, Content, Point, Seen};
pub use recorder::Recorder;
pub use secrets::Secrets;
pub(crate) use tape::Tape;

/// One exchange, from its first header to its end, or one TCP connection; or as far as it has come.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// Counts the exchanges that were recorded, from 1.
    pub serial: u64,
    /// The state of the recorder when this last changed; see [`Recorder::changed_since`].
    pub version: u64,
    /// The listener that it came in through.
    pub listener: Arc<str>,
    /// When it began, since 1970.
    pub began: Duration,
    /// What happened, in order.
    pub entries: Vec<Entry>,
    /// Entries that were not kept, because there were too many.
    pub omitted: usize,
    /// The bodies, in the order of their way; of a TCP connection, its bytes.
    pub bodies: Vec<Seen>,
    /// How it ended; nothing while it goes on.
    pub end: Option<End>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// When, since the exchange began.
    pub at: Duration,
    /// What.
    pub what: What,
}

/// What can happen in an exchange.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A message has come to the chain, or left it.
    Message(Message),
    /// The trailers of a message have come to the chain, or left it.
    Trailers(Message),
    /// A TCP connection has come to the chain; always the first of its entries, and in no exchange.
    Opened(Opened),
    /// A TCP connection has reached the server behind the proxy.
    Connected,
    /// A piece of a body, or of what a TCP connection carries, has come to the chain, or left it.
    Data(Data),
    /// A plugin was called.
    Step(Step),
    /// What a plugin has asked a cluster for has been answered.
    Answer(Answer),
    /// The proxy itself answers the client, because of a route, an upstream or a plugin that fails.
    Reply(Reply),
}

/// A message at one end of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Which message, and where.
    pub leg: Leg,
    /// Its headers, pseudo headers included; or its trailers.
    pub headers: Vec<(String, String)>,
    /// Whether nothing follows them.
    pub end: bool,
}

/// A TCP connection of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The client's address.
    pub source: Option<SocketAddr>,
    /// The address that the client has connected to.
    pub destination: Option<SocketAddr>,
    /// What the client said in its TLS handshake, if there was one.
    pub tls: Option<Handshake>,
}

/// What is told of a client's TLS handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// Such as `TLSv1.3`.
    pub version: String,
    /// The name that the client asked for; empty for none.
    pub server_name: String,
    /// Who the client is, by its certificate: the URI names, else the subject.
    pub peer: String,
}

/// A piece of a body, or of what a TCP connection carries; how it begins is told of all pieces together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Data {
    /// Where.
    pub leg: Leg,
    /// Its length.
    pub bytes: usize,
    /// Whether nothing follows.
    pub end: bool,
}

/// Where a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leg {
    /// The request has come from the client.
    RequestIn,
    /// The request goes to the upstream.
    RequestOut,
    /// The response has come from the upstream.
    ResponseIn,
    /// The response goes to the client.
    ResponseOut,
}

/// One callback of one plugin, as far as it acted for this exchange.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// Its place in the chain, from 0.
    pub place: usize,
    /// What it was called for.
    pub callback: Callback,
    /// How long it took, host calls included.
    pub took: Duration,
    /// The host calls that it made, by name, in the order of their first use.
    pub calls: Vec<(&'static str, u32)>,
    /// What it did, in order.
    pub events: Vec<Event>,
    /// Events that were not kept, because there were too many.
    pub omitted: usize,
    /// What it answered.
    pub decision: Decision,
}

/// Something that a plugin did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A field of a header map has other values than before; several values are joined with a comma.
    HeaderSet {
        /// The map, such as `request headers`.
        map: &'static str,
        /// The field's name.
        name: String,
        /// Its values.
        value: String,
    },
    /// A field of a header map is gone.
    HeaderRemoved {
        /// The map.
        map: &'static str,
        /// The field's name.
        name: String,
    },
    /// A body was changed.
    Body {
        /// Whether it is the response's.
        response: bool,
        /// How many bytes the plugin had before it.
        before: usize,
        /// How many there are now.
        after: usize,
    },
    /// A cluster was asked.
    Asked {
        /// The cluster.
        cluster: String,
        /// What for, such as `GET auth.example.com/check`.
        request: String,
        /// The body of an HTTP request that has one.
        body: Option<Body>,
    },
    /// A cluster could not be asked.
    NotAsked {
        /// The cluster.
        cluster: String,
        /// What the plugin was told.
        status: Status,
    },
    /// A gRPC callout has sent something.
    Sent {
        /// The cluster.
        cluster: String,
        /// The length of the message; nothing where only the end was told. What is in it is not kept: it has no names by
        /// which secrets could be known.
        message: Option<usize>,
        /// Whether nothing follows.
        end: bool,
    },
    /// A gRPC callout was given up.
    GivenUp {
        /// The cluster.
        cluster: String,
    },
    /// A value was stored for others.
    Stored {
        /// Its path or name.
        path: String,
        /// Its length in bytes; it may be a secret.
        length: usize,
    },
    /// The plugin answers the client itself.
    Reply(Reply),
    /// The plugin lets a direction go on that it has held; the client's one is that of the request.
    Continued {
        /// Whether it is the response.
        response: bool,
    },
    /// The plugin cuts the exchange or the connection off.
    Closed,
    /// The plugin has logged a line.
    Log {
        /// How loud.
        level: LogLevel,
        /// The line.
        text: String,
    },
}

/// What a callback has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing that matters for the exchange.
    Nothing,
    /// What it was shown goes on.
    Continues,
    /// What it was shown is held.
    Waits,
    /// The plugin has crashed, for this reason.
    Traps(String),
}

/// What a cluster has answered to a plugin: once, or each message of a gRPC stream and its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The plugin that asked.
    pub plugin: Arc<str>,
    /// The cluster that was asked.
    pub cluster: String,
    /// What came of it, such as `200, 12 bytes`, or `a message, 12 bytes`.
    pub result: String,
    /// The body of an HTTP answer that has one.
    pub body: Option<Body>,
    /// How long it took.
    pub took: Duration,
}

/// An answer to the client that does not come from the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u32,
    /// Why, as `response.code_details` tells it.
    pub details: String,
    /// The bytes of its body.
    pub body: usize,
}

/// How an exchange ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// How long the exchange took.
    pub took: Duration,
    /// The status that the client got, if it got one.
    pub status: Option<u16>,
    /// Why the response is what it is, in Envoy's words; empty for an answer of the upstream. Of a TCP connection, who or what
    /// has ended it.
    pub details: String,
    /// The cluster that the route names.
    pub cluster: Option<String>,
    /// The server that was asked.
    pub upstream: Option<SocketAddr>,
    /// Bytes of the request's body, or of the client, that came and that went on.
    pub request_bytes: (u64, u64),
    /// Bytes of the response's body, or of the server, that came and that went on.
    pub response_bytes: (u64, u64),
}

impl Recording {
    /// The message at that place, if it has come there.
    #[must_use]
    pub fn message(&self, leg: Leg) -> Option<&Message> {
        self.entries.iter().find_map(|entry| match &entry.what {
            What::Message(message) if message.leg == leg => Some(message),
            _ => None,
        })
    }

    /// What is known of the client's connection, if this is one over TCP and no exchange.
    #[must_use]
    pub fn connection(&self) -> Option<&Opened> {
        match &self.entries.first()?.what {
            What::Opened(opened) => Some(opened),
            _ => None,
        }
    }

    /// The body at one end of the chain, if there is one.
    #[must_use]
    pub fn body(&self, leg: Leg) -> Option<&Body> {
        self.bodies.iter().find(|seen| seen.point == Point::End(leg)).map(|seen| &seen.body)
    }

    /// The plugins' callbacks, in order.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.entries.iter().filter_map(|entry| match &entry.what {
            What::Step(step) => Some(step),
            _ => None,
        })
    }

    /// All host calls.
    #[must_use]
    pub fn host_calls(&self) -> u64 {
        self.steps().map(Step::host_calls).sum()
    }
}

impl Message {
    /// The first value of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }
}

impl Step {
    /// How many host calls it made.
    #[must_use]
    pub fn host_calls(&self) -> u64 {
        self.calls.iter().map(|(_, count)| u64::from(*count)).sum()
    }
}

impl Leg {
    /// In words, such as `request in`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RequestIn => "request in",
            Self::RequestOut => "request out",
            Self::ResponseIn => "response in",
            Self::ResponseOut => "response out",
        }
    }

    /// In words, where it is about a TCP connection, such as `from the client`.
    #[must_use]
    pub const fn side(self) -> &'static str {
        match self {
            Self::RequestIn => "from the client",
            Self::RequestOut => "to the server",
            Self::ResponseIn => "from the server",
            Self::ResponseOut => "to the client",
        }
    }
}

impl Decision {
    pub(crate) const fn of(callback: Callback, answer: u32) -> Self {
        let goes_on = match callback {
            Callback::RequestHeaders { .. } | Callback::ResponseHeaders { .. } => matches!(answer, 0 | 2),
            Callback::RequestBody { .. }
            | Callback::RequestTrailers { .. }
            | Callback::ResponseBody { .. }
            | Callback::ResponseTrailers { .. }
            | Callback::NewConnection { .. }
            | Callback::DownstreamData { .. }
            | Callback::UpstreamData { .. } => answer == 0,
            _ => return Self::Nothing,
        };
        if goes_on { Self::Continues } else { Self::Waits }
    }
}
