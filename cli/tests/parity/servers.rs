//! The servers behind the table's proxies: an upstream that answers as its path says, and what plugins ask.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wasmplugin_host::envoy::backend::Backend;
use wasmplugin_host::test::{Answer, Cluster, GrpcAnswer, Request};

use super::{bytes, http2};

/// An event stream with line ends of every kind, a dropped event, and an end that is none.
const EVENTS: &str = "\u{feff}: hello\n\nid: 1\r\ndata: from ada@example.org\r\ndata: to bob@example.org\r\n\r\n\
    event: debug\rdata: drop me\r\rdata: nothing\n\n\n\nevent: news\ndata: a@b.c\n";

/// `CheckResponse`s of `grpc-auth`: consent with the header `x-user: ada`, and `PERMISSION_DENIED` as a 401.
const YES: &[u8] = b"\x0a\x00\x1a\x11\x12\x0f\x0a\x0d\x0a\x06X-User\x12\x03ada";
const NO: &[u8] = b"\x0a\x02\x08\x07\x12\x05\x0a\x03\x08\x91\x03";

/// All servers; they stop when this is dropped.
pub(crate) struct Servers {
    /// Over HTTP/1.1 and HTTP/2.
    upstream: Backend,
    bytes: SocketAddr,
    idp: Cluster,
    /// Clusters by name, and whether they speak HTTP/2.
    clusters: Vec<(&'static str, Backend, bool)>,
}

impl Servers {
    pub(crate) fn start() -> Self {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let start = |cluster: Cluster| Backend::start(cluster).unwrap();
        let idp = Cluster::new("idp", token);
        let clusters = vec![
            ("auth", start(Cluster::new("auth", authorize)), false),
            ("grpc-auth", start(Cluster::grpc("grpc-auth", consent)), true),
            ("user", start(Cluster::new("user", |_| Answer::new(200).body("ada"))), false),
            ("quota", start(Cluster::new("quota", |_| Answer::new(200).body("7"))), false),
            ("silent", start(Cluster::new("silent", |_| Answer::never())), false),
            ("gone", start(Cluster::unreachable("gone")), false),
            ("idp", start(idp.clone()), false),
            ("oracle", start(Cluster::grpc("oracle", answer)), true),
            ("service", start(Cluster::new("service", |_| Answer::new(503).body("busy"))), false),
        ];
        let upstream = Cluster::new("upstream", serve);
        let upstream = Backend::start_beside(anywhere, upstream, |connection| http2::serve(connection, serve)).unwrap();
        Self { upstream, bytes: bytes::upstream(), idp, clusters }
    }

