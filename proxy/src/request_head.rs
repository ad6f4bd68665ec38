//! The headers of a client's request: what is refused, what is the connection's own affair, and what plugins see.
//!
//! What may pass, and what the refusals say, was measured on Envoy 1.40.

use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::request;
use hyper::http::uri::PathAndQuery;
use hyper::{HeaderMap as Fields, Method, Version};
use wasmplugin_host::headers::HeaderMap;

use crate::client::Arrival;
use crate::headers::Block;
use crate::path::PathNormalization;
use crate::refusal::Refusal;

/// The protocol of the client before the proxies.
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Headers that a request over HTTP/2 may have beside its four pseudo headers, which Envoy counts as well. Those of HTTP/1 are
/// counted by hyper: 100, as in Envoy.
const FIELDS: usize = 96;

/// Headers that a client may call its connection's own affair.
const NOMINATED: usize = 9;

/// Headers that nobody may take out of a request by naming them in `connection`.
const NOT_NOMINATED: [&str; 3] = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];

/// The methods that Envoy knows over HTTP/1.1.
const METHODS: [&str; 33] = [
    "ACL",
    "BIND",
    "CHECKOUT",
    "CONNECT",
    "COPY",
    "DELETE",
    "GET",
    "HEAD",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MOVE",
    "NOTIFY",
    "OPTIONS",
    "PATCH",
    "POST",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "PUT",
    "REBIND",
    "REPORT",
    "SEARCH",
    "SOURCE",
    "SUBSCRIBE",
    "TRACE",
    "UNBIND",
    "UNLINK",
    "UNLOCK",
    "UNSUBSCRIBE",
];

/// How large a head hyper still reads, by the head that is allowed: so that the refusal can be told in Envoy's words.
pub(crate) const READ: usize = 2;

/// The request's headers as plugins see them: `:authority,:path,:method,:scheme`, the client's in their order,
/// then what the proxy adds.
pub(crate) fn request_head(
    parts: &request::Parts,
    arrival: Arrival,
    path_normalization: PathNormalization,
    request_id: impl FnOnce() -> String,
) -> Result<HeaderMap, Refusal> {
    let own = ConnectionsOwn::of(parts)?;
    let authority = authority(parts, &own)?;
    check(parts, authority)?;
    let mut block = Block::with_capacity(parts.headers.len() + 6);
    block.add(b":authority", authority);
    if parts.method != Method::CONNECT {
        block.add(b":path", &path_normalization.apply(target(parts)).ok_or(Refusal::PATH)?);
    }
    block.add(b":method", parts.method.as_str().as_bytes());
    let forwarded = parts.headers.get(X_FORWARDED_PROTO).map(HeaderValue::as_bytes);
    let proto: &[u8] = if arrival.secure { b"https" } else { b"http" };
    let scheme = parts.uri.scheme_str().map(str::as_bytes);
    let scheme = scheme.or(forwarded.filter(|proto| matches!(*proto, b"http" | b"https"))).unwrap_or(proto);
    block.add(b":scheme", scheme);
    let (mut has_id, mut certificates) = (false, Vec::new());
    let http2 = parts.version == Version::HTTP_2;
    for (name, value) in parts.headers.iter().filter(|(name, value)| !own.has(name, value)) {
        match name.as_str() {
            "x-request-id" => has_id = true,
            "cookie" if http2 => continue,
            // What a certificate says, only this proxy can tell; a mesh's own client has sent what came before it.
            "x-forwarded-client-cert" => {
                if arrival.certificate.is_some() {
                    certificates.push(String::from_utf8_lossy(value.as_bytes()).into_owned());
                }
                continue;
            }
            _ => {}
        }
        let value = if *name == header::TE { b"trailers" } else { value.as_bytes() };
        block.add(name.as_str().as_bytes(), value);
    }
    // A client may cut its cookies into several headers there, which are one for everybody else (RFC 9113, 8.2.3).
    if http2 && parts.headers.contains_key(header::COOKIE) {
        block.add(b"cookie", &cookies(&parts.headers));
    }
    if forwarded.is_none() {
        block.add(b"x-forwarded-proto", proto);
    }
    if let Some(certificate) = arrival.certificate {
        certificates.push(certificate);
        block.add(b"x-forwarded-client-cert", certificates.join(",").as_bytes());
    }
    if !has_id {
        block.add(b"x-request-id", request_id().as_bytes());
    }
    Ok(block.into_headers())
}

/// The path with its query, as the client has sent it.
fn target(parts: &request::Parts) -> &str {
    parts.uri.path_and_query().map_or("/", PathAndQuery::as_str)
}

