//! Why a request is refused before any plugin sees it, and what plugins are told of it afterwards.
//!
//! Statuses, words and what is told were measured on Envoy 1.40.

use hyper::header::{self, HeaderValue};
use hyper::http::request;
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Version};
use wasmplugin_host::headers::HeaderMap;
use wasmplugin_host::worker::LocalReply;

use crate::headers::Block;

/// The flag of a client that does not keep to the protocol (`DPE`).
const PROTOCOL_ERROR: u64 = 1 << 18;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// The body.
    text: &'static str,
    /// Why, as `response.code_details` tells it.
    details: &'static str,
    told: Told,
}

/// What of a request's headers its plugins can read at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// None: the codec has given up.
    Nothing,
    /// Those of the client.
    Head,
}

impl Refusal {
    /// What Envoy's codec says of bytes that it does not take for HTTP.
    pub(crate) const BAD: Self = Self::of_codec(400, "Bad Request", "http1.codec_error");
    pub(crate) const AUTHORITY: Self = Self::of_codec(400, "Bad Request", "http.invalid_authority");
    pub(crate) const URL: Self = Self::of_codec(400, "Bad Request", "http1.invalid_url");
    pub(crate) const SCHEME: Self = Self::of_codec(400, "Bad Request", "http1.invalid_scheme");
    pub(crate) const NOMINATED: Self = Self::of_codec(400, "Bad Request", "http1.connection_header_rejected");
    pub(crate) const OLD: Self = Self::of_codec(426, "Upgrade Required", "low_version");
    pub(crate) const ENCODING: Self = Self::of_codec(501, "Not Implemented", "http1.invalid_transfer_encoding");
    pub(crate) const LARGE: Self = Self::of_codec(431, LARGE, "http1.headers_too_large");
    pub(crate) const TOO_MANY: Self = Self::of_codec(431, LARGE, "http1.too_many_headers");
    pub(crate) const NO_HOST: Self = Self::of_head(400, "missing_host_header");
    pub(crate) const PATH: Self = Self::of_head(400, "path_normalization_failed");
    pub(crate) const NO_PATH: Self = Self::of_head(404, "absolute_path_rejected");
    pub(crate) const UPGRADE: Self = Self::of_head(403, "upgrade_failed");

    const fn of_codec(status: u16, text: &'static str, details: &'static str) -> Self {
        Self { status, text, details, told: Told::Nothing }
    }

    const fn of_head(status: u16, details: &'static str) -> Self {
        Self { status, text: "", details, told: Told::Head }
    }

    /// The answer.
    pub(crate) fn reply(self) -> LocalReply {
        let flags = if self.told == Told::Nothing { PROTOCOL_ERROR } else { 0 };
        LocalReply { flags, ..LocalReply::text(self.status.into(), self.text, self.details) }
    }

    /// What plugins can read of the request.
    pub(crate) fn head(self, parts: &request::Parts) -> Option<HeaderMap> {
        (self.told == Told::Head).then(|| as_sent(parts))
    }
}

const LARGE: &str = "Request Header Fields Too Large";

/// The client's headers, before the proxy has done anything to them.
fn as_sent(parts: &request::Parts) -> HeaderMap {
    let mut block = Block::with_capacity(parts.headers.len() + 3);
    let host = parts.headers.get(header::HOST).map(HeaderValue::as_bytes);
    if let Some(authority) = parts.uri.authority().map(|authority| authority.as_str().as_bytes()).or(host) {
        block.add(b":authority", authority);
    }
    if parts.method != Method::CONNECT {
        block.add(b":path", parts.uri.path_and_query().map_or("/", PathAndQuery::as_str).as_bytes());
    }
    block.add(b":method", parts.method.as_str().as_bytes());
    if parts.version == Version::HTTP_2
        && let Some(scheme) = parts.uri.scheme_str()
    {
        block.add(b":scheme", scheme.as_bytes());
    }
    for (name, value) in parts.headers.iter().filter(|(name, _)| *name != header::HOST) {
        block.add(name.as_str().as_bytes(), value.as_bytes());
    }
    block.into_headers()
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn parts(request: hyper::http::request::Builder) -> request::Parts {
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn of_what_the_codec_refuses_nothing_is_told() {
        assert_eq!(Refusal::BAD.head(&parts(Request::get("/").header("host", "h"))), None);
        let reply = Refusal::LARGE.reply();
        assert_eq!((reply.status, reply.flags), (431, PROTOCOL_ERROR));
    }

    #[test]
    fn of_what_was_read_the_clients_headers_are_told() {
        let head = Refusal::PATH.head(&parts(Request::get("/%00?a").header("host", "h").header("x-a", "1"))).unwrap();
        let told: Vec<_> = head.iter().map(|(n, v)| format!("{}={}", n.escape_ascii(), v.escape_ascii())).collect();
        assert_eq!(told, [":authority=h", ":path=/%00?a", ":method=GET", "x-a=1"]);
        let over_http2 = Request::get("http://h/%00").version(Version::HTTP_2);
        let head = Refusal::PATH.head(&parts(over_http2)).unwrap();
        assert_eq!(head.get(b":scheme").map(|scheme| &scheme[..]), Some(&b"http"[..]));
        let reply = Refusal::PATH.reply();
        assert_eq!((reply.status, reply.flags, reply.details.as_str()), (400, 0, "path_normalization_failed"));
    }
}
