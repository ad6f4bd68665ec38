//! Messages of Envoy's configuration, as JSON.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::surroundings::Metadata;

/// An address, as Envoy's configuration has it.
pub fn address(of: SocketAddr) -> Value {
    json!({"socket_address": {"address": of.ip().to_string(), "port_value": of.port()}})
}

/// A message in an `Any`, by its name.
pub fn typed(message: &str, fields: Value) -> Value {
    let mut fields = fields;
    put(&mut fields, "@type", json!(format!("type.googleapis.com/{message}")));
    fields
}

/// Sets a field of an object.
pub fn put(object: &mut Value, key: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(key.to_owned(), value);
    }
}

/// Metadata of whatever has some.
pub(super) fn metadata(metadata: &Metadata) -> Value {
    json!({"filter_metadata": metadata})
}

/// Bounds what a listener or cluster buffers of each connection.
pub(super) fn limit(to: &mut Value, buffer_limit: Option<usize>) {
    if let Some(bytes) = buffer_limit {
        put(to, "per_connection_buffer_limit_bytes", json!(bytes));
    }
}

/// Bytes as Envoy wants a plugin's configuration: text as it is, anything else in base 64.
pub(super) fn any(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => typed("google.protobuf.StringValue", json!({"value": text})),
        Err(_) => typed("google.protobuf.BytesValue", json!({"value": base64(bytes)})),
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = DIGITS.get((bits >> (18 - 6 * place) & 63) as usize);
            let shown = if place <= group.len() { digit.copied() } else { None };
            text.push(char::from(shown.unwrap_or(b'=')));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads() {
        assert_eq!(base64(b""), "");
        assert_eq!(base64(b"f"), "Zg==");
        assert_eq!(base64(b"fo"), "Zm8=");
        assert_eq!(base64(b"foobar"), "Zm9vYmFy");
    }
}
