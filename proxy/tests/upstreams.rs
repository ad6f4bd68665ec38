//! Servers that fail, and what the client hears of it.

use std::time::Duration;

use wasmplugin_proxy::{Cluster, Proxy, Settings};

use crate::clients::{Client, eventually};
use crate::modules::{self, plugin};
use crate::servers::{Server, nowhere, proxy, read_head, says, scripted, settings};

const BEFORE: &str = "upstream connect error or disconnect/reset before headers. reset reason: ";

#[test]
fn failures_before_the_headers_become_envoys_replies() {
    let cases = [
        (nowhere(), 503, "remote connection failure"),
        (says(""), 503, "connection termination"),
        (says("nonsense, not HTTP\r\n\r\n"), 502, "protocol error"),
    ];
    for (server, status, reason) in cases {
        let proxy = proxy(server, [plugin("adds", &modules::adds_header())]);
        let mut client = Client::connect(proxy.address());
        for _ in 0..2 {
            let answer = client.get("/");
            assert_eq!((answer.status, answer.body.clone()), (status, format!("{BEFORE}{reason}")));
            assert_eq!(answer.header("content-type"), Some("text/plain"));
            assert_eq!(answer.header("server"), Some("envoy"));
            assert_eq!(answer.header("x-wasm"), Some("1"), "the plugins see the reply");
            assert_eq!(answer.header("x-envoy-upstream-service-time"), None);
        }
        assert_eq!(proxy.activity().exchanges, 0);
    }
}

#[test]
fn a_cluster_without_servers_is_unhealthy() {
    let proxy = Proxy::start(Settings::new(Cluster::new("upstream", []))).unwrap();
    let answer = Client::connect(proxy.address()).get("/");
    assert_eq!((answer.status, answer.body.as_str()), (503, "no healthy upstream"));
}

#[test]
fn a_response_that_breaks_off_cuts_the_client_off() {
    let proxy = proxy(says("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npartial"), []);
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
    assert_eq!(client.head().unwrap().header("content-length"), Some("100"));
    assert_eq!(client.exactly(7).unwrap(), "partial");
    assert!(client.is_closed());
    eventually("the exchange ends", || proxy.activity().exchanges == 0);
}

#[test]
fn a_response_without_a_length_ends_with_its_connection() {
    let proxy = proxy(says("HTTP/1.1 200 OK\r\n\r\nall of it"), []);
    let answer = Client::connect(proxy.address()).get("/");
    assert_eq!((answer.status, answer.body.as_str()), (200, "all of it"));
}

#[test]
fn a_slow_upstream_is_given_up() {
    let server = Server::http1();
    let mut settings = settings(server.address);
    settings.timeouts.route = Some(Duration::from_secs(1));
    let proxy = Proxy::start(settings).unwrap();
    let mut client = Client::connect(proxy.address());
    let answer = client.get("/never");
    assert_eq!((answer.status, answer.body.as_str()), (504, "upstream request timeout"));
    assert_eq!(client.get("/").status, 200);
    eventually("the slow connection is closed", || proxy.activity().upstream_connections == 1);
}

#[test]
fn a_kept_connection_that_the_server_closed_is_replaced() {
    let server = scripted(|mut socket| {
        use std::io::Write as _;
        read_head(&mut socket);
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
    });
    let proxy = proxy(server, []);
    let mut client = Client::connect(proxy.address());
    for _ in 0..5 {
        assert_eq!(client.get("/").body, "ok");
        eventually("the proxy notices", || proxy.activity().upstream_connections == 0);
    }
}

#[test]
fn servers_of_a_cluster_take_turns() {
    let servers = [Server::http1(), Server::http1()];
    let cluster = Cluster::new("upstream", servers.iter().map(|server| server.address));
    let proxy = Proxy::start(Settings::new(cluster)).unwrap();
    let mut client = Client::connect(proxy.address());
    for _ in 0..10 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(servers.map(|server| server.seen().len()), [5, 5]);
}

#[test]
fn a_client_that_leaves_takes_its_upstream_request_along() {
    let server = Server::http1();
    let proxy = proxy(server.address, [plugin("adds", &modules::adds_header())]);
    let mut client = Client::connect(proxy.address());
    client.send("GET /never HTTP/1.1\r\nhost: test\r\n\r\n");
    eventually("the upstream is asked", || server.seen().len() == 1);
    assert_eq!((proxy.activity().exchanges, proxy.activity().contexts), (1, 1));
    client.leave();
    eventually("nothing is left", || proxy.activity() == Default::default());
}
