//! Plugins of the scenarios that do as the path says: bodies, waiting, callouts, replies, in every phase.

use serde_json::Value;

use super::{Row, row};

/// What `probe` does by itself.
const ALONE: [(&str, u16); 34] = [
    ("GET /", 200),
    ("GET /hook-reply", 418),
    ("GET /hook-error", 500),
    ("GET /reply", 401),
    ("HEAD /reply", 401),
    ("POST /grpc-reply\ncontent-type: application/grpc\n\nhi", 200),
    ("GET /grpc-reply", 403),
    ("GET /bad-reply-header", 500),
    ("GET /error", 500),
    ("GET /sleep", 200),
    ("POST /sleep\n\nhello", 200),
    ("GET /headers\nx-many: 1\nx-many: 2\nx-empty:", 200),
    ("POST /request-body\n\nhello", 200),
    ("POST /request-body\ntransfer-encoding: chunked\n\nhello", 200),
    ("POST /request-body\ntrailer: x-sum\n\nhello\n\nx-sum: 5", 200),
    ("GET /request-body", 200),
    ("POST /request-body-small\n\nfive!", 413),
    ("POST /request-body-small\n\nfour", 200),
    ("POST /request-chunks\ntransfer-encoding: chunked\n\nhello", 200),
    ("POST /bounded\ntransfer-encoding: chunked\n\nfour", 200),
    ("POST /bounded\ntransfer-encoding: chunked\n\nmore", 200),
    ("POST /duplex\ntransfer-encoding: chunked\n\nhello", 201),
    ("POST /duplex-dropped\ntransfer-encoding: chunked\n\nhello", 200),
    ("POST /trailers\ntrailer: x-sum\n\nabc\n\nx-sum: 6", 200),
    ("GET /response-head", 201),
    ("GET /response-reply", 502),
    ("GET /response-body", 200),
    ("GET /response-body-small", 502),
    ("GET /response-chunks-slow", 200),
    ("GET /response-hold", 200),
    ("HEAD /response-body", 200),
    ("HEAD /response-hold", 200),
    ("GET /call-unknown", 503),
    ("GET /unknown", 200),
];

/// What `callout-probe` asks for; what it was told, the upstream shows.
const CALLS: [(&str, u16); 13] = [
    ("GET /unary", 200),
    ("GET /unary-small", 200),
    ("GET /unary-retry", 200),
    ("GET /unary-traced\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", 200),
    ("GET /unary-nowhere", 200),
    ("GET /unary-no-method", 200),
    ("GET /stream-nowhere", 200),
    ("GET /get", 200),
    ("GET /retry-5xx", 200),
    ("GET /retry-not", 200),
    ("GET /traced", 200),
    ("GET /no-path", 200),
    ("GET /subset", 200),
];

pub(super) fn handlers() -> Vec<Row> {
    vec![row("probe", Value::Null, ALONE), row("callout-probe", Value::Null, CALLS)]
}
