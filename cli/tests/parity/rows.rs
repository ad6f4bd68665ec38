//! The table: each plugin and example with its configuration, the requests that show what it does, and what may differ.

use serde_json::{Value, json};

use super::ask::{Ask, asks};
use crate::compare::{ALICE, EXPIRED, MALLORY, STRANGER};

/// A guest of the scenarios that logs properties.
pub(crate) const PROBE: &str = "attribute-probe";

/// Modules that the tests make.
pub(crate) const TRAPS: &str = "traps";
pub(crate) const GROWS: &str = "grows";

/// A plugin of a row.
#[derive(Debug, Clone)]
pub(crate) struct Plugin {
    /// Its folder in `plugins` or `examples`.
    pub(crate) module: &'static str,
    /// Its `pluginConfig`; null for none.
    pub(crate) config: Value,
    /// Further fields of its resource.
    pub(crate) more: Value,
}

/// Plugins on a port of their own.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) plugins: Vec<Plugin>,
    pub(crate) asks: Vec<Ask>,
    /// What differences may say, and why.
    pub(crate) differs: &'static [(&'static str, &'static str)],
}

impl Row {
    /// Its first plugin.
    pub(crate) fn name(&self) -> &'static str {
        self.plugins.first().unwrap().module
    }

    fn and(mut self, module: &'static str, config: Value) -> Self {
        self.plugins.push(Plugin { module, config, more: Value::Null });
        self
    }

    fn differs(self, differs: &'static [(&'static str, &'static str)]) -> Self {
        Self { differs, ..self }
    }
}

fn row<T: Into<String>>(module: &'static str, config: Value, requests: impl IntoIterator<Item = (T, u16)>) -> Row {
    let plugin = Plugin { module, config, more: Value::Null };
    Row { plugins: vec![plugin], asks: asks(requests), differs: &[] }
}

fn bearer(path: &str, token: &str) -> String {
    format!("GET {path}\nauthorization: Bearer {token}")
}

/// All of them.
pub(crate) fn rows() -> Vec<Row> {
    [examples(), callers(), limits(), plugins(), attributes(), istio()].concat()
}

