//! HTTP/2 from the client, to the upstream, and both; trailers; gRPC.

use serde_json::{Value, json};

use super::{PROBE, Row, bearer, row};
use crate::compare::{ALICE, EXPIRED};

/// The words for a stream that the upstream resets, and what follows from them.
const RESET: &[(&str, &str)] = &[
    ("content-length", "here it counts as a connection that has ended, as the proxy's README says"),
    ("reset reason: connection termination", "as above"),
];

/// Bodies and trailers in both directions, failures, gRPC.
const MESSAGES: [(&str, u16); 19] = [
    ("GET /", 200),
    ("HEAD /", 200),
    ("POST /\n\nhello", 200),
    ("POST /\ncontent-length: 5\n\nhello", 200),
    ("POST /\ntrailer: x-sum\n\nhello\n\nx-sum: 5", 200),
    ("POST /\ntrailer: x-sum\n\n\n\nx-sum: 0", 200),
    ("GET /\ncookie: a=1\ncookie: b=2\nx-a: 1\nx-a: 2", 200),
    ("GET /chunks", 200),
    ("GET /large", 200),
    ("HEAD /large", 200),
    ("GET /announced\nte: trailers", 200),
    ("GET /announced", 200),
    ("GET /trailers", 200),
    ("GET /status/204", 204),
    ("GET /status/304", 304),
    ("GET /a%00b", 400),
    (CALL, 200),
    (FAILED_CALL, 200),
    (BAD_CALL, 200),
];

/// Calls of gRPC with the message `hi`: one that ends well, one that does not, and one that the proxy itself answers.
const CALL: &str = "POST /grpc/0\nte: trailers\ncontent-type: application/grpc\n\n\0\0\0\0\u{2}hi";
const FAILED_CALL: &str = "POST /grpc/7\nte: trailers\ncontent-type: application/grpc\n\n\0\0\0\0\u{2}hi";
const BAD_CALL: &str = "POST /grpc%00\nte: trailers\ncontent-type: application/grpc\n\n\0\0\0\0\u{2}hi";

/// The same request over HTTP/2.
fn over_http2(text: &str) -> String {
    let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
    format!("{line} HTTP/2\n{rest}")
}

/// Over HTTP/1.1, and once more over HTTP/2.
fn twice(asks: &[(&str, u16)]) -> Vec<(String, u16)> {
    let plain = asks.iter().map(|(text, status)| ((*text).to_owned(), *status));
    plain.chain(asks.iter().map(|(text, status)| (over_http2(text), *status))).collect()
}

fn http2<T: AsRef<str>>(asks: impl IntoIterator<Item = (T, u16)>) -> Vec<(String, u16)> {
    asks.into_iter().map(|(text, status)| (over_http2(text.as_ref()), status)).collect()
}

pub(super) fn protocols() -> Vec<Row> {
    let none = Value::Null;
    let paths = json!([
        "request|protocol",
        "request|path",
        "request|host",
        "request|scheme",
        "request|headers|te",
        "request|size",
        "request|total_size",
        "response|code",
        "response|code_details",
        "response|flags",
        "response|grpc_status",
        "response|trailers|x-sum",
        "response|trailers|grpc-status",
        "response|trailers|grpc-message",
        "response|size",
        "connection|requested_server_name",
        "upstream|address",
    ]);
    let bodies = ["GET /chunks", "GET /large", "GET /status/204", "GET /trailers", "HEAD /chunks"];
    let bodies = bodies.map(|ask| (ask, if ask.contains("204") { 204 } else { 200 }));
    vec![
        row("hello", none.clone(), twice(&MESSAGES)),
        row("hello", none.clone(), twice(&MESSAGES)).http2(),
        row(PROBE, json!({"paths": paths}), twice(&MESSAGES)),
        row(PROBE, json!({"paths": paths}), twice(&MESSAGES)).http2(),
        row("hello", none.clone(), twice(&[("GET /reset", 503)])),
        row("hello", none.clone(), twice(&[("GET /reset", 503)])).http2().differs(RESET),
        row("hello", none.clone(), twice(&[("PUT /\nexpect: 100-continue\n\nhello", 200)])),
        row("stream-upper", none.clone(), http2(bodies)).http2(),
        row("rewrite-json", none, http2([("GET /object", 200), ("GET /list", 200), ("GET /trailers", 200)])).http2(),
        row("stats", json!({}), twice(&[("GET /", 200), (CALL, 200), (FAILED_CALL, 200), ("GET /status/404", 404)]))
            .http2(),
        row("request-metrics", Value::Null, twice(&[(CALL, 200), (FAILED_CALL, 200)])).http2(),
        row(
            "path-guard",
            json!({"paths": ["/admin/"]}),
            http2([
                ("GET /admin/users?all", 403),
                ("HEAD /admin/users", 403),
                ("POST /admin/\n\nbody", 403),
                ("POST /admin/Call\ncontent-type: application/grpc\n\n\0\0\0\0\u{2}hi", 200),
                ("GET /administrator", 200),
            ]),
        ),
        row(
            "jwt",
            super::istio::authentication(),
            http2([
                (bearer("/staff", ALICE), 200),
                (bearer("/", EXPIRED), 401),
                (format!("POST /a.B/C\ncontent-type: application/grpc\nauthorization: Bearer {EXPIRED}\n\nhi"), 200),
            ]),
        ),
    ]
}
