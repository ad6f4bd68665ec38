//! Examples that ask other servers.

use serde_json::json;

use super::{Row, bearer, row};

/// Examples that ask other servers.
pub(super) fn callers() -> Vec<Row> {
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
