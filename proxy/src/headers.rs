//! Headers between hyper and the plugins; those of a request from a client are `request_head`'s.

use bytes::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::response;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use wasmplugin_host::headers::HeaderMap;

use crate::date::Date;

/// A response's headers as plugins see them.
pub(crate) fn response_head(parts: &response::Parts, service_time: u128) -> HeaderMap {
    let mut block = Block::with_capacity(parts.headers.len() + 2);
    block.add(b":status", parts.status.as_str().as_bytes());
    for (name, value) in &parts.headers {
        block.add(name.as_str().as_bytes(), value.as_bytes());
    }
    block.add(b"x-envoy-upstream-service-time", service_time.to_string().as_bytes());
    block.into_headers()
}

/// Trailers as plugins see them.
pub(crate) fn from_trailers(trailers: &hyper::HeaderMap) -> HeaderMap {
    let mut block = Block::with_capacity(trailers.len());
    for (name, value) in trailers {
        block.add(name.as_str().as_bytes(), value.as_bytes());
    }
    block.into_headers()
}

/// Trailers as hyper sends them.
pub(crate) fn trailers(trailers: &HeaderMap) -> hyper::HeaderMap {
    let mut map = hyper::HeaderMap::with_capacity(trailers.len());
    copy(trailers, &mut map, |_| true);
    map
}

/// A header that cannot go over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadHeader(pub(crate) String);

/// The request as a server gets it.
pub(crate) fn to_server<B>(headers: &HeaderMap, http2: bool, end: bool, body: B) -> Result<Request<B>, BadHeader> {
    let bad = |name: &str| BadHeader(name.to_owned());
    let text = |name: &[u8]| headers.get(name).cloned().unwrap_or_default();
    let mut request = Request::new(body);
    let method = text(b":method");
    *request.method_mut() = Method::from_bytes(&method).map_err(|_| bad(":method"))?;
    let path = PathAndQuery::from_maybe_shared(text(b":path")).map_err(|_| bad(":path"))?;
    let authority = text(b":authority");
    let mut uri = hyper::http::uri::Parts::default();
    uri.path_and_query = Some(path);
    let map = request.headers_mut();
    map.reserve(headers.len() + 1);
    if http2 {
        let https = headers.get(b":scheme").is_some_and(|scheme| scheme == "https");
        uri.scheme = Some(if https { Scheme::HTTPS } else { Scheme::HTTP });
        uri.authority = Some(Authority::from_maybe_shared(authority).map_err(|_| bad(":authority"))?);
    } else {
        let host = HeaderValue::from_maybe_shared(authority).map_err(|_| bad(":authority"))?;
        map.insert(header::HOST, host);
    }
    copy(headers, map, |name| !is_hop_by_hop(name) && *name != header::HOST);
    if !http2 && !map.contains_key(header::CONTENT_LENGTH) {
        match (end, has_no_body(&method)) {
            (false, _) => drop(map.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"))),
            (true, false) => drop(map.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"))),
            (true, true) => {}
        }
    }
    *request.uri_mut() = Uri::from_parts(uri).map_err(|_| bad(":path"))?;
    *request.version_mut() = if http2 { Version::HTTP_2 } else { Version::HTTP_11 };
    Ok(request)
}

/// Whether a request of this method says nothing about a body that it has not (RFC 9110, 8.6), as Envoy has it.
fn has_no_body(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"DELETE" | b"TRACE" | b"CONNECT")
}

/// The response as the client gets it.
pub(crate) fn to_client<B>(headers: &HeaderMap, date: &Date, body: B) -> Response<B> {
    let mut response = Response::new(body);
    let status = headers.get(b":status").and_then(|status| StatusCode::from_bytes(status).ok());
    // Plugins may answer with any number; what no client would understand becomes a plain failure.
    *response.status_mut() =
        status.filter(|status| !status.is_informational()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let map = response.headers_mut();
    map.reserve(headers.len() + 2);
    copy(headers, map, |name| !is_hop_by_hop(name));
    if !map.contains_key(header::DATE) {
        map.insert(header::DATE, date.now());
    }
    map.insert(header::SERVER, HeaderValue::from_static("envoy"));
    response
}

/// Whether a header is about one connection only.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    match *name {
        header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE => true,
        _ => matches!(name.as_str(), "keep-alive" | "proxy-connection"),
    }
}

/// Copies what can go over the wire; pseudo headers have their own places.
fn copy(from: &HeaderMap, to: &mut hyper::HeaderMap, keep: impl Fn(&HeaderName) -> bool) {
    for (name, value) in from.iter().filter(|(name, _)| name.first() != Some(&b':')) {
        match (HeaderName::from_bytes(name), HeaderValue::from_maybe_shared(value.clone())) {
            (Ok(name), Ok(value)) => {
                if keep(&name) {
                    to.append(name, value);
                }
            }
            _ => log::warn!("a plugin has set the header `{}`, which cannot be sent: dropped", name.escape_ascii()),
        }
    }
}

/// Headers that share one allocation.
pub(crate) struct Block {
    bytes: Vec<u8>,
    /// Where each name and each value ends.
    ends: Vec<(usize, usize)>,
}

impl Block {
    pub(crate) fn with_capacity(headers: usize) -> Self {
        Self { bytes: Vec::with_capacity(headers * 40), ends: Vec::with_capacity(headers) }
    }

    pub(crate) fn add(&mut self, name: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(name);
        let middle = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((middle, self.bytes.len()));
    }

    pub(crate) fn into_headers(self) -> HeaderMap {
        let bytes = Bytes::from(self.bytes);
        let mut start = 0;
        let pairs = self.ends.into_iter().map(|(middle, end)| {
            let pair = (bytes.slice(start..middle), bytes.slice(middle..end));
            start = end;
            pair
        });
        HeaderMap::from_pairs(pairs.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_get_a_host_and_a_framing() {
        let headers: HeaderMap = [
            (":authority", "h"),
            (":path", "/x"),
            (":method", "POST"),
            (":scheme", "http"),
            ("connection", "x"),
            ("a", "1"),
            ("a", "2"),
        ]
        .into_iter()
        .collect();
        let request = to_server(&headers, false, false, ()).unwrap();
        assert_eq!(request.uri(), "/x");
        assert_eq!(
            format!("{:?}", request.headers()),
            r#"{"host": "h", "a": "1", "a": "2", "transfer-encoding": "chunked"}"#
        );
        let request = to_server(&headers, false, true, ()).unwrap();
        assert_eq!(format!("{:?}", request.headers()), r#"{"host": "h", "a": "1", "a": "2", "content-length": "0"}"#);
        let request = to_server(&headers, true, true, ()).unwrap();
        assert_eq!(request.uri(), "http://h/x");
        assert_eq!(format!("{:?}", request.headers()), r#"{"a": "1", "a": "2"}"#);
    }

    #[test]
    fn clients_get_server_and_date() {
        let headers: HeaderMap =
            [(":status", "201"), ("server", "x"), ("transfer-encoding", "chunked"), ("bad name", "1")]
                .into_iter()
                .collect();
        let response = to_client(&headers, &Date::default(), ());
        assert_eq!(response.status(), 201);
        assert_eq!(response.headers()["server"], "envoy");
        assert_eq!(response.headers().len(), 2);
        let odd: HeaderMap = [(":status", "7")].into_iter().collect();
        assert_eq!(to_client(&odd, &Date::default(), ()).status(), 500);
    }
}
