//! Envoy's attributes by path, in the encoding that plugins get them in.

use bytes::Bytes;

use crate::abi::Status;
use crate::clock::nanos;
use crate::connection::{Connection, Protocol, Tls};
use crate::exchange::{Exchange, Half};
use crate::filter::Direction;
use crate::headers::HeaderMap;
use crate::pairs;
use crate::vm::{Root, VmState};

/// Every property's outcome: its encoding is in the buffer, or there is none.
type Found = Result<(), Status>;

impl VmState {
    /// Appends the value of a property; the path's segments are separated by NUL.
    pub(crate) fn property(&self, path: &[u8], out: &mut Vec<u8>) -> Found {
        if path.is_empty() {
            return Err(Status::SerializationFailure);
        }
        let path = path.strip_suffix(b"\0").unwrap_or(path);
        let (first, rest) = split(path);
        match first {
            b"plugin_name" => text(out, self.plugin().map_or("", |root| &root.name)),
            b"plugin_root_id" => text(out, self.plugin().map_or("", |root| &root.root_id)),
            b"plugin_vm_id" => text(out, self.vm().map_or("", |vm| &vm.vm_id)),
            b"xds" => self.xds(rest, out),
            b"request" => self.request(rest, out),
            b"response" => self.response(rest, out),
            b"connection" => self.connection()?.property(rest, out),
            b"connection_id" => number(out, self.connection()?.id),
            b"source" => address(rest, self.connection()?.source, out),
            b"destination" => address(rest, self.connection()?.destination, out),
            b"filter_state" => {
                let name = rest.ok_or(Status::SerializationFailure)?;
                let name = name.strip_prefix(b"wasm.").ok_or(Status::NotFound)?;
                stored(self.filter_state()?, name, out)
            }
            // A name of several segments can be stored, but never be read back.
            _ if rest.is_none() => stored(self.filter_state()?, first, out),
            _ => Err(Status::NotFound),
        }
    }

    fn plugin(&self) -> Option<&Root> {
        self.roots.get(self.root()?)
    }

    fn exchange(&self) -> Result<&Exchange, Status> {
        self.stream().map(|(exchange, _)| exchange).ok_or(Status::NotFound)
    }

    /// The client's connection, of an exchange or by itself.
    fn connection(&self) -> Result<&Connection, Status> {
        match self.tcp() {
            Some((tcp, _)) => Ok(&tcp.connection),
            None => Ok(&self.exchange()?.connection),
        }
    }

    fn filter_state(&self) -> Result<&[(Bytes, Bytes)], Status> {
        match self.tcp() {
            Some((tcp, _)) => Ok(&tcp.filter_state),
            None => Ok(&self.exchange()?.filter_state),
        }
    }

    fn xds(&self, rest: Option<&[u8]>, out: &mut Vec<u8>) -> Found {
        let node = self.services.node();
        let (first, rest) = split(rest.ok_or(Status::SerializationFailure)?);
        match first {
            b"route_name" if rest.is_none() => {
                self.exchange()?;
                text(out, self.services.route_name())
            }
            b"node" => {
                let (field, rest) = split(rest.ok_or(Status::SerializationFailure)?);
                match (field, rest) {
                    (b"id", None) => text(out, &node.id),
                    (b"cluster", None) => text(out, &node.cluster),
                    (b"metadata", None) => map(&node.metadata, out),
                    (b"metadata", Some(rest)) => drill(&node.metadata, rest, out),
                    _ => Err(Status::NotFound),
                }
            }
            _ => Err(Status::NotFound),
        }
    }

    fn request(&self, rest: Option<&[u8]>, out: &mut Vec<u8>) -> Found {
        let (exchange, place) = self.stream().ok_or(Status::NotFound)?;
        let (field, rest) = split(rest.ok_or(Status::SerializationFailure)?);
        let half = &exchange.request;
        match (field, rest) {
            (b"time", None) => number(out, nanos(exchange.started_unix)),
            (b"protocol", None) => text(out, exchange.connection.protocol.name()),
            (b"size", None) => number(out, half.declared().unwrap_or(half.came)),
            (b"total_size", None) => number(out, half.came + half.headers_size()),
            (b"headers_bytes", None) => number(out, half.headers_size()),
            (b"duration", None) if exchange.logging => {
                number(out, nanos(self.services.clock().now().saturating_sub(exchange.started)))
            }
            _ => {
                let flow = exchange.filters.get(place).map(|filter| filter.flow(Direction::Request));
                let open = exchange.logging || flow.is_some_and(|flow| flow.map_open);
                let headers = half.headers.as_ref().filter(|_| open).ok_or(Status::NotFound)?;
                request_header(headers, field, rest, out)
            }
        }
    }

