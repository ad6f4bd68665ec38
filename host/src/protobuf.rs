//! The few protobuf messages that properties and foreign functions carry, written and read without generated code.

use serde_json::Value;

use crate::surroundings::{Locality, Metadata, Node, Struct};

/// How deep a message may nest; Envoy's own reader stops at the same depth.
const DEPTH: usize = 100;

/// Appends `envoy.config.core.v3.Metadata`.
pub(crate) fn metadata(metadata: &Metadata, out: &mut Vec<u8>) {
    let empty = Struct::new();
    for (namespace, fields) in metadata {
        let entry = entry(namespace, |out| structure(fields.as_object().unwrap_or(&empty), out));
        bytes(1, &entry, out);
    }
}

/// Appends `google.protobuf.Struct`.
pub(crate) fn structure(fields: &Struct, out: &mut Vec<u8>) {
    for (name, field) in fields {
        let entry = entry(name, |out| value(field, out));
        bytes(1, &entry, out);
    }
}

/// Appends `envoy.config.core.v3.Locality`.
pub(crate) fn locality(locality: &Locality, out: &mut Vec<u8>) {
    for (number, name) in [(1, &locality.region), (2, &locality.zone), (3, &locality.sub_zone)] {
        if !name.is_empty() {
            bytes(number, name.as_bytes(), out);
        }
    }
}

/// Appends `envoy.config.core.v3.Node`, without the list of extensions that makes the real one long.
pub(crate) fn node(node: &Node, out: &mut Vec<u8>) {
    bytes(1, node.id.as_bytes(), out);
    bytes(2, node.cluster.as_bytes(), out);
    let mut inner = Vec::new();
    structure(&node.metadata, &mut inner);
    bytes(3, &inner, out);
    inner.clear();
    locality(&node.locality, &mut inner);
    if !inner.is_empty() {
        bytes(4, &inner, out);
    }
    bytes(6, b"envoy", out);
}

fn entry(key: &str, value: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut inner = Vec::new();
    value(&mut inner);
    let mut entry = Vec::with_capacity(key.len() + inner.len() + 4);
    bytes(1, key.as_bytes(), &mut entry);
    bytes(2, &inner, &mut entry);
    entry
}

/// `google.protobuf.Value`.
fn value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(&[1 << 3, 0]),
        Value::Number(number) => {
            out.push(2 << 3 | 1);
            out.extend_from_slice(&number.as_f64().unwrap_or_default().to_le_bytes());
        }
        Value::String(text) => bytes(3, text.as_bytes(), out),
        Value::Bool(flag) => out.extend_from_slice(&[4 << 3, (*flag).into()]),
        Value::Object(fields) => {
            let mut inner = Vec::new();
            structure(fields, &mut inner);
            bytes(5, &inner, out);
        }
        Value::Array(items) => {
            let mut list = Vec::new();
            for item in items {
                let mut inner = Vec::new();
                self::value(item, &mut inner);
                bytes(1, &inner, &mut list);
            }
            bytes(6, &list, out);
        }
    }
}

fn bytes(number: u8, value: &[u8], out: &mut Vec<u8>) {
    out.push(number << 3 | 2);
    let mut length = value.len();
    while length >= 0x80 {
        out.push(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
        length >>= 7;
    }
    out.push(u8::try_from(length).unwrap_or_default());
    out.extend_from_slice(value);
}

/// One field of a message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Field<'a> {
    /// Any whole number, or a flag.
    Number(u64),
    /// A `double`.
    Double(f64),
    /// A text, bytes, or a message.
    Bytes(&'a [u8]),
    /// Four bytes, which none of our messages has.
    Fixed,
}

/// The fields of a message with their numbers; `None` if it is none.
pub(crate) fn read(mut message: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut message)?),
            1 => Field::Double(f64::from_le_bytes(*take(&mut message, 8)?.first_chunk()?)),
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                Field::Bytes(take(&mut message, length)?)
            }
            5 => {
                take(&mut message, 4)?;
                Field::Fixed
            }
            _ => return None,
        };
        if tag >> 3 == 0 {
            return None;
        }
        fields.push((tag >> 3, field));
    }
    Some(fields)
}

/// Reads a `google.protobuf.Struct`.
pub(crate) fn read_struct(message: &[u8]) -> Option<Struct> {
    read_fields(message, DEPTH)
}

fn read_fields(message: &[u8], depth: usize) -> Option<Struct> {
    let depth = depth.checked_sub(1)?;
    let mut fields = Struct::new();
    for (number, field) in read(message)? {
        let (1, Field::Bytes(entry)) = (number, field) else { continue };
        let (mut name, mut value) = (String::new(), Value::Null);
        for field in read(entry)? {
            match field {
                (1, Field::Bytes(text)) => name = String::from_utf8(text.to_vec()).ok()?,
                (2, Field::Bytes(message)) => value = read_value(message, depth)?,
                _ => {}
            }
        }
        fields.insert(name, value);
    }
    Some(fields)
}

fn read_value(message: &[u8], depth: usize) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    let mut value = Value::Null;
    for field in read(message)? {
        value = match field {
            (2, Field::Double(number)) => number.into(),
            (3, Field::Bytes(text)) => String::from_utf8(text.to_vec()).ok()?.into(),
            (4, Field::Number(flag)) => (flag != 0).into(),
            (5, Field::Bytes(message)) => Value::Object(read_fields(message, depth)?),
            (6, Field::Bytes(message)) => {
                let items = read(message)?.into_iter().filter_map(|field| match field {
                    (1, Field::Bytes(item)) => Some(read_value(item, depth)),
                    _ => None,
                });
                Value::Array(items.collect::<Option<_>>()?)
            }
            _ => continue,
        };
    }
    Some(value)
}

fn varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *take(from, 1)?.first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(from: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Struct {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn a_struct_is_read_as_it_was_written() {
        let fields =
            object(json!({"a": "x", "n": 1.5, "t": true, "z": null, "l": ["y", {"o": {}}], "long": "x".repeat(300)}));
        let mut message = Vec::new();
        structure(&fields, &mut message);
        assert_eq!(read_struct(&message), Some(fields));
    }

    #[test]
    fn metadata_is_what_envoy_sends() {
        let mut message = Vec::new();
        metadata(&object(json!({"vm": {"k": "v"}})), &mut message);
        assert_eq!(message, b"\x0a\x10\x0a\x02vm\x12\x0a\x0a\x08\x0a\x01k\x12\x03\x1a\x01v");
    }

    #[test]
    fn nesting_ends_somewhere() {
        let mut message = Vec::new();
        for _ in 0..200 {
            let mut outer = Vec::new();
            bytes(5, &message, &mut outer);
            message = entry("a", |out| out.extend_from_slice(&outer));
            message = [&[0x0a][..], &{
                let mut length = Vec::new();
                bytes(1, &message, &mut length);
                length.split_off(1)
            }]
            .concat();
        }
        assert_eq!(read_struct(&message), None);
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(message in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_struct(&message);
        }
    }
}
