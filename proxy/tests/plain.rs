//! HTTP/1.1 without any plugin: what a proxy does by itself.

use std::sync::atomic::Ordering;

use crate::clients::Client;
use crate::servers::{Server, proxy};

#[test]
fn a_request_goes_through_and_gets_envoys_headers() {
    let server = Server::http1();
    let proxy = proxy(server.address, []);
    let answer = Client::connect(proxy.address()).get("/a?b=c");
    assert_eq!((answer.status, answer.body.as_str()), (200, "upstream"));
    let names: Vec<&str> = answer.headers.iter().map(|(name, _)| name.as_str()).collect();
    for name in ["x-from", "content-length", "x-envoy-upstream-service-time", "date", "server"] {
        assert_eq!(names.iter().filter(|have| **have == name).count(), 1, "{name} in {names:?}");
    }
    assert_eq!(answer.header("server"), Some("envoy"));
    let seen = server.seen().remove(0);
    assert!(seen.starts_with("GET /a?b=c\nhost: test\nx-forwarded-proto: http\nx-request-id: "), "{seen}");
    assert!(seen.contains("\nx-envoy-expected-rq-timeout-ms: 15000\n"), "{seen}");
}

#[test]
fn connections_are_kept_on_both_sides() {
    let server = Server::http1();
    let proxy = proxy(server.address, []);
    let mut client = Client::connect(proxy.address());
    for _ in 0..10 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    let activity = proxy.activity();
    assert_eq!((activity.connections, activity.exchanges, activity.upstream_connections), (1, 0, 1));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::http1();
    let proxy = proxy(server.address, []);
    let mut client = Client::connect(proxy.address());
    let requests: String = (1..=20).map(|n| format!("GET /bytes/{n} HTTP/1.1\r\nhost: test\r\n\r\n")).collect();
    client.send(requests);
    for n in 1..=20 {
        assert_eq!(client.answer().body.len(), n);
    }
}

#[test]
fn hop_by_hop_headers_stay_behind() {
    let server = Server::http1();
    let proxy = proxy(server.address, []);
    let mut client = Client::connect(proxy.address());
    client.send(
        "GET / HTTP/1.1\r\nhost: test\r\nconnection: keep-alive\r\nkeep-alive: timeout=5\r\nproxy-connection: x\r\n\
         te: gzip\r\nx-request-id: mine\r\n\r\n",
    );
    assert_eq!(client.answer().status, 200);
    let seen = server.seen().remove(0);
    for gone in ["\nconnection:", "keep-alive", "proxy-connection", "\nte:"] {
        assert!(!seen.contains(gone), "{gone} in {seen}");
    }
    assert!(seen.contains("x-request-id: mine\n"), "{seen}");
}

#[test]
fn head_and_empty_answers_have_no_body() {
    let server = Server::http1();
    let proxy = proxy(server.address, []);
    let mut client = Client::connect(proxy.address());
    client.send("HEAD /bytes/7 HTTP/1.1\r\nhost: test\r\n\r\n");
    let head = client.head().unwrap();
    assert_eq!((head.status, head.header("content-length")), (200, Some("7")));
    assert_eq!(client.get("/status/204").status, 204);
    assert_eq!(client.get("/status/304").status, 304);
    assert_eq!(client.get("/").body, "upstream");
}

#[test]
fn requests_that_envoy_refuses_are_refused() {
    let server = Server::http1();
    let proxy = proxy(server.address, []);
    let status = |request: &str| Client::connect(proxy.address()).send(request).head().unwrap().status;
    assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), 400, "no host");
    assert_eq!(status("GET / HTTP/1.1\r\nhost: test\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"), 403);
    assert_eq!(status("nonsense\r\n\r\n"), 400);
    assert_eq!(status("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: x\r\n\r\n"), 400);
    let mut old = Client::connect(proxy.address());
    old.send("GET / HTTP/1.0\r\nhost: test\r\n\r\n");
    assert!(old.exactly(12).unwrap().ends_with(" 426"));
    let large = format!("GET / HTTP/1.1\r\nhost: test\r\nx: {}\r\n\r\n", "y".repeat(61 * 1024));
    assert_eq!(status(&large), 431);
    assert_eq!(server.seen(), Vec::<String>::new());
    assert_eq!(Client::connect(proxy.address()).get("/").status, 200);
}
