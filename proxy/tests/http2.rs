//! HTTP/2, without negotiation, on either side.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body, Frame};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{HeaderMap, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use wasmplugin_proxy::{Cluster, Proxy, Settings};

use crate::clients::{Client, eventually};
use crate::modules::{self, plugin};
use crate::servers::{Server, proxy};

async fn connect<B>(address: SocketAddr) -> SendRequest<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let socket = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (sender, connection) = handshake(TokioExecutor::new(), socket).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A body whose length nobody knows beforehand.
struct Frames(VecDeque<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), test).await.unwrap() })
}

#[test]
fn one_port_speaks_both() {
    let server = Server::http1();
    let proxy = proxy(server.address, [plugin("adds", &modules::adds_header())]);
    assert_eq!(Client::connect(proxy.address()).get("/").body, "upstream");
    run(async {
        let mut sender = connect(proxy.address()).await;
        for _ in 0..3 {
            let request = Request::get("http://test/a").body(Empty::<Bytes>::new()).unwrap();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["x-wasm"], "1");
            assert_eq!(response.headers()["server"], "envoy");
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "upstream");
        }
    });
    assert!(server.seen()[1].starts_with("GET /a\nhost: test\n"));
}

#[test]
fn bodies_and_trailers_go_both_ways() {
    for (server, http2) in [(Server::http1(), false), (Server::http2(), true)] {
        let mut cluster = Cluster::new("upstream", [server.address]);
        cluster.http2 = http2;
        let mut settings = Settings::new(cluster);
        settings.listeners[0].plugins.push(plugin("buffers", &modules::buffers()));
        let proxy = Proxy::start(settings).unwrap();
        run(async {
            let mut sender = connect(proxy.address()).await;
            for body in ["", "abc"] {
                let mut trailers = HeaderMap::new();
                trailers.insert("x-sum", "7".parse().unwrap());
                let body = Frames([Frame::data(Bytes::from(body)), Frame::trailers(trailers)].into());
                let request = Request::post("http://test/echo").header("te", "trailers").header("trailer", "x-sum");
                let response = sender.send_request(request.body(body).unwrap()).await.unwrap();
                let collected = response.into_body().collect().await.unwrap();
                assert_eq!(collected.trailers().unwrap()["x-sum"], "7");
            }
        });
    }
}

#[test]
fn many_streams_share_one_connection_to_the_upstream() {
    let server = Server::http2();
    let proxy = Proxy::start(Settings::new(Cluster::new("upstream", [server.address]).http2())).unwrap();
    run(async {
        let sender = connect(proxy.address()).await;
        let requests = (0..100).map(|n| {
            let mut sender = sender.clone();
            tokio::spawn(async move {
                let request = Request::get(format!("http://test/bytes/{n}")).body(Empty::<Bytes>::new()).unwrap();
                let response = sender.send_request(request).await.unwrap();
                assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), n);
            })
        });
        for request in requests.collect::<Vec<_>>() {
            request.await.unwrap();
        }
    });
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    assert!(server.seen()[0].starts_with("GET http://test/bytes/"));
}

#[test]
fn a_stream_that_is_reset_leaves_nothing_behind() {
    let server = Server::http1();
    let proxy = proxy(server.address, [plugin("adds", &modules::adds_header())]);
    run(async {
        let mut sender = connect(proxy.address()).await;
        let request = Request::get("http://test/never").body(Empty::<Bytes>::new()).unwrap();
        let answer = tokio::spawn(sender.send_request(request));
        while server.seen().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        answer.abort();
        // The connection goes on.
        while proxy.activity().exchanges != 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let request = Request::get("http://test/").body(Empty::<Bytes>::new()).unwrap();
        assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
    });
    eventually("nothing is left", || proxy.activity().contexts == 0 && proxy.activity().connections == 0);
}
