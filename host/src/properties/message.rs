//! `request.*` and `response.*`.

use super::Found;
use super::value::{header, headers, number, split, text};
use crate::abi::Status;
use crate::clock::nanos;
use crate::connection::Protocol;
use crate::exchange::{Exchange, Half, http_to_grpc};
use crate::filter::Direction;
use crate::headers::HeaderMap;
use crate::vm::VmState;

impl VmState {
    pub(super) fn request(&self, rest: Option<&[u8]>, out: &mut Vec<u8>) -> Found {
        if let Some((tcp, _)) = self.tcp() {
            return sizes(tcp.received, rest, out);
        }
        let (exchange, place) = self.stream().ok_or(Status::NotFound)?;
        let (field, rest) = split(rest.ok_or(Status::SerializationFailure)?);
        let half = &exchange.request;
        let map = exchange.open_map(Direction::Request, place);
        match (field, rest) {
            (b"time", None) => number(out, nanos(exchange.started_unix)),
            (b"protocol", None) => text(out, exchange.connection.protocol.name()),
            (b"size", None) => number(out, map.and_then(declared).unwrap_or(half.came)),
            (b"total_size", None) => number(out, half.came + size(map)),
            (b"headers_bytes", None) => number(out, size(map)),
            (b"duration", None) if exchange.logging => {
                number(out, nanos(self.services.clock().now().saturating_sub(exchange.started)))
            }
            (b"headers", None) => headers(map, out),
            (b"headers", Some(name)) => header(map, name, out),
            (field, None) => request_header(map.ok_or(Status::NotFound)?, field, out),
            _ => Err(Status::NotFound),
        }
    }

    pub(super) fn response(&self, rest: Option<&[u8]>, out: &mut Vec<u8>) -> Found {
        if let Some((tcp, _)) = self.tcp() {
            return if rest == Some(b"flags") { number(out, 0) } else { sizes(tcp.sent, rest, out) };
        }
        let (exchange, place) = self.stream().ok_or(Status::NotFound)?;
        let (field, rest) = split(rest.ok_or(Status::SerializationFailure)?);
        let half = &exchange.response;
        let come = half.headers.as_ref();
        let map = exchange.open_map(Direction::Response, place);
        let trailers = half.trailers.as_ref();
        match (field, rest) {
            (b"code", None) => number(out, exchange.status().ok_or(Status::NotFound)?),
            (b"code_details", None) => text(out, exchange.details().ok_or(Status::NotFound)?),
            (b"flags", None) => number(out, exchange.flags),
            (b"size", None) => number(out, half.left),
            (b"total_size", None) => number(out, half.left + size(map) + size(trailers)),
            (b"grpc_status", None) => {
                let told = |map: Option<&HeaderMap>| map.and_then(|map| map.get_str("grpc-status")?.parse().ok());
                let derived = || exchange.status().map(|status| http_to_grpc(status).into());
                number(out, told(trailers).or_else(|| told(come)).or_else(derived).ok_or(Status::NotFound)?)
            }
            (b"headers", None) => headers(map, out),
            (b"headers", Some(name)) => header(map, name, out),
            (b"trailers", None) => headers(trailers, out),
            (b"trailers", Some(name)) => header(trailers, name, out),
            // From the request's first byte to the response's last.
            (b"backend_latency", None) if exchange.logging || (half.came_end && !exchange.local) => {
                let now = self.services.clock().now();
                let latency = exchange.backend_latency(now).ok_or(Status::NotFound)?;
                number(out, nanos(latency))
            }
            _ => Err(Status::NotFound),
        }
    }
}

/// Of a connection only the bytes of its two directions are known.
fn sizes(bytes: u64, rest: Option<&[u8]>, out: &mut Vec<u8>) -> Found {
    match rest.ok_or(Status::SerializationFailure)? {
        b"size" | b"total_size" => number(out, bytes),
        _ => Err(Status::NotFound),
    }
}

impl Exchange {
    /// The headers of a direction, while the guest may look at them.
    fn open_map(&self, direction: Direction, place: usize) -> Option<&HeaderMap> {
        let flow = self.filters.get(place).map(|filter| filter.flow(direction));
        let open = self.logging || flow.is_some_and(|flow| flow.map_open);
        self.half(direction).headers.as_ref().filter(|_| open)
    }

    fn status(&self) -> Option<u64> {
        self.response.headers.as_ref()?.get_str(":status")?.parse().ok()
    }

    /// Why the response is what it is; nothing before there is one.
    fn details(&self) -> Option<&str> {
        if !self.details.is_empty() {
            return Some(&self.details);
        }
        self.response.headers.as_ref().map(|_| if self.local { "" } else { "via_upstream" })
    }
}

impl Half {
    /// What the message says about its own length.
    pub(crate) fn declared(&self) -> Option<u64> {
        self.headers.as_ref().and_then(declared)
    }
}

fn declared(headers: &HeaderMap) -> Option<u64> {
    headers.get_str("content-length")?.parse().ok()
}

fn size(map: Option<&HeaderMap>) -> u64 {
    map.map_or(0, HeaderMap::byte_size) as u64
}

impl Protocol {
    const fn name(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// A property that is a header, or a part of the path.
fn request_header(headers: &HeaderMap, field: &[u8], out: &mut Vec<u8>) -> Found {
    let path = || headers.get(b":path").ok_or(Status::NotFound);
    let value: &[u8] = match field {
        b"path" => path()?,
        b"url_path" => path()?.split(|byte| *byte == b'?').next().unwrap_or_default(),
        b"query" => {
            let query = path()?.splitn(2, |byte| *byte == b'?').nth(1).unwrap_or_default();
            query.split(|byte| *byte == b'#').next().unwrap_or_default()
        }
        name => {
            let name: &[u8] = match name {
                b"host" => b":authority",
                b"scheme" => b":scheme",
                b"method" => b":method",
                b"referer" => b"referer",
                b"useragent" => b"user-agent",
                b"id" => b"x-request-id",
                _ => return Err(Status::NotFound),
            };
            headers.get(name).ok_or(Status::NotFound)?
        }
    };
    out.extend_from_slice(value);
    Ok(())
}
