//! One TCP connection with the connection behind it, as the filters of a chain and the host calls see it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::connection::Connection;
use crate::entrance::Entrance;
use crate::filter::Buffer;
use crate::filter_state::FilterState;
use crate::recording::Tape;
use crate::surroundings::{Cluster, UpstreamHost};

/// The name of a TCP connection in its worker; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TcpId(pub(crate) u64);

/// What the owner of the sockets has to do for a TCP connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TcpEffect {
    /// Connect to the upstream, and say so with [`Worker::tcp_connected`](crate::worker::Worker::tcp_connected).
    Connect,
    /// Send bytes to the upstream; with the flag, they are the last ones and its reading side is closed behind them.
    ToUpstream(Bytes, bool),
    /// Send bytes to the client; with the flag, they are the last ones and its reading side is closed behind them.
    ToDownstream(Bytes, bool),
    /// Close both connections once the client has what was sent before. The connection is over for the worker.
    Close,
}

/// Who has closed a connection, in the numbers of the ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Unknown = 0,
    Local = 1,
    Remote = 2,
}

/// A TCP connection under way.
#[derive(Debug)]
pub(crate) struct Tcp {
    pub(crate) connection: Connection,
    /// Where it came in.
    pub(crate) entrance: Arc<Entrance>,
    pub(crate) filters: Vec<TcpFilter>,
    /// What plugins have stored for each other.
    pub(crate) filter_state: FilterState,
    /// Where it goes, once that is known.
    pub(crate) cluster: Option<Arc<Cluster>>,
    pub(crate) host: Option<Arc<UpstreamHost>>,
    /// Bytes that were read from the client and written to it; what filters take out on the one way and add on the other
    /// counts as well, as in Envoy.
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// From the client to the upstream.
    pub(crate) downstream: Line,
    /// From the upstream to the client.
    pub(crate) upstream: Line,
    pub(crate) stage: Stage,
    /// The client is gone, which nobody looks at before the upstream is connected.
    pub(crate) gone: bool,
    /// Its last callbacks run.
    pub(crate) ending: bool,
    /// When it began, on the clock.
    pub(crate) started: Duration,
    /// What is recorded of it, if that is wanted.
    pub(crate) tape: Option<Box<Tape>>,
}

/// Where the connection to the upstream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// A filter holds the new connection.
    Ahead,
    Connecting,
    Connected,
}

/// One direction: all filters look at the same bytes, until the last of them lets them go.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) window: Buffer,
    /// The last byte is in the window, or was.
    pub(crate) end: bool,
    /// The last byte has left.
    pub(crate) ended: bool,
    /// What is not read yet: there is no upstream to send it to, or the window is full.
    pub(crate) unread: Buffer,
    pub(crate) unread_end: bool,
}

/// One plugin's part in a connection.
#[derive(Debug)]
pub(crate) struct TcpFilter {
    /// The plugin's root context.
    pub(crate) root: usize,
    /// The context's id; 0 before the guest knows of it.
    pub(crate) context: u32,
    /// The guest that knows the context.
    pub(crate) generation: u32,
    /// It knows of the new connection.
    pub(crate) met: bool,
    /// The plugin has failed and is passed by.
    pub(crate) bypassed: bool,
    /// The guest can reach the client's bytes.
    pub(crate) downstream_open: bool,
    /// The guest can reach the upstream's bytes.
    pub(crate) upstream_open: bool,
}

impl Tcp {
    pub(crate) fn new(connection: Connection, entrance: Arc<Entrance>, roots: &[usize], started: Duration) -> Self {
        Self {
            connection,
            entrance,
            filters: roots.iter().copied().map(TcpFilter::new).collect(),
            filter_state: FilterState::default(),
            cluster: None,
            host: None,
            received: 0,
            sent: 0,
            downstream: Line::default(),
            upstream: Line::default(),
            stage: Stage::Ahead,
            gone: false,
            ending: false,
            started,
            tape: None,
        }
    }

    /// The bytes of a direction, if the filter can reach them now.
    pub(crate) fn window(&self, place: usize, upstream: bool) -> Option<&Buffer> {
        let filter = self.filters.get(place).filter(|_| !self.ending)?;
        match upstream {
            true => filter.upstream_open.then_some(&self.upstream.window),
            false => filter.downstream_open.then_some(&self.downstream.window),
        }
    }

    /// As [`window`](Self::window), to change it.
    pub(crate) fn window_mut(&mut self, place: usize, upstream: bool) -> Option<&mut Buffer> {
        let filter = self.filters.get(place).filter(|_| !self.ending)?;
        match upstream {
            true => filter.upstream_open.then_some(&mut self.upstream.window),
            false => filter.downstream_open.then_some(&mut self.downstream.window),
        }
    }
}

impl TcpFilter {
    const fn new(root: usize) -> Self {
        Self {
            root,
            context: 0,
            generation: 0,
            met: false,
            bypassed: false,
            downstream_open: false,
            upstream_open: false,
        }
    }
}

impl Line {
    /// Takes what has come and was not read, up to the limit of the window; whether there was anything.
    pub(crate) fn read(&mut self, limit: usize) -> bool {
        let news = !self.unread.is_empty() || (self.unread_end && !self.end);
        // Envoy stops to read when the buffer is above its limit, not before it would be.
        if !news || self.window.len() > limit {
            return false;
        }
        self.window.append(self.unread.take());
        self.end |= std::mem::take(&mut self.unread_end);
        true
    }

    /// Bytes that wait.
    pub(crate) const fn backlog(&self) -> usize {
        self.window.len() + self.unread.len()
    }

    /// Whether the filters have something to look at.
    pub(crate) const fn has_news(&self) -> bool {
        !self.window.is_empty() || self.end
    }
}
