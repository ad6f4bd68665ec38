//! Plugins that are neither Istio's filters nor examples.

use serde_json::json;

use super::{PROBE, Row, row};

/// Plugins that count requests.
pub(super) fn limits() -> Vec<Row> {
    const WAIT: &[(&str, &str)] =
        &[("header `retry-after`", "it tells the time since a request, which each engine has at another moment")];
    vec![
        row(
            "rate-limit",
            json!({"header": "x-user", "limit": {"per_second": 1000, "burst": 1000}}),
            [("GET /\nx-user: ada", 200), ("GET /", 200)],
        ),
        row(
            "rate-limit-plugin",
            json!({"limits": [
                {"name": "users", "requests": 2, "unit": "day", "per": [{"header": "x-user"}]},
                {"name": "api", "requests": 1, "unit": "day", "path_prefixes": ["/api"]},
            ]}),
            [
                ("GET /\nx-user: ada", 200),
                ("GET /\nx-user: ada", 200),
                ("GET /\nx-user: ada", 429),
                ("GET /api\nx-user: bob", 200),
                ("GET /api\nx-user: cleo", 429),
                ("POST /a.B/C\nx-user: ada\ncontent-type: application/grpc\n\nhi", 200),
            ],
        )
        .differs(WAIT),
    ]
}

/// Plugins that are neither Istio's filters nor examples.
pub(super) fn plugins() -> Vec<Row> {
    let good = "authorization: Basic b2s6dGVzdA==";
    let rule = json!({"prefix": "/admin", "request_methods": ["GET"], "credentials": ["ok:test"]});
    let (with, without) = (|path: &str| format!("GET {path}\n{good}"), |path: &str| format!("GET {path}"));
    vec![
        row(
            "basic-auth",
            json!({"realm": "test", "basic_auth_rules": [rule]}),
            [
                (with("/admin"), 200),
                (without("/"), 200),
                ("POST /admin".to_owned(), 200),
                (without("/admin/x"), 401),
                ("HEAD /admin".to_owned(), 200),
                (format!("GET /admin\n{good}\n{good}"), 401),
                (without("//admin"), 401),
                (without("/a/../admin"), 401),
                (without("/%61dmin"), 401),
            ],
        ),
        row(
            "access-log-policy",
            json!({"log_window_duration": "1h"}),
            [
                ("GET /", 200),
                ("GET /status/503", 503),
                ("GET /a%00b", 400),
                ("POST /a.B/C\ncontent-type: application/grpc\n\nhi", 200),
            ],
        )
        .and(PROBE, json!({"paths": ["istio.access_log_policy"]})),
        row(
            "attributegen",
            json!({"attributes": [{"output_attribute": "made", "match": [
                {"condition": "request.headers['absent'] == 'x'", "value": "a"},
                {"value": "b"},
            ]}]}),
            [("GET /", 200), ("GET /status/404", 404), ("GET /a%00b", 400)],
        )
        .and(PROBE, json!({"paths": ["made"]})),
        row(
            "attributegen",
            json!({"attributes": [{"output_attribute": "made", "phase": "ON_REQUEST", "match": [
                {"condition": "request.url_path == '/a' && request.method == 'GET'", "value": "list"},
                {"value": "other"},
            ]}]}),
            [("GET /a?b", 200), ("POST /a", 200), ("GET /a%00b", 400)],
        )
        .and(PROBE, json!({"paths": ["made"]})),
    ]
}