/// Examples that stand by themselves.
fn examples() -> Vec<Row> {
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

/// Examples that ask other servers.
fn callers() -> Vec<Row> {
    const RESET: &[(&str, &str)] = &[(
        "`grpc-auth`: unavailable: upstream connect error",
        "here a stream that the server resets counts as a connection that has ended, as the proxy's README says",
    )];
    let ask = |token: &str, status| (bearer("/a", token), status);
    let post =
        |token: &str, status| (format!("POST /\nauthorization: Bearer {token}\n\n{}", "x".repeat(300_000)), status);
    vec![
        row(
            "external-auth",
            json!({"cluster": "auth", "timeout": "20s"}),
            [
                (format!("{}\nx-user: mallory", bearer("/a", "good")), 200),
                ask("slow", 200),
                ask("bad", 403),
                ("GET /".to_owned(), 403),
                ask("down", 503),
                ask("cut", 503),
                ask("junk", 503),
                post("slow", 200),
                post("bad", 403),
            ],
        ),
        row("external-auth", json!({"cluster": "auth", "timeout": "50ms"}), [ask("hang", 503)]),
        row("external-auth", json!({"cluster": "gone", "timeout": "20s"}), [ask("good", 503)]),
        row("external-auth", json!({"cluster": "unknown", "timeout": "20s"}), [ask("good", 503)]),
        row(
            "grpc-auth",
            json!({"cluster": "grpc-auth", "timeout": "20s"}),
            [
                (format!("{}\nx-user: mallory", bearer("/a", "good")), 200),
                ("GET /".to_owned(), 401),
                ("POST /\n\nsecret".to_owned(), 401),
                ask("down", 503),
                ask("error", 503),
                ask("junk", 503),
            ],
        )
        .differs(RESET),
        row("grpc-auth", json!({"cluster": "grpc-auth", "timeout": "50ms"}), [ask("hang", 503)]),
        row("two-callouts", json!({"user": "user", "quota": "quota", "deadline": "20s"}), [("GET /", 200)]),
        row("two-callouts", json!({"user": "user", "quota": "silent", "deadline": "50ms"}), [("GET /", 200)]),
        row(
            "canary-router",
            json!({"percent": 50, "user_header": "x-user"}),
            [
                ("GET /\nx-user: ada", 200),
                ("GET /\nx-user: bob\nx-canary: 1", 200),
                ("GET /\nx-user: cleo\nx-canary: 0", 200),
            ],
        ),
    ]
}

/// Plugins that count requests.
fn limits() -> Vec<Row> {
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
fn plugins() -> Vec<Row> {
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

/// What plugins are told of requests in every phase, above all of those that never reach an upstream.
fn attributes() -> Vec<Row> {
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
    let large = format!("GET /\nx-large: {}", "x".repeat(70_000));
    vec![row(
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
    )]
}

/// The modules that stand for Istio's own filters, as plugins.
fn istio() -> Vec<Row> {
    let keys = r#"{"keys": [{"kty": "EC", "crv": "P-256", "kid": "demo", "alg": "ES256", "use": "sig",
        "x": "t-oXOwrh_RuGozrol7AosjvylX1D2tzJuyZZC78Mu3E", "y": "MncevHDkZF3sJSN2XasNv1ATHQRi90Mm8eb932IW-Jc"}]}"#;
    let authentication = json!({"policies": [{
        "metadata": {"name": "a", "namespace": "shop"},
        "spec": {"jwtRules": [{
            "issuer": "https://idp.example.com",
            "audiences": ["shop"],
            "outputPayloadToHeader": "x-payload",
            "outputClaimToHeaders": [{"header": "x-user", "claim": "sub"}],
            "jwks": keys,
        }]},
    }]});
    let policy = |name: &str, spec: Value| json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec});
    let authorization = json!({"policies": [
        policy("deny", json!({"action": "DENY", "rules": [{"to": [{"operation": {"paths": ["/cellar*"]}}]}]})),
        policy("allow", json!({"action": "ALLOW", "rules": [
            {"to": [{"operation": {"methods": ["GET", "HEAD"], "notPaths": ["/staff*"]}}]},
            {
                "from": [{"source": {"requestPrincipals": ["https://idp.example.com/*"]}}],
                "when": [{"key": "request.auth.claims[groups]", "values": ["staff"]}],
            },
        ]})),
    ]});
    let tokens = [
        ("GET /".to_owned(), 200),
        (bearer("/staff", ALICE), 200),
        (format!("HEAD /staff\nauthorization: Bearer {ALICE}"), 200),
        (format!("POST /staff\nauthorization: Bearer {ALICE}\n\nbody"), 200),
        (bearer("/", EXPIRED), 401),
        (format!("HEAD /\nauthorization: Bearer {EXPIRED}"), 401),
        (bearer("/", STRANGER), 401),
        (bearer("/", "a.b.c"), 401),
        ("GET /?access_token=a.b.c".to_owned(), 401),
    ];
    let decisions = [
        (bearer("/staff", MALLORY), 403),
        ("GET /staff".to_owned(), 403),
        ("POST /".to_owned(), 403),
        (bearer("/cellar", ALICE), 403),
        ("HEAD /cellar".to_owned(), 403),
    ];
    let peer = "x-envoy-peer-metadata: Zm9v\nx-envoy-peer-metadata-id: me";
    vec![
        row("jwt", authentication.clone(), tokens.clone()),
        row(
            "rbac",
            authorization.clone(),
            [("GET /", 200), ("GET /staff", 403), ("GET /cellar", 403), ("POST /\n\nhi", 403)],
        ),
        row("jwt", authentication, tokens.into_iter().chain(decisions)).and("rbac", authorization),
        row(
            "metadata-exchange",
            json!({}),
            [("GET /".to_owned(), 200), (format!("GET /\n{peer}"), 200), (format!("POST /\n{peer}\n\nhi"), 200)],
        )
        .and("stats", json!({})),
        row(
            "stats",
            json!({"metrics": [{"name": "requests_total", "dimensions": {"path": "request.path", "agent": "request.useragent"}}]}),
            [
                ("GET /a", 200),
                ("HEAD /b\nuser-agent: test", 200),
                ("GET /status/503", 503),
                ("GET /reset", 503),
                ("GET /a%00b", 400),
                ("POST /a.B/C\ncontent-type: application/grpc\n\nhi", 200),
            ],
        ),
    ]
}
