//! Examples that stand by themselves.

use serde_json::{Value, json};

use super::{Row, row};

/// Examples that stand by themselves.
pub(super) fn examples() -> Vec<Row> {
    let large = |bytes: usize| format!("GET /\nx-large: {}", "x".repeat(bytes));
    let none = Value::Null;
    vec![
        row(
            "hello",
            none.clone(),
            [
                ("GET /".to_owned(), 200),
                ("HEAD /".to_owned(), 200),
                ("GET /hello".to_owned(), 404),
                ("HEAD /hello".to_owned(), 404),
                ("POST /\n\nhi".to_owned(), 200),
                ("POST /\ntransfer-encoding: chunked\n\nhi".to_owned(), 200),
                ("GET /status/204".to_owned(), 204),
                ("GET /status/304".to_owned(), 304),
                ("GET /reset".to_owned(), 503),
                ("GET /junk".to_owned(), 502),
                ("OPTIONS *".to_owned(), 404),
                (large(50_000), 200),
                (large(70_000), 431),
            ],
        ),
        row(
            "request-headers",
            none.clone(),
            [
                ("GET /powered\ncookie: a=1\nx-internal: yes", 200),
                ("GET /\ncookie: a=1; b=2\ncookie: c=3\nx-internal: yes\nx-internal: no", 200),
                ("GET /", 200),
                ("GET /cookies", 200),
            ],
        ),
        row(
            "configured-headers",
            json!({"headers": {"x-frame-options": "DENY", "referrer-policy": "no-referrer"}}),
            [("GET /", 200), ("GET /framed", 200), ("HEAD /framed", 200)],
        ),
        // Methods whose requests have no body, as upstreams see them.
        row(
            "hello",
            none.clone(),
            [
                ("GET /", 200),
                ("DELETE /", 200),
                ("OPTIONS /", 200),
                ("TRACE /", 200),
                ("POST /", 200),
                ("PUT /", 200),
                ("PATCH /", 200),
                ("PURGE /", 200),
                ("POST /\ntransfer-encoding: chunked\n\n", 200),
                ("GET /\ncontent-length: 0", 200),
            ],
        ),
        row("request-log", none.clone(), [("GET /a?b=c", 200), ("GET /status/502", 502)]),
        row("request-metrics", none.clone(), [("GET /", 200), ("POST /\n\nhello", 200), ("GET /reset", 503)]),
        row(
            "labelled-counter",
            none.clone(),
            [
                ("GET /", 200),
                ("GET /status/404", 404),
                ("POST /\n\nhello", 200),
                ("DELETE /reset", 503),
                ("GET /a%00b", 400),
            ],
        ),
        row(
            "path-guard",
            json!({"paths": ["/admin/"]}),
            [
                ("GET /admin/users?all", 403),
                ("HEAD /admin/users", 403),
                ("POST /admin/\n\nbody", 403),
                ("GET /administrator", 200),
            ],
        ),
        row(
            "cel-gate",
            json!({"allow": "request.path.startsWith('/public/') || (has(request.headers.role) && request.headers.role == 'admin')"}),
            [
                ("GET /public/a", 200),
                ("GET /private", 403),
                ("GET /private\nrole: user", 403),
                ("GET /private\nrole: admin", 200),
            ],
        ),
        row(
            "cel-gate",
            json!({"allow": "request.headers['role'] != 'guest'"}),
            [("GET /", 500), ("GET /\nrole: user", 200), ("GET /\nrole: guest", 403)],
        ),
        row("cel-gate", json!({"allow": "request.path"}), [("GET /", 500)]),
        row(
            "per-route",
            json!({
                "defaults": {"closed": false, "retry_after": 60},
                "routes": [
                    {"match": [{"uri": {"exact": "/shop/status"}}], "config": {}},
                    {"match": [{"uri": {"prefix": "/shop/"}, "method": {"exact": "POST"}}], "config": {"closed": true}},
                    {"match": [{"headers": {"x-beta": {}}}], "hosts": ["*.example.com"], "config": {"closed": true, "retry_after": 5}},
                    {"match": [{"routeName": {"exact": "default"}, "uri": {"prefix": "/route"}}], "config": {"closed": true}},
                ],
            }),
            [
                ("POST /shop/orders?now", 503),
                ("POST /shop/status", 200),
                ("GET /shop/orders", 200),
                ("GET /\nhost: Shop.Example.COM:8080\nx-beta: 1", 503),
                ("GET /\nx-beta: 1", 200),
                ("GET /route", 503),
            ],
        ),
        row(
            "stream-upper",
            none.clone(),
            [
                ("GET /chunks", 200),
                ("GET /large", 200),
                ("GET /status/204", 204),
                ("GET /trailers", 200),
                ("HEAD /chunks", 200),
            ],
        ),
        row(
            "rewrite-json",
            none,
            [
                ("GET /object", 200),
                ("HEAD /object", 200),
                ("GET /list", 200),
                ("GET /broken", 200),
                ("GET /status/204", 204),
                ("GET /trailers", 200),
            ],
        ),
        row(
            "sse-filter",
            json!({"drop": ["debug"]}),
            [
                ("GET /events/1", 200),
                ("GET /events/7", 200),
                ("GET /events/1000", 200),
                ("GET /list", 200),
                // Cut off in the middle.
                ("GET /endless", 502),
            ],
        ),
    ]
}
