//! The modules that stand for Istio's own filters, as plugins.

use serde_json::{Value, json};

use super::{Row, bearer, row};
use crate::compare::{ALICE, EXPIRED, MALLORY, STRANGER};

/// The tokens of the demo's issuer.
pub(super) fn authentication() -> Value {
    let keys = r#"{"keys": [{"kty": "EC", "crv": "P-256", "kid": "demo", "alg": "ES256", "use": "sig",
        "x": "t-oXOwrh_RuGozrol7AosjvylX1D2tzJuyZZC78Mu3E", "y": "MncevHDkZF3sJSN2XasNv1ATHQRi90Mm8eb932IW-Jc"}]}"#;
    json!({"policies": [{
        "metadata": {"name": "a", "namespace": "shop"},
        "spec": {"jwtRules": [{
            "issuer": "https://idp.example.com",
            "audiences": ["shop"],
            "outputPayloadToHeader": "x-payload",
            "outputClaimToHeaders": [{"header": "x-user", "claim": "sub"}],
            "jwks": keys,
        }]},
    }]})
}

/// The modules that stand for Istio's own filters, as plugins.
pub(super) fn istio() -> Vec<Row> {
    let authentication = authentication();
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
