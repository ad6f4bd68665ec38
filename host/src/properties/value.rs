//! The encodings that plugins get properties in.

use serde_json::Value;

use super::Found;
use crate::abi::Status;
use crate::headers::HeaderMap;
use crate::pairs;
use crate::protobuf;
use crate::surroundings::{Locality, Metadata, Struct};

/// The first segment, and the others if there are some.
pub(super) fn split(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    match path.iter().position(|byte| *byte == 0) {
        Some(at) => (path.get(..at).unwrap_or_default(), path.get(at + 1..)),
        None => (path, None),
    }
}

pub(super) fn text(out: &mut Vec<u8>, value: &str) -> Found {
    out.extend_from_slice(value.as_bytes());
    Ok(())
}

/// A text that need not be there.
pub(super) fn some(out: &mut Vec<u8>, value: &str) -> Found {
    if value.is_empty() { Err(Status::NotFound) } else { text(out, value) }
}

pub(super) fn number(out: &mut Vec<u8>, value: u64) -> Found {
    out.extend_from_slice(&value.to_le_bytes());
    Ok(())
}

pub(super) fn flag(out: &mut Vec<u8>, value: bool) -> Found {
    out.push(value.into());
    Ok(())
}

/// A whole header map; values of one name are joined, and an absent map is an empty one.
pub(super) fn headers(headers: Option<&HeaderMap>, out: &mut Vec<u8>) -> Found {
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

/// All values of one header, joined.
pub(super) fn header(headers: Option<&HeaderMap>, name: &[u8], out: &mut Vec<u8>) -> Found {
    let mut values = headers.ok_or(Status::NotFound)?.get_all(name);
    out.extend_from_slice(values.next().ok_or(Status::NotFound)?);
    for value in values {
        out.push(b',');
        out.extend_from_slice(value);
    }
    Ok(())
}

/// A message of metadata, or what a path leads to in it.
pub(super) fn metadata(metadata: &Metadata, path: Option<&[u8]>, out: &mut Vec<u8>) -> Found {
    let Some(path) = path else {
        protobuf::metadata(metadata, out);
        return Ok(());
    };
    match split(path) {
        (b"filter_metadata", None) => structure(metadata, out),
        (b"filter_metadata", Some(rest)) => drill(metadata, rest, out),
        (b"typed_filter_metadata", None) => structure(&Struct::new(), out),
        _ => Err(Status::NotFound),
    }
}

/// A message of a locality, or one of its names.
pub(super) fn locality(locality: &Locality, path: Option<&[u8]>, out: &mut Vec<u8>) -> Found {
    match path {
        None => {
            protobuf::locality(locality, out);
            Ok(())
        }
        Some(b"region") => text(out, &locality.region),
        Some(b"zone") => text(out, &locality.zone),
        Some(b"sub_zone") => text(out, &locality.sub_zone),
        Some(_) => Err(Status::NotFound),
    }
}

/// Follows a path through a `Struct`, and encodes what is there.
pub(super) fn drill(fields: &Struct, path: &[u8], out: &mut Vec<u8>) -> Found {
    let (name, mut rest) = split(path);
    let mut value = std::str::from_utf8(name).ok().and_then(|name| fields.get(name)).ok_or(Status::NotFound)?;
    while let Some(path) = rest {
        let (name, further) = split(path);
        let name = std::str::from_utf8(name).map_err(|_| Status::NotFound)?;
        let inner = match value {
            Value::Object(fields) => fields.get(name),
            Value::Array(items) => name.parse::<usize>().ok().and_then(|index| items.get(index)),
            _ => None,
        };
        value = inner.ok_or(Status::NotFound)?;
        rest = further;
    }
    encode(value, out)
}

/// A null, and all that contains one, cannot be encoded.
fn encode(value: &Value, out: &mut Vec<u8>) -> Found {
    match value {
        Value::Null => Err(Status::SerializationFailure),
        Value::Bool(value) => flag(out, *value),
        Value::Number(value) => {
            out.extend_from_slice(&value.as_f64().unwrap_or_default().to_le_bytes());
            Ok(())
        }
        Value::String(value) => text(out, value),
        Value::Array(list) => {
            let mut items = Vec::with_capacity(list.len());
            for item in list {
                let mut bytes = Vec::new();
                encode(item, &mut bytes)?;
                items.push(bytes);
            }
            pairs::encode(items.iter().map(|item| (item.as_slice(), &b""[..])), out);
            Ok(())
        }
        Value::Object(fields) => structure(fields, out),
    }
}

/// A `Struct` as a map.
pub(super) fn structure(fields: &Struct, out: &mut Vec<u8>) -> Found {
    let mut items = Vec::with_capacity(fields.len());
    for (name, value) in fields {
        let mut bytes = Vec::new();
        encode(value, &mut bytes)?;
        items.push((name.as_bytes(), bytes));
    }
    pairs::encode(items.iter().map(|(name, value)| (*name, value.as_slice())), out);
    Ok(())
}
