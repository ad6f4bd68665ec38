//! Many at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use wasmplugin_proxy::{Cluster, Proxy};

use crate::clients::eventually;
use crate::modules::{self, plugin};
use crate::servers::{Server, settings};

const CLIENTS: usize = 1000;

#[test]
fn a_thousand_exchanges_at_once_keep_their_own() {
    let (server, auth) = (Server::http1(), Server::http1());
    let mut settings = settings(server.address);
    settings.workers = 2;
    settings.clusters.push(Cluster::new("auth", [auth.address]));
    settings.listeners[0].plugins =
        vec![plugin("asks", &modules::asks(20_000)), plugin("adds", &modules::adds_header())];
    let proxy = Proxy::start(settings).unwrap();
    let address = proxy.address();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let barrier = Arc::new(Barrier::new(CLIENTS));
        let clients = (0..CLIENTS).map(|n| {
            let barrier = Arc::clone(&barrier);
            tokio::spawn(async move {
                let socket = TokioIo::new(TcpStream::connect(address).await.unwrap());
                let (mut sender, connection) = http1::handshake(socket).await.unwrap();
                tokio::spawn(connection);
                barrier.wait().await;
                for round in 0..2 {
                    let text = format!("{n}/{round}");
                    let request =
                        Request::post("/echo").header("host", "test").body(Full::new(Bytes::from(text.clone())));
                    let response = sender.send_request(request.unwrap()).await.unwrap();
                    assert_eq!(response.status(), 200);
                    assert_eq!(response.headers()["x-wasm"], "1");
                    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), text);
                }
            })
        });
        let all = async {
            for client in clients.collect::<Vec<_>>() {
                client.await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(60), all).await.unwrap();
    });
    drop(runtime);
    assert_eq!((server.seen().len(), auth.seen().len()), (2 * CLIENTS, 2 * CLIENTS));
    eventually("all have left", || {
        let activity = proxy.activity();
        (activity.connections, activity.exchanges, activity.contexts, activity.callouts) == (0, 0, 0, 0)
    });
}
