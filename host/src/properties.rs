//! Envoy's attributes by path, in the encoding that plugins get them in.

mod message;
mod peer;
mod value;
mod xds;

use crate::abi::Status;
use crate::connection::Connection;
use crate::exchange::Exchange;
use crate::filter_state::{FilterState, PREFIX};
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
            b"upstream" => self.exchange()?.upstream_property(rest, out),
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

    fn filter_state(&self) -> Result<&FilterState, Status> {
        match self.tcp() {
            Some((tcp, _)) => Ok(&tcp.filter_state),
            None => Ok(&self.exchange()?.filter_state),
        }
    }
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
