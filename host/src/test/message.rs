//! What goes over the wire in a test: headers, a request as a server saw it, a response as the client saw it.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::grpc::Frames;

/// Header fields in order: names in lower case, a name as often as it was sent.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(Bytes, Bytes)>);

impl Headers {
    /// No fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a field; the name is lower-cased.
    pub fn add(&mut self, name: impl AsRef<[u8]>, value: impl Into<Bytes>) {
        self.0.push((name.as_ref().to_ascii_lowercase().into(), value.into()));
    }

    /// Puts the field in the place of the first one of that name, and drops the others.
    pub fn set(&mut self, name: impl AsRef<[u8]>, value: impl Into<Bytes>) {
        let name = Bytes::from(name.as_ref().to_ascii_lowercase());
        let value = value.into();
        match self.0.iter().position(|(other, _)| *other == name) {
            Some(place) => {
                let mut index = 0;
                self.0.retain(|(other, _)| {
                    index += 1;
                    index - 1 <= place || *other != name
                });
                if let Some(field) = self.0.get_mut(place) {
                    field.1 = value;
                }
            }
            None => self.0.push((name, value)),
        }
    }

    /// Drops every field of that name.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(other, _)| !other.eq_ignore_ascii_case(name.as_bytes()));
    }

    /// The first value of that name; nothing if it is absent or not UTF-8.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.get_bytes(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The first value of that name, whatever its bytes.
    pub fn get_bytes(&self, name: &str) -> Option<&Bytes> {
        self.0.iter().find(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// Every value of that name, in order; what is not UTF-8 is left out.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes()))
            .filter_map(|(_, value)| std::str::from_utf8(value).ok())
            .collect()
    }

    /// Whether there is a field of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.get_bytes(name).is_some()
    }

    /// The fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// How many fields there are, pseudo headers included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<N: AsRef<[u8]>, V: Into<Bytes>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        let mut headers = Self::new();
        headers.extend(fields);
        headers
    }
}

impl<N: AsRef<[u8]>, V: Into<Bytes>> Extend<(N, V)> for Headers {
    fn extend<I: IntoIterator<Item = (N, V)>>(&mut self, fields: I) {
        for (name, value) in fields {
            self.add(name, value);
        }
    }
}

impl IntoIterator for Headers {
    type Item = (Bytes, Bytes);
    type IntoIter = std::vec::IntoIter<(Bytes, Bytes)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Reads like a dump of the message: a failed assertion on headers shows one field per line under `{:#?}`.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(name, value)| (String::from_utf8_lossy(name), String::from_utf8_lossy(value))))
            .finish()
    }
}

/// A request as the upstream or a callout cluster saw it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Request {
    headers: Headers,
    body: Vec<u8>,
    trailers: Headers,
    complete: bool,
}

impl Request {
    /// A whole request.
    pub fn new(headers: Headers, body: impl Into<Vec<u8>>, trailers: Headers) -> Self {
        Self { headers, body: body.into(), trailers, complete: true }
    }

    /// A request of which more, or a cut, is to come.
    pub(super) fn begun(headers: Headers) -> Self {
        Self { headers, ..Self::default() }
    }

    /// A further piece of the body.
    pub(super) fn more(&mut self, data: &[u8]) {
        self.body.extend_from_slice(data);
    }

    /// It is whole now.
    pub(super) fn end(&mut self, trailers: Headers) {
        self.trailers = trailers;
        self.complete = true;
    }

    /// Such as `GET`; empty if there is none.
    pub fn method(&self) -> &str {
        self.headers.get(":method").unwrap_or_default()
    }

    /// Path and query; empty if there is none.
    pub fn path(&self) -> &str {
        self.headers.get(":path").unwrap_or_default()
    }

    /// The host that was asked; empty if there is none.
    pub fn authority(&self) -> &str {
        self.headers.get(":authority").unwrap_or_default()
    }

    /// The first value of that header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// All headers, pseudo headers included.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The body as far as it came.
    pub fn body(&self) -> Bytes {
        Bytes::copy_from_slice(&self.body)
    }

    /// The messages of a gRPC request, as far as they are whole.
    pub fn messages(&self) -> Vec<Bytes> {
        let mut frames = Frames::default();
        frames.feed(&self.body);
        std::iter::from_fn(|| frames.take().ok().flatten()).collect()
    }

    /// The body as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// The trailers; mostly none.
    pub fn trailers(&self) -> &Headers {
        &self.trailers
    }

    /// Whether it came to its end; a server that is still reading, or was left alone, has seen less.
    pub fn is_complete(&self) -> bool {
        self.complete
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("headers", &self.headers)
            .field("body", &self.body())
            .field("trailers", &self.trailers)
            .field("complete", &self.complete)
            .finish()
    }
}

/// A response as the client saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    headers: Headers,
    chunks: Vec<Bytes>,
    trailers: Headers,
}

impl Response {
    /// A response of these parts; the headers carry `:status`.
    pub fn new(headers: Headers, chunks: Vec<Bytes>, trailers: Headers) -> Self {
        Self { headers, chunks, trailers }
    }

    /// Such as 200; 0 if there is none.
    pub fn status(&self) -> u16 {
        self.header(":status").and_then(|status| status.parse().ok()).unwrap_or_default()
    }

    /// The first value of that header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// All headers, `:status` included.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The whole body.
    pub fn body(&self) -> Bytes {
        match self.chunks.as_slice() {
            [] => Bytes::new(),
            [whole] => whole.clone(),
            chunks => chunks.concat().into(),
        }
    }

    /// The body in the pieces that arrived; over real sockets these depend on the weather.
    pub fn chunks(&self) -> &[Bytes] {
        &self.chunks
    }

    /// The body as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body()).into_owned()
    }

    /// The body as JSON; null if it is not.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body()).unwrap_or_default()
    }

    /// The first value of that trailer.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.get(name)
    }

    /// The trailers; mostly none.
    pub fn trailers(&self) -> &Headers {
        &self.trailers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_names_are_lower_case_and_values_keep_their_order() {
        let headers: Headers = [("X-A", "1"), ("b", "2"), ("x-a", "3")].into_iter().collect();
        assert_eq!(headers.get("X-a"), Some("1"));
        assert_eq!(headers.all("x-a"), ["1", "3"]);
        assert_eq!(format!("{headers:?}"), r#"{"x-a": "1", "b": "2", "x-a": "3"}"#);
    }

    #[test]
    fn set_keeps_the_place_and_drops_the_others() {
        let mut headers: Headers = [("a", "1"), ("b", "2"), ("a", "3")].into_iter().collect();
        headers.set("A", "9");
        headers.set("c", "4");
        assert_eq!(headers, [("a", "9"), ("b", "2"), ("c", "4")].into_iter().collect());
    }

    #[test]
    fn a_response_joins_its_chunks() {
        let headers = [(":status", "201")].into_iter().collect();
        let response = Response::new(headers, vec!["{\"a\":".into(), "1}".into()], Headers::new());
        assert_eq!(response.status(), 201);
        assert_eq!(response.body(), "{\"a\":1}");
        assert_eq!(response.json(), serde_json::json!({"a": 1}));
    }

    #[test]
    fn a_value_that_is_not_text_is_still_there() {
        let headers: Headers = [("a", &b"\xff"[..])].into_iter().collect();
        assert_eq!(headers.get("a"), None);
        assert_eq!(headers.get_bytes("a").unwrap(), &b"\xff"[..]);
    }
}
