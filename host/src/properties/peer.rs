//! `connection.*`, `source.*`, `destination.*` and `upstream.*`: the two connections and their ends.

use std::net::SocketAddr;

use super::value::{flag, locality, number, some, split, text};
use super::{Around, Found};
use crate::abi::Status;
use crate::clock::nanos;
use crate::connection::{Connection, Tls};

impl Connection {
    pub(super) fn property(&self, rest: Option<&[u8]>, out: &mut Vec<u8>) -> Found {
        match rest.ok_or(Status::SerializationFailure)? {
            b"id" => number(out, self.id),
            b"mtls" => flag(out, self.tls.as_ref().is_some_and(|tls| tls.mutual)),
            b"requested_server_name" => text(out, self.tls.as_ref().map_or("", |tls| &tls.requested_server_name)),
            field => self.tls.as_ref().ok_or(Status::NotFound)?.property(field, out),
        }
    }
}

impl Tls {
    fn property(&self, field: &[u8], out: &mut Vec<u8>) -> Found {
        let first = |names: &[String], out: &mut Vec<u8>| some(out, names.first().map_or("", String::as_str));
        match field {
            b"tls_version" => some(out, &self.version),
            b"subject_peer_certificate" => some(out, &self.peer_subject),
            b"subject_local_certificate" => some(out, &self.local_subject),
            b"dns_san_peer_certificate" => first(&self.peer_dns_names, out),
            b"dns_san_local_certificate" => first(&self.local_dns_names, out),
            b"uri_san_peer_certificate" => first(&self.peer_uris, out),
            b"uri_san_local_certificate" => first(&self.local_uris, out),
            b"sha256_peer_certificate_digest" => some(out, &self.peer_digest),
            _ => Err(Status::NotFound),
        }
    }
}

impl Around<'_> {
    pub(super) fn upstream(&self, rest: Option<&[u8]>, out: &mut Vec<u8>) -> Found {
        let (field, rest) = split(rest.ok_or(Status::SerializationFailure)?);
        if let (b"request_attempt_count", None) = (field, rest) {
            return number(out, self.exchange.ok_or(Status::NotFound)?.attempts);
        }
        if let (b"num_endpoints", None) = (field, rest) {
            return number(out, self.cluster.ok_or(Status::NotFound)?.endpoints);
        }
        let host = self.host.ok_or(Status::NotFound)?;
        match (field, rest) {
            (b"address", None) => text(out, &host.address.ok_or(Status::NotFound)?.to_string()),
            (b"port", None) => number(out, host.address.ok_or(Status::NotFound)?.port().into()),
            (b"local_address", None) => text(out, &host.local_address.ok_or(Status::NotFound)?.to_string()),
            (b"locality", rest) => locality(&host.locality, rest, out),
            (b"transport_failure_reason", None) => Ok(()),
            (b"cx_pool_ready_duration", None) => {
                number(out, nanos(self.exchange.ok_or(Status::NotFound)?.connecting()))
            }
            (field, None) => host.tls.as_ref().ok_or(Status::NotFound)?.property(field, out),
            _ => Err(Status::NotFound),
        }
    }
}

/// One end of the client's connection.
pub(super) fn end(rest: Option<&[u8]>, address: Option<SocketAddr>, out: &mut Vec<u8>) -> Found {
    match (rest.ok_or(Status::SerializationFailure)?, address) {
        (b"address", Some(address)) => text(out, &address.to_string()),
        (b"port", Some(address)) => number(out, address.port().into()),
        _ => Err(Status::NotFound),
    }
}
