//! Callouts over real connections.

use std::net::SocketAddr;
use std::time::Duration;

use wasmplugin_proxy::{Cluster, Proxy};

use crate::clients::{Client, eventually};
use crate::modules::{self, plugin};
use crate::servers::{Server, nowhere, read_head, says, scripted, settings};

fn proxy(upstream: &Server, auth: SocketAddr, timeout: u32) -> Proxy {
    let mut settings = settings(upstream.address);
    settings.listeners[0].plugins.push(plugin("asks", &modules::asks(timeout)));
    settings.clusters.push(Cluster { connect_timeout: Duration::from_secs(2), ..Cluster::new("auth", [auth]) });
    settings.callout_limit = 1000;
    Proxy::start(settings).unwrap()
}

#[test]
fn an_answer_decides() {
    let (upstream, auth) = (Server::http1(), Server::http1());
    let allowing = proxy(&upstream, auth.address, 5000);
    let mut client = Client::connect(allowing.address());
    for _ in 0..3 {
        assert_eq!(client.get("/").body, "upstream");
    }
    assert!(auth.seen()[0].starts_with("GET /check\nhost: auth\n"), "{}", auth.seen()[0]);
    assert_eq!(upstream.seen().len(), 3);
    let denying = proxy(&upstream, says("HTTP/1.1 401 No\r\ncontent-length: 7\r\n\r\ngo away"), 5000);
    let answer = Client::connect(denying.address()).get("/");
    assert_eq!((answer.status, answer.body.as_str()), (403, "go away"));
    assert_eq!(upstream.seen().len(), 3);
}

#[test]
fn failures_are_told_in_envoys_words() {
    let upstream = Server::http1();
    let before = "upstream connect error or disconnect/reset before headers. reset reason: ";
    let never = scripted(|mut socket| {
        read_head(&mut socket);
        std::thread::sleep(Duration::from_secs(60));
    });
    let large = format!("HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n{}", "x".repeat(2000));
    let cases = [
        (nowhere(), format!("{before}remote connection failure")),
        (says(""), format!("{before}connection termination")),
        (says("nonsense\r\n\r\n"), format!("{before}protocol error")),
        (says("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart"), "failed".to_owned()),
        (says(large.leak()), "failed".to_owned()),
        (never, "upstream request timeout".to_owned()),
    ];
    for (auth, expected) in cases {
        let proxy = proxy(&upstream, auth, 200);
        let answer = Client::connect(proxy.address()).get("/");
        assert_eq!((answer.status, answer.body), (403, expected));
        assert_eq!((proxy.activity().callouts, proxy.activity().exchanges), (0, 0));
    }
    assert_eq!(upstream.seen(), Vec::<String>::new());
}

#[test]
fn an_answer_that_comes_too_late_finds_nobody() {
    let upstream = Server::http1();
    let never = scripted(|mut socket| {
        read_head(&mut socket);
        std::thread::sleep(Duration::from_secs(60));
    });
    let proxy = proxy(&upstream, never, 300);
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
    eventually("the callout is on its way", || proxy.activity().callouts == 1);
    client.leave();
    eventually("nothing is left", || proxy.activity() == Default::default());
}