    fn response(&self, rest: Option<&[u8]>, out: &mut Vec<u8>) -> Found {
        let exchange = self.exchange()?;
        let (field, rest) = split(rest.ok_or(Status::SerializationFailure)?);
        let half = &exchange.response;
        let headers = half.headers.as_ref();
        match (field, rest) {
            (b"code", None) => {
                let status =
                    headers.and_then(|headers| headers.get_str(":status")).and_then(|status| status.parse().ok());
                number(out, status.ok_or(Status::NotFound)?)
            }
            (b"code_details", None) => {
                headers.ok_or(Status::NotFound)?;
                let upstreams = exchange.details.is_empty() && !exchange.local;
                text(out, if upstreams { "via_upstream" } else { &exchange.details })
            }
            (b"flags", None) => number(out, 0),
            (b"size", None) => number(out, half.left),
            (b"total_size", None) => number(out, half.left + half.headers_size()),
            (b"grpc_status", None) => {
                let trailers = half.trailers.as_ref();
                let status = trailers.and_then(|map| map.get_str("grpc-status"));
                let status = status.or_else(|| headers.and_then(|map| map.get_str("grpc-status")));
                headers.ok_or(Status::NotFound)?;
                number(out, status.and_then(|status| status.parse().ok()).unwrap_or(2))
            }
            // From the request's first byte to the response's last; no time passes on its way.
            (b"backend_latency", None) if half.came_end && !exchange.local => number(out, 0),
            (b"headers", None) => all(headers, out),
            (b"headers", Some(name)) => joined(headers.ok_or(Status::NotFound)?, name, out),
            (b"trailers", None) => all(half.trailers.as_ref(), out),
            (b"trailers", Some(name)) => joined(half.trailers.as_ref().ok_or(Status::NotFound)?, name, out),
            _ => Err(Status::NotFound),
        }
    }
}

/// Stores a value under a name of any form.
pub(crate) fn store(filter_state: &mut Vec<(Bytes, Bytes)>, name: &[u8], value: &[u8]) {
    let value = Bytes::copy_from_slice(value);
    match filter_state.iter_mut().find(|(have, _)| have == name) {
        Some((_, present)) => *present = value,
        None => filter_state.push((Bytes::copy_from_slice(name), value)),
    }
}

fn stored(filter_state: &[(Bytes, Bytes)], name: &[u8], out: &mut Vec<u8>) -> Found {
    let (_, value) = filter_state.iter().find(|(have, _)| have == name).ok_or(Status::NotFound)?;
    out.extend_from_slice(value);
    Ok(())
}

impl Half {
    fn headers_size(&self) -> u64 {
        self.headers.as_ref().map_or(0, HeaderMap::byte_size) as u64
    }

    /// What the message says about its own length.
    pub(crate) fn declared(&self) -> Option<u64> {
        self.headers.as_ref()?.get_str("content-length")?.parse().ok()
    }
}

impl Connection {
    fn property(&self, rest: Option<&[u8]>, out: &mut Vec<u8>) -> Found {
        let (field, _) = split(rest.ok_or(Status::SerializationFailure)?);
        match field {
            b"id" => return number(out, self.id),
            b"mtls" => return flag(out, self.tls.as_ref().is_some_and(|tls| tls.mutual)),
            b"requested_server_name" => {
                return text(out, self.tls.as_ref().map_or("", |tls| &tls.requested_server_name));
            }
            _ => {}
        }
        let tls = self.tls.as_ref().ok_or(Status::NotFound)?;
        match field {
            b"tls_version" => text(out, &tls.version),
            b"subject_peer_certificate" => some(out, &tls.peer_subject),
            b"subject_local_certificate" => some(out, &tls.local_subject),
            b"dns_san_peer_certificate" => some(out, Tls::first(&tls.peer_dns_names)),
            b"dns_san_local_certificate" => some(out, Tls::first(&tls.local_dns_names)),
            b"uri_san_peer_certificate" => some(out, Tls::first(&tls.peer_uris)),
            b"uri_san_local_certificate" => some(out, Tls::first(&tls.local_uris)),
            b"sha256_peer_certificate_digest" => some(out, &tls.peer_digest),
            _ => Err(Status::NotFound),
        }
    }
}

