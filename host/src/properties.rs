//! Envoy's attributes by path, in the encoding that plugins get them in.

mod message;
mod peer;
mod value;
mod xds;

use crate::abi::Status;
use crate::connection::Connection;
use crate::exchange::Exchange;
use crate::filter_state::{FilterState, PREFIX};
#[cfg(feature = "foreign")]
use crate::surroundings::Struct;
use crate::surroundings::{Cluster, Listener, Route, UpstreamHost, VirtualHost};
use crate::vm::{Root, VmState};
use value::{drill, metadata, number, split, structure, text};

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
            b"source" => peer::end(rest, self.connection()?.source, out),
            b"destination" => peer::end(rest, self.connection()?.destination, out),
            b"upstream" => self.around()?.upstream(rest, out),
            b"metadata" => metadata(&self.exchange()?.metadata, rest, out),
            b"filter_state" => object(self.filter_state()?, rest.ok_or(Status::SerializationFailure)?, out),
            b"upstream_filter_state" => {
                self.exchange()?.upstream.as_ref().ok_or(Status::NotFound)?;
                Err(rest.map_or(Status::SerializationFailure, |_| Status::NotFound))
            }
            name => own_object(self.filter_state()?, name, rest, out),
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

    /// Where the exchange or the connection goes, as far as that is known.
    fn around(&self) -> Result<Around<'_>, Status> {
        if let Some((tcp, _)) = self.tcp() {
            let (cluster, host) = (tcp.cluster.as_deref(), tcp.host.as_deref());
            let listener = tcp.entrance.listener();
            return Ok(Around { listener, exchange: None, route: None, virtual_host: None, cluster, host });
        }
        let exchange = self.exchange()?;
        let route = exchange.routing.route.as_deref();
        Ok(Around {
            listener: exchange.entrance.listener(),
            exchange: Some(exchange),
            route,
            virtual_host: exchange.routing.virtual_host.as_deref(),
            cluster: route.and_then(|route| route.cluster.as_deref()),
            host: exchange.upstream.as_deref(),
        })
    }

    /// The fields that an expression's name begins with, and the rest of the name, which leads into them.
    #[cfg(feature = "foreign")]
    pub(crate) fn fields<'n>(&self, name: &'n str) -> Option<(serde_json::Value, &'n str)> {
        let around = self.around().ok();
        let known: [(&str, Option<&Struct>); 7] = [
            ("xds.node.metadata", Some(&self.services.node().metadata)),
            ("xds.listener_metadata.filter_metadata", around.map(|around| &around.listener.metadata)),
            ("xds.cluster_metadata.filter_metadata", around.and_then(|around| Some(&around.cluster?.metadata))),
            ("xds.route_metadata.filter_metadata", around.and_then(|around| Some(&around.route?.metadata))),
            (
                "xds.virtual_host_metadata.filter_metadata",
                around.and_then(|around| Some(&around.virtual_host?.metadata)),
            ),
            ("xds.upstream_host_metadata.filter_metadata", around.and_then(|around| Some(&around.host?.metadata))),
            ("metadata.filter_metadata", around.and_then(|around| Some(&around.exchange?.metadata))),
        ];
        let is_next = |rest: &&str| rest.is_empty() || rest.starts_with('.');
        for (base, fields) in known {
            if let Some(rest) = name.strip_prefix(base).filter(is_next) {
                return Some((fields?.clone().into(), rest));
            }
        }
        let (object, _) = name.split_once('.').unwrap_or((name, ""));
        let fields = self.filter_state().ok()?.fields(&[PREFIX, object.as_bytes()].concat())?;
        Some((fields.into(), name.get(object.len()..)?))
    }

    pub(crate) fn filter_state(&self) -> Result<&FilterState, Status> {
        match self.tcp() {
            Some((tcp, _)) => Ok(&tcp.filter_state),
            None => Ok(&self.exchange()?.filter_state),
        }
    }
}

/// Where an exchange or a connection goes.
#[derive(Clone, Copy)]
struct Around<'a> {
    listener: &'a Listener,
    /// The exchange; none of a connection.
    exchange: Option<&'a Exchange>,
    route: Option<&'a Route>,
    virtual_host: Option<&'a VirtualHost>,
    cluster: Option<&'a Cluster>,
    host: Option<&'a UpstreamHost>,
}

/// An object of filter state by its full name: its fields if it has some, else its bytes.
fn object(objects: &FilterState, path: &[u8], out: &mut Vec<u8>) -> Found {
    let (name, rest) = split(path);
    match (objects.fields(name), rest) {
        (Some(fields), None) => structure(&fields, out),
        (Some(fields), Some(rest)) => drill(&fields, rest, out),
        (None, None) => bytes(objects, name, out),
        (None, Some(_)) => Err(Status::NotFound),
    }
}

/// An object that a plugin has stored, by its name there: all its bytes, or one of its fields.
fn own_object(objects: &FilterState, name: &[u8], rest: Option<&[u8]>, out: &mut Vec<u8>) -> Found {
    let name = [PREFIX, name].concat();
    match rest {
        None => bytes(objects, &name, out),
        Some(rest) => drill(&objects.fields(&name).ok_or(Status::NotFound)?, rest, out),
    }
}

fn bytes(objects: &FilterState, name: &[u8], out: &mut Vec<u8>) -> Found {
    out.extend_from_slice(objects.bytes(name).ok_or(Status::NotFound)?);
    Ok(())
}
