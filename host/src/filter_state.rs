//! Filter state: objects that filters leave with an exchange for those behind them.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use crate::abi::Status;
use crate::protobuf::{self, Field};
use crate::surroundings::Struct;

/// What a plugin's own objects are called in front of their name.
pub(crate) const PREFIX: &[u8] = b"wasm.";

/// The type whose fields can be looked into.
const STRUCT: &[u8] = b"type.googleapis.com/google.protobuf.Struct";

/// The objects of Envoy that `set_envoy_filter_state` can make, and what their values must be.
const FACTORIES: [(&str, Takes); 17] = [
    ("envoy.bool", Takes::Text),
    ("envoy.filters.listener.original_dst.local_ip", Takes::Address),
    ("envoy.filters.listener.original_dst.remote_ip", Takes::Address),
    ("envoy.hashable_string", Takes::Text),
    ("envoy.network.application_protocols", Takes::Text),
    ("envoy.network.ip", Takes::Ip),
    ("envoy.network.network_namespace", Takes::Text),
    ("envoy.network.transport_socket.original_dst_address", Takes::Address),
    ("envoy.network.upstream_server_name", Takes::Text),
    ("envoy.network.upstream_subject_alt_names", Takes::Text),
    ("envoy.ratelimit.hits_addend", Takes::Number),
    ("envoy.string", Takes::Text),
    ("envoy.tcp_proxy.cluster", Takes::Text),
    ("envoy.tcp_proxy.disable_tunneling", Takes::Text),
    ("envoy.tcp_proxy.per_connection_idle_timeout_ms", Takes::Number),
    ("envoy.upstream.dynamic_host", Takes::Text),
    ("envoy.upstream.dynamic_port", Takes::Number),
];

#[derive(Clone, Copy)]
enum Takes {
    Text,
    Number,
    Ip,
    Address,
}

/// The objects of one exchange, by name.
#[derive(Debug, Default)]
pub(crate) struct FilterState(Vec<(Bytes, Object)>);

/// One object.
#[derive(Debug)]
struct Object {
    value: Bytes,
    readonly: bool,
    /// It is a `Struct` by declaration.
    has_fields: bool,
}

/// What a plugin has declared about the objects of one name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Declaration {
    readonly: bool,
    has_fields: bool,
}

impl FilterState {
    /// What a plugin stores under a name of its own.
    pub(crate) fn set(&mut self, name: &[u8], value: &[u8], declared: Option<&Declaration>) -> Result<(), Status> {
        let Declaration { readonly, has_fields } = declared.cloned().unwrap_or_default();
        let name = [PREFIX, name].concat();
        if self.0.iter().any(|(have, object)| *have == name && object.readonly) {
            return Err(Status::BadArgument);
        }
        self.put(name.into(), Object { value: Bytes::copy_from_slice(value), readonly, has_fields });
        Ok(())
    }

    /// What another filter has left; a plugin reads it as bytes.
    pub(crate) fn leave(&mut self, name: &str, value: impl Into<Bytes>) {
        let name = Bytes::copy_from_slice(name.as_bytes());
        self.put(name, Object { value: value.into(), readonly: false, has_fields: false });
    }

    /// An object of Envoy's own, made from the argument of `set_envoy_filter_state`.
    pub(crate) fn make(&mut self, argument: &[u8]) -> Result<(), Status> {
        let fields = protobuf::read(argument).ok_or(Status::BadArgument)?;
        let bytes = |number| fields.iter().rev().find_map(|field| bytes_of(*field, number)).unwrap_or_default();
        let (name, value) = (bytes(1), bytes(2));
        let known = FACTORIES.iter().find(|(known, _)| known.as_bytes() == name);
        let (name, takes) = known.ok_or(Status::NotFound)?;
        let value = std::str::from_utf8(value).map_err(|_| Status::BadArgument)?;
        let value = match takes {
            Takes::Text => Some(value.to_owned()),
            Takes::Number => value.parse::<u64>().ok().map(|number| number.to_string()),
            // Shown like an address with a port.
            Takes::Ip => value.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 0).to_string()),
            Takes::Address => value.parse::<SocketAddr>().ok().map(|address| address.to_string()),
        };
        self.leave(name, value.ok_or(Status::BadArgument)?);
        Ok(())
    }

    /// All objects by their full names.
    #[cfg(feature = "foreign")]
    pub(crate) fn objects(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.0.iter().map(|(name, object)| (name, &object.value))
    }

    /// The object of a name with all its bytes.
    pub(crate) fn bytes(&self, name: &[u8]) -> Option<&Bytes> {
        self.find(name).map(|object| &object.value)
    }

    /// The fields of an object that has some.
    pub(crate) fn fields(&self, name: &[u8]) -> Option<Struct> {
        let object = self.find(name).filter(|object| object.has_fields)?;
        protobuf::read_struct(&object.value)
    }

    fn find(&self, name: &[u8]) -> Option<&Object> {
        self.0.iter().find(|(have, _)| have == name).map(|(_, object)| object)
    }

    fn put(&mut self, name: Bytes, object: Object) {
        match self.0.iter_mut().find(|(have, _)| *have == name) {
            Some((_, present)) => *present = object,
            None => self.0.push((name, object)),
        }
    }
}

impl Declaration {
    /// Reads the argument of `declare_property`: the name, and what is said about it.
    pub(crate) fn read(argument: &[u8]) -> Result<(Bytes, Self), Status> {
        const PROTOBUF: u64 = 3;
        let (mut name, mut readonly, mut kind, mut schema) = (&b""[..], false, 0, &b""[..]);
        for field in protobuf::read(argument).ok_or(Status::BadArgument)? {
            match field {
                (1, Field::Bytes(text)) => name = text,
                (2, Field::Number(flag)) => readonly = flag != 0,
                (3, Field::Number(number)) => kind = number,
                (4, Field::Bytes(text)) => schema = text,
                _ => {}
            }
        }
        let has_fields = kind == PROTOBUF && schema == STRUCT;
        Ok((Bytes::copy_from_slice(name), Self { readonly, has_fields }))
    }
}

fn bytes_of<'a>(field: (u64, Field<'a>), number: u64) -> Option<&'a [u8]> {
    match field {
        (have, Field::Bytes(bytes)) if have == number => Some(bytes),
        _ => None,
    }
}