    /// Waits until both engines have fetched a token.
    pub(crate) fn wait_for_tokens(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.idp.requests().len() < 2 {
            assert!(Instant::now() < deadline, "nobody has asked for a token");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The upstream of a protocol, in the words of `kind: Mesh`.
    pub(crate) fn upstream(&self, protocol: &str) -> SocketAddr {
        if protocol == "TCP" { self.bytes } else { self.upstream.address() }
    }

    /// As `kind: Mesh` lists them.
    pub(crate) fn clusters(&self) -> Value {
        let cluster = |(name, backend, http2): &(_, Backend, _)| json!({"name": name, "address": backend.address(), "http2": http2});
        self.clusters.iter().map(cluster).collect()
    }
}

/// Answers as the path says; otherwise with what has reached it.
fn serve(request: &Request) -> Answer {
    let path = request.path().split('?').next().unwrap_or_default();
    let (first, rest) = path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    match first {
        "status" => Answer::new(rest.parse().unwrap()).body(""),
        "framed" => Answer::new(200).header("x-frame-options", "SAMEORIGIN").body("framed"),
        "hello" => Answer::new(404).header("x-hello", "a").header("x-hello", "b").body("no"),
        "powered" => Answer::new(200).header("x-powered-by", "steam").body("steam"),
        "cookies" => Answer::new(200).header("set-cookie", "a=1").header("set-cookie", "b=2; path=/").body("two"),
        "chunks" => Answer::new(200).chunks(["one, ", "two, ", "three"]),
        "trailers" => Answer::new(200).body("abc").trailer("x-sum", "6"),
        "hops" => {
            let answer = Answer::new(200).header("connection", "x-hop").header("keep-alive", "timeout=5");
            answer.header("proxy-connection", "keep-alive").header("x-hop", "1").header("upgrade", "h2c").body("hop")
        }
        "kept" => Answer::new(200).header("keep-alive", "timeout=5").body("kept"),
        "announced" => Answer::new(200).header("trailer", "x-sum").body("abc").trailer("x-sum", "6"),
        "grpc" => {
            let answer = Answer::new(200).header("content-type", "application/grpc").body("\0\0\0\0\u{2}hi");
            answer.trailer("grpc-status", rest.to_owned()).trailer("grpc-message", "as asked")
        }
        "large" => Answer::new(200).body("x".repeat(3_000_000)),
        "object" => Answer::new(200).header("content-type", "application/json").chunks(["{\"a\":", "1}"]),
        "list" => Answer::new(200).header("content-type", "application/json").body("[1,2]"),
        "broken" => Answer::new(200).header("content-type", "application/json").body("{\"a\":"),
        "events" => {
            let pieces: Vec<_> = EVENTS.as_bytes().chunks(rest.parse().unwrap()).map(<[u8]>::to_vec).collect();
            Answer::new(200).header("content-type", "text/event-stream; charset=utf-8").chunks(pieces)
        }
        "endless" => Answer::new(200).header("content-type", "text/event-stream").body("x".repeat(100_000)),
        "reset" => Answer::reset(),
        "junk" => Answer::malformed(),
        _ => Answer::new(200).header("content-type", "application/json").body(seen(request).to_string()),
    }
}

/// What has reached the upstream, in its order.
fn seen(request: &Request) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers: Vec<_> = request.headers().iter().map(|(name, value)| json!([text(name), text(value)])).collect();
    let body = request.body();
    let excerpt = text(body.get(..body.len().min(200)).unwrap_or_default());
    let trailers: Vec<_> = request.trailers().iter().map(|(name, value)| json!([text(name), text(value)])).collect();
    json!({"headers": headers, "bytes": body.len(), "body": excerpt, "trailers": trailers})
}

fn authorize(request: &Request) -> Answer {
    match request.header("authorization") {
        Some("Bearer good") => Answer::new(200).header("x-user", "ada"),
        Some("Bearer slow") => Answer::new(200).header("x-user", "ada").after(Duration::from_millis(50)),
        Some("Bearer hang") => Answer::never(),
        Some("Bearer down") => Answer::reset(),
        Some("Bearer cut") => Answer::reset_after_headers(),
        Some("Bearer junk") => Answer::malformed(),
        _ => Answer::new(401),
    }
}

fn consent(call: &Request) -> GrpcAnswer {
    let says = |token: &[u8]| call.messages().iter().any(|m| m.windows(token.len()).any(|bytes| bytes == token));
    match () {
        () if says(b"Bearer good") => GrpcAnswer::message(YES),
        () if says(b"Bearer hang") => GrpcAnswer::never(),
        () if says(b"Bearer down") => GrpcAnswer::reset(),
        () if says(b"Bearer error") => GrpcAnswer::status(13, "no database"),
        () if says(b"Bearer junk") => GrpcAnswer::message("\u{1}"),
        () => GrpcAnswer::message(NO),
    }
}

/// A message with the text `yes`, for `callout-probe`.
fn answer(_: &Request) -> GrpcAnswer {
    GrpcAnswer::message(b"\x0a\x03yes".as_slice())
}

fn token(_: &Request) -> Answer {
    let token = json!({"access_token": "secret", "token_type": "Bearer", "expires_in": 3600});
    Answer::new(200).body(token.to_string())
}
