//! What the filters of a chain share about one request and its response.

use std::sync::Arc;
use std::time::Duration;

use crate::connection::Connection;
use crate::entrance::Entrance;
use crate::filter::{Direction, Filter, Flow};
use crate::filter_state::FilterState;
use crate::headers::HeaderMap;
use crate::recording::Tape;
use crate::surroundings::{Metadata, Routing, UpstreamHost};

/// Names one exchange within a worker; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExchangeId {
    pub(super) slot: u32,
    pub(super) turn: u32,
}

/// What the filters of a chain share about one request and its response.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) connection: Connection,
    /// Where it came in.
    pub(crate) entrance: Arc<Entrance>,
    pub(crate) filters: Vec<Filter>,
    pub(crate) request: Half,
    pub(crate) response: Half,
    /// What filters left for those behind them.
    pub(crate) filter_state: FilterState,
    /// The dynamic metadata that native filters left.
    pub(crate) metadata: Metadata,
    /// Where the request goes, as far as it is decided.
    pub(crate) routing: Routing,
    /// The routing has to be decided again, from the headers as they are then.
    pub(crate) route_forgotten: bool,
    /// The host that the request was sent to.
    pub(crate) upstream: Option<Arc<UpstreamHost>>,
    /// How often it was sent.
    pub(crate) attempts: u64,
    /// When it was sent, when the answer was over, on the clock.
    pub(crate) sent: Option<Duration>,
    pub(crate) received: Option<Duration>,
    /// What went wrong, in Envoy's bits.
    pub(crate) flags: u64,
    /// When it began: since the clock's start, and since 1970.
    pub(crate) started: Duration,
    pub(crate) started_unix: Duration,
    /// Why the response is what it is, in Envoy's words.
    pub(crate) details: String,
    /// The connection ends with the response, which says so.
    pub(crate) last: bool,
    /// The response is the proxy's own; what the upstream says is not wanted any more.
    pub(crate) local: bool,
    /// The upstream has been asked and has not answered to the end.
    pub(crate) upstream_open: bool,
    /// `proxy_on_log` runs: both maps can be read again, nothing can be changed.
    pub(crate) logging: bool,
    pub(crate) ending: bool,
    /// Its chain was gone before it began: without the plugins nothing passes.
    pub(crate) homeless: bool,
    /// What is recorded of it, if that is wanted.
    pub(crate) tape: Option<Box<Tape>>,
}

/// One direction of an exchange.
#[derive(Debug, Default)]
pub(crate) struct Half {
    pub(crate) headers: Option<HeaderMap>,
    /// The message ended with its headers.
    pub(crate) headers_end: bool,
    pub(crate) trailers: Option<HeaderMap>,
    /// The headers have left the chain.
    pub(crate) passed: bool,
    /// The end has left the chain.
    pub(crate) ended: bool,
    /// Nothing goes on in this direction: a local reply or a reset took over.
    pub(crate) aborted: bool,
    /// The end has come to the chain.
    pub(crate) came_end: bool,
    /// Body bytes that came.
    pub(crate) came: u64,
    /// Body bytes that left.
    pub(crate) left: u64,
}

impl Exchange {
    pub(crate) fn new(
        connection: Connection,
        entrance: Arc<Entrance>,
        roots: &[usize],
        started: Duration,
        started_unix: Duration,
    ) -> Self {
        Self {
            connection,
            entrance,
            filters: roots.iter().copied().map(Filter::new).collect(),
            request: Half::default(),
            response: Half::default(),
            filter_state: FilterState::default(),
            metadata: Metadata::new(),
            routing: Routing::default(),
            route_forgotten: false,
            upstream: None,
            attempts: 0,
            sent: None,
            received: None,
            flags: 0,
            started,
            started_unix,
            details: String::new(),
            last: false,
            local: false,
            upstream_open: false,
            logging: false,
            ending: false,
            homeless: false,
            tape: None,
        }
    }

    pub(crate) const fn half(&self, direction: Direction) -> &Half {
        match direction {
            Direction::Request => &self.request,
            Direction::Response => &self.response,
        }
    }

    pub(crate) const fn half_mut(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }

    /// One direction of the filter at this place.
    pub(crate) fn flow_mut(&mut self, place: usize, direction: Direction) -> Option<&mut Flow> {
        self.filters.get_mut(place).map(|filter| filter.flow_mut(direction))
    }

    pub(crate) fn backlog(&self, direction: Direction) -> usize {
        self.filters.iter().map(|filter| filter.flow(direction).backlog()).sum()
    }

    /// The filter that meets messages of this direction first.
    pub(crate) fn first(&self, direction: Direction) -> Option<usize> {
        match direction {
            Direction::Request => (!self.filters.is_empty()).then_some(0),
            Direction::Response => self.filters.len().checked_sub(1),
        }
    }

    /// The filter behind this one.
    pub(crate) fn next(&self, direction: Direction, at: usize) -> Option<usize> {
        match direction {
            Direction::Request => Some(at + 1).filter(|next| *next < self.filters.len()),
            Direction::Response => at.checked_sub(1),
        }
    }

    /// A whole answer to a whole request leaves nothing to cut at the upstream.
    pub(crate) fn answered(&mut self, direction: Direction) {
        if direction == Direction::Response && self.response.came_end && self.request.ended {
            self.upstream_open = false;
        }
    }

    /// How long it took until the request could be sent.
    pub(crate) fn connecting(&self) -> Duration {
        self.sent.unwrap_or_default().saturating_sub(self.started)
    }

    /// How long the upstream took, up to `now` if the exchange goes on; nothing while it has not been asked.
    pub(crate) fn backend_latency(&self, now: Duration) -> Option<Duration> {
        Some(self.received.unwrap_or(now).saturating_sub(self.sent?))
    }

    pub(crate) fn is_head(&self) -> bool {
        self.request.headers.as_ref().and_then(|headers| headers.get(b":method")).is_some_and(|method| method == "HEAD")
    }
}
