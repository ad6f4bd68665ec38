//! What an engine must be able to do for the facade.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::failure::Failure;
use super::message::{Headers, Response};
use super::tcp::{TcpRead, TcpWait};
use super::{Finding, LogLevel, TraceLine};
use crate::callback::Callback;

/// A started proxy with its plugins, its upstream and its clusters.
///
/// An engine is started from a [`Setup`](super::Setup) and then driven through this trait. Exchanges are numbered
/// by the facade, from 1 upwards and never twice. The engine asks the clusters of the setup for answers
/// ([`Cluster::arrived`](super::Cluster::arrived)); that also records what the servers saw.
pub trait Driver {
    /// Where clients connect; none where there are no sockets.
    fn address(&self) -> Option<SocketAddr> {
        None
    }

    /// Begins an exchange with the headers as the client puts them on the wire: `:method`, `:path`, `:authority`,
    /// `:scheme`, then the client's own, framing (`content-length`, or `transfer-encoding: chunked` in HTTP/1.1)
    /// included. What a proxy adds (`x-forwarded-proto`, `x-request-id`) is the engine's part.
    fn open(&mut self, number: u64, headers: Headers, end: bool) -> Result<(), Failure>;

    /// Sends a piece of the request's body; an empty last piece only ends it.
    fn data(&mut self, number: u64, data: Bytes, end: bool) -> Result<(), Failure>;

    /// Sends the request's trailers, which end it.
    fn trailers(&mut self, number: u64, trailers: Headers) -> Result<(), Failure>;

    /// Lets the client go away.
    fn abort(&mut self, number: u64);

    /// Waits for the end of the response, delivering everything else that is due meanwhile.
    fn finish(&mut self, number: u64) -> Result<Response, Failure>;

    /// Whether the response has not ended, after everything that is due now was delivered; moves no clock.
    fn waiting(&mut self, number: u64) -> bool;

    /// Begins a TCP connection that comes from that address; needs a setup with a TCP upstream.
    fn connect(&mut self, number: u64, source: SocketAddr) -> Result<(), Failure> {
        let _ = (number, source);
        Err(Failure::Refused("this engine has no TCP connections".to_owned()))
    }

    /// Sends bytes of a TCP client; with `end`, the last ones. After the connection's end they go nowhere.
    fn tcp_send(&mut self, number: u64, data: Bytes, end: bool) -> Result<(), Failure> {
        let _ = (data, end);
        self.tcp_read(number, TcpWait::Now).map(drop)
    }

    /// Cuts a TCP connection from the client's side, and forgets it.
    fn tcp_reset(&mut self, number: u64) {
        let _ = number;
    }

    /// Waits, and hands over what a TCP client got since the last time.
    fn tcp_read(&mut self, number: u64, until: TcpWait) -> Result<TcpRead, Failure> {
        let _ = (number, until);
        Err(Failure::Refused("this engine has no TCP connections".to_owned()))
    }

    /// Gives the plugin at that place, from 0 upwards, another configuration; exchanges under way keep the one they have.
    fn reconfigure(&mut self, place: usize, configuration: Bytes) -> Result<(), Failure> {
        let _ = (place, configuration);
        Err(Failure::Refused("this engine configures plugins only when it starts".to_owned()))
    }

    /// Calls every plugin, by its root context, with what nothing has led to, as a proxy with a defect might.
    fn stray(&mut self, callback: &dyn Fn(u32) -> Callback) -> Result<(), Failure> {
        let _ = callback;
        Err(Failure::Refused("this engine makes no mistakes on purpose".to_owned()))
    }

    /// Lets time pass, and everything happen that is due in it.
    fn advance(&mut self, time: Duration);

    /// What the plugins logged so far.
    fn logs(&mut self) -> Vec<LogLine>;

    /// The value of a counter or gauge, over all workers; nothing if no plugin defined it.
    fn metric(&mut self, name: &str) -> Option<u64>;

    /// The samples of a histogram, over all workers; nothing if there is none.
    fn histogram(&mut self, name: &str) -> Option<Samples>;

    /// The plugins' metrics, and maybe others, as Prometheus reads them.
    fn prometheus(&mut self) -> String;

    /// The calls between proxy and plugins so far, if the setup asked for a trace.
    fn trace(&mut self) -> Vec<TraceLine>;

    /// The mistakes of the plugins that the engine noticed; a real Envoy notices none.
    fn findings(&mut self) -> Vec<Finding> {
        Vec::new()
    }

    /// What is still open, as far as the engine can look inside.
    fn leaks(&mut self) -> Leaks {
        Leaks::default()
    }
}

/// What is known of a histogram's samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Samples {
    /// How many there are.
    pub count: u64,
    /// Their sum; Envoy keeps samples in buckets and tells a sum that may be 5 % off.
    pub sum: f64,
}

/// One line that a plugin logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How loud it is.
    pub level: LogLevel,
    /// What it says, without the prefix that a proxy puts before it.
    pub text: String,
}

/// What is still open in a proxy at rest; all zero is as it should be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leaks {
    /// Contexts of exchanges that are over, or never ended.
    pub contexts: usize,
    /// Callouts that nobody answered or cancelled.
    pub callouts: usize,
    /// Exchanges that have not ended.
    pub exchanges: usize,
}

impl Leaks {
    /// Whether nothing is open.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Leaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { contexts, callouts, exchanges } = self;
        write!(f, "{exchanges} exchanges, {contexts} contexts and {callouts} callouts are still open")
    }
}
