//! Replies of the proxy's own on their way back through the filters.

use bytes::Bytes;

use super::parts::Worker;
use crate::effect::{Effect, Item, UpstreamFailure};
use crate::exchange::{ExchangeId, LocalReply};
use crate::filter::{Buffer, Direction};
use crate::headers::HeaderMap;
use crate::recording::Leg;
use crate::surroundings::Routing;

impl Worker {
    /// Ends the exchange with a reply of the proxy's own.
    ///
    /// Before any response it travels back through the filters; while a response is held in them it replaces it
    /// unseen; after its headers have gone out there is only a reset.
    pub(crate) fn local_reply(&mut self, id: ExchangeId, reply: LocalReply) {
        let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
        if exchange.ending || exchange.response.ended {
            return;
        }
        exchange.request.aborted = true;
        let drop_upstream = std::mem::take(&mut exchange.upstream_open);
        if exchange.response.passed {
            exchange.details = reply.details;
            if drop_upstream {
                self.state.effects.push_back(Effect::ResetUpstream { id });
            }
            return self.cut(id);
        }
        let through_filters = exchange.response.headers.is_none();
        let body = exchange.answer(reply);
        let end = body.is_empty();
        let last = exchange.first(Direction::Response);
        if drop_upstream {
            self.state.effects.push_back(Effect::ResetUpstream { id });
        }
        if through_filters {
            self.pass_headers(id, Direction::Response, last);
            if !end {
                self.pass_data(id, Direction::Response, last, Buffer::from(body), true);
            }
        } else {
            self.send_directly(id, body);
        }
    }

    /// Refuses a request before any filter sees it: they only hear of it when it is over.
    pub(crate) fn refuse(&mut self, id: ExchangeId, headers: Option<HeaderMap>, reply: LocalReply) {
        let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
        let routing = headers.as_ref().and_then(|headers| exchange.entrance.route(headers));
        // A route is chosen later.
        exchange.routing = Routing { route: None, ..routing.unwrap_or_default() };
        exchange.request.headers = headers;
        exchange.request.aborted = true;
        self.state.watch_message(id, Leg::RequestIn);
        self.state.watch_reply(id, &reply);
        let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
        let body = exchange.answer(reply);
        self.send_directly(id, body);
    }

    /// The router's own reply, such as for a missing route.
    pub(crate) fn router_reply(&mut self, id: ExchangeId, reply: LocalReply) {
        if let Some(exchange) = self.state.exchanges.get_mut(id) {
            exchange.upstream_open = false;
        }
        self.own_reply(id, reply);
    }

    /// A reply that no plugin has asked for.
    pub(super) fn own_reply(&mut self, id: ExchangeId, reply: LocalReply) {
        self.state.watch_reply(id, &reply);
        self.local_reply(id, reply);
    }

    /// The upstream has failed: a reply before its response has begun, a cut after.
    pub(crate) fn upstream_failed(&mut self, id: ExchangeId, failure: UpstreamFailure) {
        let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
        if exchange.local || exchange.ending || exchange.response.came_end {
            return;
        }
        exchange.upstream_open = false;
        exchange.flags |= failure.flag();
        if exchange.response.headers.is_some() {
            exchange.details = "upstream_reset_after_response_started{protocol_error}".to_owned();
            return self.cut(id);
        }
        self.own_reply(id, LocalReply::upstream_failure(failure));
    }

    /// A filter has collected more than it may.
    pub(super) fn too_large(&mut self, id: ExchangeId, direction: Direction) {
        self.own_reply(
            id,
            match direction {
                Direction::Request => LocalReply::text(413, "Payload Too Large", "request_payload_too_large"),
                Direction::Response => LocalReply::text(500, "Internal Server Error", "response_payload_too_large"),
            },
        );
    }

    /// Sends a reply past all filters.
    fn send_directly(&mut self, id: ExchangeId, body: Bytes) {
        self.state.sign(id);
        self.state.watch_message(id, Leg::ResponseOut);
        let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
        let half = &mut exchange.response;
        half.aborted = true;
        half.passed = true;
        half.ended = true;
        half.left = body.len() as u64;
        let headers = half.headers.clone().unwrap_or_default();
        let end = body.is_empty();
        if !end {
            self.state.watch_data(id, Leg::ResponseOut, &Buffer::from(body.clone()), true);
        }
        self.send(id, Direction::Response, Item::Headers(headers, end));
        if !end {
            self.send(id, Direction::Response, Item::Data(body, true));
        }
    }
}

impl UpstreamFailure {
    /// The bit of `response.flags`.
    const fn flag(self) -> u64 {
        match self {
            Self::Timeout => 1 << 2,
            Self::Connect => 1 << 5,
            Self::Reset => 1 << 6,
            Self::Protocol => 1 << 23,
        }
    }
}

impl LocalReply {
    fn upstream_failure(failure: UpstreamFailure) -> Self {
        const BEFORE: &str = "upstream connect error or disconnect/reset before headers. reset reason: ";
        let (status, reason, details) = match failure {
            UpstreamFailure::Timeout => return Self::text(504, "upstream request timeout", "response_timeout"),
            UpstreamFailure::Connect => (
                503,
                "remote connection failure",
                "remote_connection_failure|delayed_connect_error:_Connection_refused",
            ),
            UpstreamFailure::Reset => (503, "connection termination", "connection_termination"),
            UpstreamFailure::Protocol => (502, "protocol error", "protocol_error"),
        };
        let details = format!("upstream_reset_before_response_started{{{details}}}");
        Self::text(status, format!("{BEFORE}{reason}"), details)
    }
}
