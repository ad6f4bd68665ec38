//! Replies of the proxy's own, and how far back through the filters they travel.

use bytes::Bytes;

use super::{Exchange, ExchangeId};
use crate::filter::{Buffer, Direction};
use crate::headers::HeaderMap;
use crate::worker::{Effect, Item, UpstreamFailure, Worker};

/// A response that the proxy makes itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalReply {
    /// The HTTP status; Envoy does not check it.
    pub status: u32,
    /// Further headers. `:status` and `content-length` are the proxy's own.
    pub headers: Vec<(Bytes, Bytes)>,
    /// The body, empty for none.
    pub body: Bytes,
    /// Why, as `response.code_details` tells it.
    pub details: String,
    /// The status for gRPC clients; derived from `status` if there is none.
    pub grpc_status: Option<u32>,
}

impl LocalReply {
    /// A reply with a text.
    #[must_use]
    pub fn text(status: u32, body: impl Into<Bytes>, details: impl Into<String>) -> Self {
        Self { status, body: body.into(), details: details.into(), ..Self::default() }
    }

    pub(crate) fn failed_stream() -> Self {
        Self { grpc_status: Some(14), ..Self::text(503, "", "wasm_fail_stream") }
    }

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

    /// The headers in Envoy's order.
    fn headers(&self) -> HeaderMap {
        let mut map = HeaderMap::response();
        map.add(b":status", self.status.to_string().as_bytes());
        for (name, value) in &self.headers {
            if !name.eq_ignore_ascii_case(b":status") {
                map.add(name, value);
            }
        }
        map.remove(b"content-length");
        if !self.body.is_empty() {
            map.add(b"content-length", self.body.len().to_string().as_bytes());
            if map.get(b"content-type").is_none() {
                map.add(b"content-type", b"text/plain");
            }
        }
        map
    }

    /// What a gRPC client gets: status and message in headers that are trailers as well.
    fn grpc_headers(&self) -> HeaderMap {
        let status = self.grpc_status.unwrap_or(match self.status {
            400 => 13,
            401 => 16,
            403 => 7,
            404 => 12,
            429 | 502 | 503 | 504 => 14,
            _ => 2,
        });
        let mut map = HeaderMap::response();
        map.add(b":status", b"200");
        map.add(b"content-type", b"application/grpc");
        for (name, value) in &self.headers {
            if ![&b":status"[..], b"content-length", b"content-type"].iter().any(|own| name.eq_ignore_ascii_case(own)) {
                map.add(name, value);
            }
        }
        map.set(b"grpc-status", status.to_string().as_bytes());
        if !self.body.is_empty() {
            map.set(b"grpc-message", percent_encoded(&self.body).as_bytes());
        }
        map
    }
}

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
        exchange.details.clone_from(&reply.details);
        let drop_upstream = std::mem::take(&mut exchange.upstream_open);
        if exchange.response.passed {
            if drop_upstream {
                self.state.effects.push_back(Effect::ResetUpstream { id });
            }
            return self.cut(id);
        }
        let (headers, body) = if exchange.is_grpc() {
            (reply.grpc_headers(), Bytes::new())
        } else if exchange.is_head() {
            (reply.headers(), Bytes::new())
        } else {
            (reply.headers(), reply.body)
        };
        let end = body.is_empty();
        exchange.local = true;
        let through_filters = exchange.response.headers.is_none();
        exchange.response.headers = Some(headers);
        exchange.response.headers_end = end;
        exchange.response.came_end = true;
        exchange.response.trailers = None;
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

    /// The router's own reply, such as for a missing route.
    pub(crate) fn router_reply(&mut self, id: ExchangeId, reply: LocalReply) {
        if let Some(exchange) = self.state.exchanges.get_mut(id) {
            exchange.upstream_open = false;
        }
        self.local_reply(id, reply);
    }

    /// The upstream has failed: a reply before its response has begun, a cut after.
    pub(crate) fn upstream_failed(&mut self, id: ExchangeId, failure: UpstreamFailure) {
        let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
        if exchange.local || exchange.ending || exchange.response.came_end {
            return;
        }
        exchange.upstream_open = false;
        if exchange.response.headers.is_some() {
            exchange.details = "upstream_reset_after_response_started{protocol_error}".to_owned();
            return self.cut(id);
        }
        self.local_reply(id, LocalReply::upstream_failure(failure));
    }

    /// A filter has collected more than it may.
    pub(super) fn too_large(&mut self, id: ExchangeId, direction: Direction) {
        self.local_reply(
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
        let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
        let half = &mut exchange.response;
        half.aborted = true;
        half.passed = true;
        half.ended = true;
        let headers = half.headers.clone().unwrap_or_default();
        let end = body.is_empty();
        self.send(id, Direction::Response, Item::Headers(headers, end));
        if !end {
            self.send(id, Direction::Response, Item::Data(body, true));
        }
    }
}