/// Whom the request is for.
fn authority<'a>(parts: &'a request::Parts, own: &ConnectionsOwn) -> Result<&'a [u8], Refusal> {
    if let Some(authority) = parts.uri.authority() {
        return Ok(authority.as_str().as_bytes());
    }
    let mut hosts = parts.headers.get_all(header::HOST).iter().map(HeaderValue::as_bytes);
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if !own.nominates("host") => Ok(host),
        // Envoy joins two hosts with a comma; RFC 9112 (3.2) wants such a request refused.
        (Some(_), Some(_)) => Err(Refusal::BAD),
        _ => Err(Refusal::NO_HOST),
    }
}

/// Whether the head is larger than allowed, as Envoy counts: names, values and the target.
pub(crate) fn is_too_large(parts: &request::Parts, limit: usize) -> bool {
    let target = parts.uri.path_and_query().map_or(0, |path| path.as_str().len());
    let fields = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    target + fields.sum::<usize>() > limit
}

/// Whether the client will ask nothing more on its connection.
pub(crate) fn asks_to_close(parts: &request::Parts) -> bool {
    tokens(&parts.headers, &header::CONNECTION).any(|token| token.eq_ignore_ascii_case(b"close"))
}

/// Refuses what hyper lets pass and Envoy does not.
fn check(parts: &request::Parts, authority: &[u8]) -> Result<(), Refusal> {
    let http1 = parts.version != Version::HTTP_2;
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"!$%&'()*+,-.:;=[]_~".contains(byte);
    if !authority.iter().all(|byte| allowed(byte) || http1 && *byte == b'@') {
        return Err(Refusal::AUTHORITY);
    }
    // No policy about paths would fit `*`, which asks about the server as a whole, as only `OPTIONS` does, nor a query alone
    // (`http://host?a=b`), which servers take for one of `/`.
    if parts.method != Method::CONNECT && !target(parts).starts_with('/') {
        let asterisk = parts.uri.path() == "*" && parts.method != Method::OPTIONS;
        return Err(if asterisk { Refusal::URL } else { Refusal::NO_PATH });
    }
    if !http1 {
        return if parts.headers.len() > FIELDS { Err(Refusal::TOO_MANY) } else { Ok(()) };
    }
    let (uri, connect) = (&parts.uri, parts.method == Method::CONNECT);
    // A name without a scheme where a path belongs, or the other way round.
    let misplaced = connect != (uri.scheme().is_none() && uri.authority().is_some());
    if !METHODS.contains(&parts.method.as_str()) {
        return Err(Refusal::BAD);
    }
    if misplaced {
        return Err(if connect { Refusal::URL } else { Refusal::BAD });
    }
    if uri.scheme_str().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        return Err(Refusal::SCHEME);
    }
    // hyper has undone `chunked`; what lies below would be handed on without a word about it.
    let mut encodings = parts.headers.get_all(header::TRANSFER_ENCODING).iter();
    let chunked = encodings.next().is_none_or(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if chunked && encodings.next().is_none() { Ok(()) } else { Err(Refusal::ENCODING) }
}

/// Which of a request's headers are its connection's own affair, and go no further (RFC 9110, 7.6.1).
struct ConnectionsOwn {
    nominated: Vec<HeaderName>,
}

impl ConnectionsOwn {
    /// Finds them; refuses a request that is no use without them.
    fn of(parts: &request::Parts) -> Result<Self, Refusal> {
        if parts.version < Version::HTTP_11 {
            return Err(Refusal::OLD);
        }
        let mut own = Self { nominated: Vec::new() };
        if parts.version != Version::HTTP_11 {
            // h2 refuses requests with such headers.
            return Ok(own);
        }
        for (count, token) in tokens(&parts.headers, &header::CONNECTION).enumerate() {
            let text = token.to_ascii_lowercase();
            if count >= NOMINATED
                || text.contains(&b':')
                || NOT_NOMINATED.iter().any(|name| name.as_bytes() == text.as_slice())
            {
                return Err(Refusal::NOMINATED);
            }
            // What is no name is no header's name.
            own.nominated.extend(HeaderName::from_bytes(&text).ok());
        }
        let upgrades = |token: &[u8]| !token.eq_ignore_ascii_case(b"h2c");
        if own.nominates("upgrade") && tokens(&parts.headers, &header::UPGRADE).any(upgrades) {
            return Err(Refusal::UPGRADE);
        }
        Ok(own)
    }

    fn nominates(&self, name: &str) -> bool {
        self.nominated.iter().any(|nominated| nominated == name)
    }

    fn has(&self, name: &HeaderName, value: &HeaderValue) -> bool {
        match *name {
            header::HOST | header::CONNECTION | header::UPGRADE | header::TRANSFER_ENCODING => true,
            // The continuation has been sent: the body is wanted.
            header::EXPECT => value.as_bytes().eq_ignore_ascii_case(b"100-continue"),
            // Named or not, whether trailers are wanted is handed on.
            header::TE => !list(value).any(|token| token == b"trailers"),
            // The body is still as long.
            header::CONTENT_LENGTH => false,
            _ => {
                matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
                    || self.nominated.contains(name)
            }
        }
    }
}

