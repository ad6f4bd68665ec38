//! What plugins are told of requests, in every phase.

use serde_json::json;

use super::{PROBE, Row, row};

/// What plugins are told of requests in every phase, above all of those that never reach an upstream.
pub(super) fn attributes() -> Vec<Row> {
    let paths = json!([
        "request|path",
        "request|url_path",
        "request|host",
        "request|scheme",
        "request|method",
        "request|headers|x-a",
        "request|headers|x-envoy-expected-rq-timeout-ms",
        "request|referer",
        "request|useragent",
        "request|id",
        "request|protocol",
        "request|query",
        "request|size",
        "request|total_size",
        "response|code",
        "response|code_details",
        "response|flags",
        "response|grpc_status",
        "response|headers|server",
        "response|headers|connection",
        "response|headers|content-type",
        "response|trailers",
        "response|size",
        "connection|mtls",
        "connection|termination_details",
        "xds|route_name",
        "xds|cluster_name",
        "xds|virtual_host_name",
        "upstream|transport_failure_reason",
        "upstream|request_attempt_count",
        "plugin_name",
        "plugin_root_id",
    ]);
    let hops =
        ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "te", "trailer", "expect"];
    let hops = hops.into_iter().chain(["content-length", "http2-settings", "x-hop"]);
    let hops: Vec<_> =
        hops.flat_map(|name| [format!("request|headers|{name}"), format!("response|headers|{name}")]).collect();
    let large = format!("GET /\nx-large: {}", "x".repeat(70_000));
    let attributes = row(
        PROBE,
        json!({"paths": paths}),
        [
            ("GET /a?b=c\nreferer: here\nuser-agent: test\nx-a: 1\nx-a: 2".to_owned(), 200),
            ("POST /\n\nhello".to_owned(), 200),
            ("HEAD /".to_owned(), 200),
            ("GET /trailers".to_owned(), 200),
            ("GET /status/304".to_owned(), 304),
            ("GET /reset".to_owned(), 503),
            ("GET /junk".to_owned(), 502),
            ("GET /a%00b?c\nx-a: 1".to_owned(), 400),
            ("POST /a%00b\ncontent-type: application/grpc\n\nhi".to_owned(), 200),
            ("HEAD /a%00b".to_owned(), 400),
            ("FOO /".to_owned(), 400),
            ("GET *".to_owned(), 400),
            ("GET /\nhost: a b".to_owned(), 400),
            ("GET foo".to_owned(), 400),
            (large, 431),
        ],
    );
    // What is about one connection only, in both directions and over both protocols.
    let asks = [
        ("GET /", 200),
        ("GET /\nkeep-alive: timeout=5\nproxy-connection: keep-alive\nte: trailers", 200),
        ("GET /\nte: gzip", 200),
        ("GET / HTTP/2\nte: trailers", 200),
        ("GET / HTTP/2", 200),
        ("GET /kept", 200),
        ("GET /hops", 200),
        ("GET /hops HTTP/2", 200),
        ("HEAD /hops", 200),
        ("GET /chunks", 200),
        ("GET /chunks HTTP/2", 200),
        ("GET /announced\nte: trailers", 200),
        ("POST /\n\nhello", 200),
        ("POST /\ntransfer-encoding: chunked\n\nhello", 200),
        ("PUT /\nexpect: 100-continue\n\nhello", 200),
        ("GET /reset", 503),
        ("GET /status/204", 204),
        ("GET /a%00b", 400),
    ];
    let hops = json!({"paths": hops});
    let over_http2 =
        asks.into_iter().filter(|(ask, _)| !ask.contains("/hops") && !ask.contains("/kept") && !ask.contains("/reset"));
    vec![attributes, row(PROBE, hops.clone(), asks), row(PROBE, hops, over_http2).http2()]
}
