//! `xds.*`: what the proxy's configuration says about itself and about the exchange.

use super::value::{drill, locality, metadata, number, split, structure, text};
use super::{Around, Found};
use crate::abi::Status;
use crate::protobuf;
use crate::surroundings::{Metadata, Node};
use crate::vm::VmState;

impl VmState {
    pub(super) fn xds(&self, rest: Option<&[u8]>, out: &mut Vec<u8>) -> Found {
        let (field, rest) = split(rest.ok_or(Status::SerializationFailure)?);
        if field == b"node" {
            return self.services.node().property(rest, out);
        }
        if (field, rest) == (b"listener_direction", None) {
            return number(out, self.around()?.listener.direction as u64);
        }
        self.around()?.xds(field, rest, out)
    }
}

impl Around<'_> {
    fn xds(&self, field: &[u8], rest: Option<&[u8]>, out: &mut Vec<u8>) -> Found {
        let listener = self.listener;
        let route = || self.route.ok_or(Status::NotFound);
        let cluster = || self.cluster.ok_or(Status::NotFound);
        let virtual_host = || self.virtual_host.ok_or(Status::NotFound);
        let host = || self.host.ok_or(Status::NotFound);
        let metadata_of: &Metadata = match field {
            b"listener_metadata" => &listener.metadata,
            b"route_metadata" => &route()?.metadata,
            b"cluster_metadata" => &cluster()?.metadata,
            b"virtual_host_metadata" => &virtual_host()?.metadata,
            b"upstream_host_metadata" => &host()?.metadata,
            // Envoy has none where the configuration says nothing, and cannot put nothing into bytes.
            b"upstream_host_locality_metadata" if rest.is_none() && host()?.locality_metadata.is_empty() => {
                return Err(Status::SerializationFailure);
            }
            b"upstream_host_locality_metadata" => &host()?.locality_metadata,
            _ => {
                return match (field, rest) {
                    (b"cluster_name", None) => text(out, &cluster()?.name),
                    (b"route_name", None) => text(out, &route()?.name),
                    (b"virtual_host_name", None) => text(out, &virtual_host()?.name),
                    (b"filter_chain_name", None) => text(out, &listener.filter_chain),
                    _ => Err(Status::NotFound),
                };
            }
        };
        metadata(metadata_of, rest, out)
    }
}

impl Node {
    fn property(&self, path: Option<&[u8]>, out: &mut Vec<u8>) -> Found {
        let Some(path) = path else {
            protobuf::node(self, out);
            return Ok(());
        };
        match split(path) {
            (b"id", None) => text(out, &self.id),
            (b"cluster", None) => text(out, &self.cluster),
            (b"user_agent_name", None) => text(out, "envoy"),
            (b"metadata", None) => structure(&self.metadata, out),
            (b"metadata", Some(rest)) => drill(&self.metadata, rest, out),
            (b"locality", rest) => locality(&self.locality, rest, out),
            _ => Err(Status::NotFound),
        }
    }
}