/// All cookies as one value.
fn cookies(fields: &Fields) -> Vec<u8> {
    fields.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b"; "[..])
}

/// The parts of a header that is a list, over all its lines.
fn tokens<'a>(fields: &'a Fields, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    fields.get_all(name).iter().flat_map(list)
}

fn list(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn parts(request: Request<()>) -> request::Parts {
        request.into_parts().0
    }

    fn text(map: &HeaderMap) -> Vec<String> {
        map.iter().map(|(n, v)| format!("{}={}", n.escape_ascii(), v.escape_ascii())).collect()
    }

    #[test]
    fn cookies_of_http2_are_one() {
        let request = || Request::get("http://h/").header("a", "1").header("cookie", "a=1").header("cookie", "b=2");
        let cookies = |version| {
            let request = request().header("host", "h").version(version).body(()).unwrap();
            let path = PathNormalization::default();
            let head = request_head(&parts(request), Arrival::default(), path, String::new).unwrap();
            text(&head).into_iter().filter(|line| line.starts_with("cookie")).collect::<Vec<_>>()
        };
        assert_eq!(cookies(Version::HTTP_2), ["cookie=a=1; b=2"]);
        assert_eq!(cookies(Version::HTTP_11), ["cookie=a=1", "cookie=b=2"]);
    }

    #[test]
    fn plugins_see_what_envoys_do() {
        let request = Request::get("/a?b=c")
            .header("Host", "h:1")
            .header("connection", "keep-alive")
            .header("Accept", "*/*")
            .header("te", "gzip")
            .body(())
            .unwrap();
        let head =
            request_head(&parts(request), Arrival::default(), PathNormalization::Base, || "id".to_owned()).unwrap();
        assert_eq!(
            text(&head),
            [
                ":authority=h:1",
                ":path=/a?b=c",
                ":method=GET",
                ":scheme=http",
                "accept=*/*",
                "x-forwarded-proto=http",
                "x-request-id=id"
            ]
        );
    }

    #[test]
    fn what_the_client_has_set_stays() {
        let request = Request::get("http://other/")
            .header("host", "h")
            .header("x-request-id", "mine")
            .header("x-forwarded-proto", "https")
            .body(())
            .unwrap();
        let head =
            request_head(&parts(request), Arrival::default(), PathNormalization::Base, || "id".to_owned()).unwrap();
        let expected = [
            ":authority=other",
            ":path=/",
            ":method=GET",
            ":scheme=http",
            "x-request-id=mine",
            "x-forwarded-proto=https",
        ];
        assert_eq!(text(&head), expected);
    }

    #[test]
    fn some_requests_never_reach_a_plugin() {
        let refused = |request: Request<()>| {
            request_head(&parts(request), Arrival::default(), PathNormalization::Base, String::new).unwrap_err().status
        };
        assert_eq!(refused(Request::get("/").body(()).unwrap()), 400);
        for version in [Version::HTTP_11, Version::HTTP_2] {
            assert_eq!(
                refused(Request::get("http://h?a=b").version(version).header("host", "h").body(()).unwrap()),
                404
            );
        }
        assert_eq!(refused(Request::get("/").version(Version::HTTP_10).header("host", "h").body(()).unwrap()), 426);
        let upgrade = |to| Request::get("/").header("host", "h").header("connection", "Upgrade").header("upgrade", to);
        assert_eq!(refused(upgrade("websocket").body(()).unwrap()), 403);
        assert!(
            request_head(
                &parts(upgrade("h2c").body(()).unwrap()),
                Arrival::default(),
                PathNormalization::Base,
                String::new
            )
            .is_ok()
        );
    }

    #[test]
    fn what_a_client_calls_its_own_stays_behind() {
        let names = |connection: &str| {
            let request =
                Request::get("/").header("host", "h").header("connection", connection).header("te", "a, trailers");
            let request = request.header("x-a", "1").header("content-length", "0").body(()).unwrap();
            let head = request_head(&parts(request), Arrival::default(), PathNormalization::Base, String::new)?;
            Ok(head.iter().skip(4).map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect::<Vec<_>>())
        };
        let rest = ["x-forwarded-proto", "x-request-id"];
        let kept = |names: &[&str]| Ok([names, &rest].concat().into_iter().map(str::to_owned).collect());
        assert_eq!(names("close"), kept(&["te", "x-a", "content-length"]));
        assert_eq!(names("close, X-A,te, content-length"), kept(&["te", "content-length"]));
        assert_eq!(names("host"), Err(Refusal::NO_HOST));
        assert_eq!(names("X-Forwarded-For"), Err(Refusal::NOMINATED));
        assert_eq!(names(":path"), Err(Refusal::NOMINATED));
        assert_eq!(names("a,b,c,d,e,f,g,h,i"), kept(&["te", "x-a", "content-length"]));
        assert_eq!(names("a,b,c,d,e,f,g,h,i,j"), Err(Refusal::NOMINATED));
    }
}
