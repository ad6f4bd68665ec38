//! How a worker behaves where proxies differ.

use std::time::Duration;

use bytes::Bytes;

use crate::fault::Faults;
use crate::shared::Inbox;

/// How a worker behaves where proxies differ.
#[derive(Debug, Clone)]
pub struct Options {
    /// How much of a body a stopped filter may collect.
    pub buffer_limit: usize,
    /// How the end of a response's body is told.
    pub response_end: EndStyle,
    /// How the end of a request's body is told; `None` decides by the protocol of the connection.
    pub request_end: Option<EndStyle>,
    /// Faults on demand; nothing is checked where there is none.
    pub faults: Option<Faults>,
    /// Whether trace lines are kept.
    pub trace: bool,
    /// Whether mistakes of the guests are looked for.
    pub lint: bool,
    /// Whether the time inside of guests is measured.
    pub measure_time: bool,
    /// Where notices for this worker arrive.
    pub inbox: Inbox,
    /// How long a route lets the upstream take, as Envoy's router tells the upstream in
    /// `x-envoy-expected-rq-timeout-ms`; the worker itself keeps no time.
    pub route_timeout: Option<Duration>,
    /// What responses say in `server`; with it they get a `date` too.
    pub server: Option<Bytes>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            buffer_limit: 1 << 20,
            response_end: EndStyle::Trailing,
            request_end: None,
            faults: None,
            trace: false,
            lint: false,
            measure_time: false,
            inbox: Inbox::default(),
            route_timeout: None,
            server: None,
        }
    }
}

/// How the end of a body reaches the filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EndStyle {
    /// As an empty piece of its own after the last one: HTTP/1 in Envoy.
    #[default]
    Trailing,
    /// With the last piece: HTTP/2 in Envoy.
    OnLast,
}
