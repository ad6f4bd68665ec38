//! gRPC callouts over real connections.

use wasmplugin_host::envoy::backend::Backend;
use wasmplugin_host::test::{Cluster as Script, GrpcAnswer, Request};
use wasmplugin_proxy::{Cluster, Proxy};

use crate::clients::{Client, eventually};
use crate::modules::{self, plugin};
use crate::servers::{Server, nowhere, settings};

fn proxy(upstream: &Server, oracle: std::net::SocketAddr, module: &str) -> Proxy {
    let mut settings = settings(upstream.address);
    settings.listeners[0].plugins.push(plugin("asks", module));
    settings.clusters.push(Cluster { http2: true, ..Cluster::new("oracle", [oracle]) });
    Proxy::start(settings).unwrap()
}

fn oracle(answer: impl Fn(&Request) -> GrpcAnswer + Send + Sync + 'static) -> Backend {
    Backend::start(Script::grpc("oracle", answer)).unwrap()
}

#[test]
fn a_unary_call_decides() {
    let upstream = Server::http1();
    let before = "upstream connect error or disconnect/reset before headers. reset reason: ";
    let broken = "{upstream_reset_before_response_started{";
    let cases: [(GrpcAnswer, u16, String); 4] = [
        (GrpcAnswer::message("yes"), 200, "upstream".to_owned()),
        (GrpcAnswer::status(7, "not you"), 403, "not you{via_upstream}".to_owned()),
        (GrpcAnswer::never(), 403, "upstream request timeout{response_timeout}".to_owned()),
        (GrpcAnswer::reset(), 403, format!("{before}connection termination{broken}connection_termination}}}}")),
    ];
    for (answer, status, body) in cases {
        let service = oracle(move |_| answer.clone());
        let proxy = proxy(&upstream, service.address(), &modules::calls(300));
        let response = Client::connect(proxy.address()).get("/");
        assert_eq!((response.status, response.body), (status, body));
        eventually("nothing is left", || proxy.activity().callouts == 0);
    }
    let nobody = proxy(&upstream, nowhere(), &modules::calls(300));
    let response = Client::connect(nobody.address()).get("/");
    assert_eq!(response.status, 403);
    assert!(response.body.contains("remote connection failure"), "{}", response.body);
}

#[test]
fn a_stream_goes_both_ways() {
    let upstream = Server::http1();
    let script = Script::grpc_stream("oracle", |call| match call.is_complete() {
        false => GrpcAnswer::more().and_message("heard"),
        true => GrpcAnswer::status(0, ""),
    });
    let service = Backend::start(script.clone()).unwrap();
    let proxy = proxy(&upstream, service.address(), &modules::talks());
    assert_eq!(Client::connect(proxy.address()).get("/").body, "upstream");
    assert_eq!(script.requests()[0].messages(), ["hello", "hello"]);
    eventually("nothing is left", || proxy.activity().callouts == 0);
}

#[test]
fn a_client_that_leaves_leaves_nothing_behind() {
    let upstream = Server::http1();
    let service = oracle(|_| GrpcAnswer::never());
    let proxy = proxy(&upstream, service.address(), &modules::calls(400));
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
    eventually("the call is on its way", || proxy.activity().callouts == 1);
    client.leave();
    // The connection of HTTP/2 stays for the next call.
    eventually("nothing is left", || {
        let left = proxy.activity();
        (left.connections, left.exchanges, left.contexts, left.callouts) == (0, 0, 0, 0)
    });
}