impl Exchange {
    fn is_grpc(&self) -> bool {
        let kind = self.request.headers.as_ref().and_then(|headers| headers.get(b"content-type"));
        kind.and_then(|kind| kind.strip_prefix(b"application/grpc"))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+") || rest.starts_with(b";"))
    }

    /// What the router or the codec says to headers that filters have broken.
    pub(super) fn refused(&self, direction: Direction) -> Option<LocalReply> {
        let headers = self.half(direction).headers.as_ref()?;
        match direction {
            Direction::Request => {
                if headers.get(b":path").is_none_or(Bytes::is_empty) {
                    return Some(LocalReply::text(404, "", "route_not_found"));
                }
                let problem = if headers.get(b":method").is_none() {
                    "missing required header: :method".to_owned()
                } else {
                    let bad = headers.iter().find(|(_, value)| !is_legal(value))?;
                    format!("invalid header value for: {}", bad.0.escape_ascii())
                };
                let details = format!("filter_removed_required_request_headers{{{}}}", problem.replace(' ', "_"));
                Some(LocalReply::text(503, problem, details))
            }
            Direction::Response => {
                let legal = headers.get(b":status").is_some_and(|status| {
                    status.len() < 5 && status.iter().all(u8::is_ascii_digit) && !status.is_empty()
                });
                if legal || self.local {
                    return None;
                }
                let problem = "missing required header: :status";
                let details = "filter_removed_required_response_headers{missing_required_header:_:status}";
                Some(LocalReply::text(502, problem, details))
            }
        }
    }
}

/// Whether a header value can go over the wire.
fn is_legal(value: &[u8]) -> bool {
    !value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n'))
}

/// As gRPC wants its messages: what is not printable ASCII becomes `%XX`.
fn percent_encoded(message: &[u8]) -> String {
    use std::fmt::Write as _;
    message.iter().fold(String::with_capacity(message.len()), |mut text, byte| {
        match byte {
            b' '..=b'~' if *byte != b'%' => text.push(char::from(*byte)),
            // Writing to a string cannot fail.
            _ => drop(write!(text, "%{byte:02X}")),
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(map: &HeaderMap) -> Vec<String> {
        map.iter().map(|(n, v)| format!("{}={}", n.escape_ascii(), v.escape_ascii())).collect()
    }

    #[test]
    fn headers_come_in_envoys_order() {
        let mut reply = LocalReply::text(403, "no way", "x");
        reply.headers =
            vec![("x-a".into(), "1".into()), (":status".into(), "200".into()), ("Content-Length".into(), "9".into())];
        assert_eq!(text(&reply.headers()), [":status=403", "x-a=1", "content-length=6", "content-type=text/plain"]);
        assert_eq!(text(&LocalReply::text(204, "", "").headers()), [":status=204"]);
    }

    #[test]
    fn grpc_clients_get_a_status() {
        let reply = LocalReply::text(403, "no\n100%", "x");
        assert_eq!(
            text(&reply.grpc_headers()),
            [":status=200", "content-type=application/grpc", "grpc-status=7", "grpc-message=no%0A100%25"]
        );
    }
}