impl Tls {
    fn first(names: &[String]) -> &str {
        names.first().map_or("", String::as_str)
    }
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

/// The first segment, and the others if there are some.
fn split(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    match path.iter().position(|byte| *byte == 0) {
        Some(at) => (path.get(..at).unwrap_or_default(), path.get(at + 1..)),
        None => (path, None),
    }
}

fn request_header(headers: &HeaderMap, field: &[u8], rest: Option<&[u8]>, out: &mut Vec<u8>) -> Found {
    let path = || headers.get(b":path").ok_or(Status::NotFound);
    let name: &[u8] = match (field, rest) {
        (b"path", None) => b":path",
        (b"url_path", None) => {
            let path = path()?;
            let end = path.iter().position(|byte| *byte == b'?').unwrap_or(path.len());
            out.extend_from_slice(path.get(..end).unwrap_or_default());
            return Ok(());
        }
        (b"query", None) => {
            let path = path()?;
            let start = path.iter().position(|byte| *byte == b'?').map_or(path.len(), |at| at + 1);
            let query = path.get(start..).unwrap_or_default();
            let end = query.iter().position(|byte| *byte == b'#').unwrap_or(query.len());
            out.extend_from_slice(query.get(..end).unwrap_or_default());
            return Ok(());
        }
        (b"host", None) => b":authority",
        (b"scheme", None) => b":scheme",
        (b"method", None) => b":method",
        (b"referer", None) => b"referer",
        (b"useragent", None) => b"user-agent",
        (b"id", None) => b"x-request-id",
        (b"headers", None) => return all(Some(headers), out),
        (b"headers", Some(name)) => return joined(headers, name, out),
        _ => return Err(Status::NotFound),
    };
    out.extend_from_slice(headers.get(name).ok_or(Status::NotFound)?);
    Ok(())
}

/// A whole map; values of one name are joined, and an absent map is an empty one.
fn all(headers: Option<&HeaderMap>, out: &mut Vec<u8>) -> Found {
    let mut merged: Vec<(&[u8], Vec<u8>)> = Vec::new();
    for (name, value) in headers.into_iter().flat_map(HeaderMap::slices) {
        match merged.iter_mut().find(|(have, _)| *have == name) {
            Some((_, values)) => {
                values.push(b',');
                values.extend_from_slice(value);
            }
            None => merged.push((name, value.to_vec())),
        }
    }
    pairs::encode(merged.iter().map(|(name, value)| (*name, value.as_slice())), out);
    Ok(())
}

fn joined(headers: &HeaderMap, name: &[u8], out: &mut Vec<u8>) -> Found {
    let mut values = headers.get_all(name);
    out.extend_from_slice(values.next().ok_or(Status::NotFound)?);
    for value in values {
        out.push(b',');
        out.extend_from_slice(value);
    }
    Ok(())
}

fn address(rest: Option<&[u8]>, address: Option<std::net::SocketAddr>, out: &mut Vec<u8>) -> Found {
    match (rest.ok_or(Status::SerializationFailure)?, address) {
        (b"address", Some(address)) => text(out, &address.to_string()),
        (b"port", Some(address)) => number(out, address.port().into()),
        _ => Err(Status::NotFound),
    }
}

/// Follows a path through a JSON object, and encodes what is there as Envoy encodes a `Struct`.
fn drill(object: &serde_json::Map<String, serde_json::Value>, path: &[u8], out: &mut Vec<u8>) -> Found {
    let (first, rest) = split(path);
    let first = std::str::from_utf8(first).map_err(|_| Status::NotFound)?;
    let value = object.get(first).ok_or(Status::NotFound)?;
    match (value, rest) {
        (value, None) => encode(value, out),
        (serde_json::Value::Object(inner), Some(rest)) => drill(inner, rest, out),
        (serde_json::Value::Array(list), Some(rest)) => {
            let index: usize =
                std::str::from_utf8(rest).ok().and_then(|rest| rest.parse().ok()).ok_or(Status::NotFound)?;
            encode(list.get(index).ok_or(Status::NotFound)?, out)
        }
        _ => Err(Status::NotFound),
    }
}

fn encode(value: &serde_json::Value, out: &mut Vec<u8>) -> Found {
    match value {
        serde_json::Value::Null => Ok(()),
        serde_json::Value::Bool(value) => flag(out, *value),
        serde_json::Value::Number(value) => {
            out.extend_from_slice(&value.as_f64().unwrap_or_default().to_le_bytes());
            Ok(())
        }
        serde_json::Value::String(value) => text(out, value),
        serde_json::Value::Array(list) => {
            let mut items = Vec::with_capacity(list.len());
            for item in list {
                let mut bytes = Vec::new();
                encode(item, &mut bytes)?;
                items.push(bytes);
            }
            pairs::encode(items.iter().map(|item| (item.as_slice(), &b""[..])), out);
            Ok(())
        }
        serde_json::Value::Object(object) => map(object, out),
    }
}

fn map(object: &serde_json::Map<String, serde_json::Value>, out: &mut Vec<u8>) -> Found {
    let mut items = Vec::with_capacity(object.len());
    for (name, value) in object {
        let mut bytes = Vec::new();
        encode(value, &mut bytes)?;
        items.push((name.as_bytes(), bytes));
    }
    pairs::encode(items.iter().map(|(name, value)| (*name, value.as_slice())), out);
    Ok(())
}

fn text(out: &mut Vec<u8>, value: &str) -> Found {
    out.extend_from_slice(value.as_bytes());
    Ok(())
}

/// A text of a certificate that need not have it.
fn some(out: &mut Vec<u8>, value: &str) -> Found {
    if value.is_empty() { Err(Status::NotFound) } else { text(out, value) }
}

fn number(out: &mut Vec<u8>, value: u64) -> Found {
    out.extend_from_slice(&value.to_le_bytes());
    Ok(())
}

fn flag(out: &mut Vec<u8>, value: bool) -> Found {
    out.push(value.into());
    Ok(())
}
