//! Replies of the proxy's own.

use bytes::Bytes;

use super::state::Exchange;
use crate::filter::Direction;
use crate::headers::HeaderMap;

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
    /// What went wrong, in the bits of `response.flags`.
    pub flags: u64,
}

impl LocalReply {
    /// A reply with a text.
    #[must_use]
    pub fn text(status: u32, body: impl Into<Bytes>, details: impl Into<String>) -> Self {
        Self { status, body: body.into(), details: details.into(), ..Self::default() }
    }

    /// The router has no route (`NR`).
    #[must_use]
    pub fn no_route() -> Self {
        Self { flags: 1 << 8, ..Self::text(404, "", "route_not_found") }
    }

    /// There is no cluster of the name that the route says (`NC`).
    #[must_use]
    pub fn no_cluster() -> Self {
        Self { flags: 1 << 24, ..Self::text(503, "", "cluster_not_found") }
    }

    /// The cluster has no server (`UH`).
    #[must_use]
    pub fn no_server() -> Self {
        Self { flags: 1 << 1, ..Self::text(503, "no healthy upstream", "no_healthy_upstream") }
    }

    pub(crate) fn failed_stream() -> Self {
        Self { grpc_status: Some(14), ..Self::text(503, "", "wasm_fail_stream") }
    }

    /// The headers in Envoy's order.
    pub(crate) fn headers(&self) -> HeaderMap {
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
    pub(crate) fn grpc_headers(&self) -> HeaderMap {
        let status = self.grpc_status.unwrap_or_else(|| http_to_grpc(self.status.into()));
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

/// The gRPC status that stands for an HTTP status.
pub(crate) const fn http_to_grpc(status: u64) -> u32 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

impl Exchange {
    /// Takes the reply as its response, in the form that the client understands; what is left of the body.
    pub(crate) fn answer(&mut self, reply: LocalReply) -> Bytes {
        self.details.clone_from(&reply.details);
        self.flags |= reply.flags;
        self.local = true;
        let (headers, body) = if self.is_grpc() {
            (reply.grpc_headers(), Bytes::new())
        } else if self.is_head() {
            (reply.headers(), Bytes::new())
        } else {
            (reply.headers(), reply.body)
        };
        self.response.headers = Some(headers);
        self.response.headers_end = body.is_empty();
        self.response.came_end = true;
        self.response.trailers = None;
        body
    }

    pub(crate) fn is_grpc(&self) -> bool {
        let kind = self.request.headers.as_ref().and_then(|headers| headers.get(b"content-type"));
        kind.and_then(|kind| kind.strip_prefix(b"application/grpc"))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+") || rest.starts_with(b";"))
    }

    /// What the router or the codec says to headers that filters have broken.
    pub(crate) fn refused(&self, direction: Direction) -> Option<LocalReply> {
        let headers = self.half(direction).headers.as_ref()?;
        match direction {
            Direction::Request => {
                if headers.get(b":path").is_none_or(Bytes::is_empty) {
                    return Some(LocalReply::no_route());
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
