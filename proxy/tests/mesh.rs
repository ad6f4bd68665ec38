//! Several listeners and proxies: routing by host, mutual TLS, TCP, singletons.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use wasmplugin_host::surroundings::{self, TrafficDirection};
use wasmplugin_proxy::{
    Authority, ClientCertificates, ClientTls, Cluster, Listener, Proxy, Routes, ServerTls, Serves, Settings,
    VirtualHost,
};

use crate::clients::{Client, eventually};
use crate::modules::{self, plugin};
use crate::servers::{Server, nowhere, settings};

/// A virtual host of a table.
fn host(domain: &str, cluster: &str) -> VirtualHost {
    VirtualHost { domains: vec![domain.to_owned()], cluster: cluster.to_owned(), ..VirtualHost::default() }
}

fn ask(client: &mut Client, host: &str) -> u16 {
    client.send(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n")).answer().status
}

#[test]
fn requests_go_where_their_host_says() {
    let (one, other) = (Server::http1(), Server::http1());
    let mut settings = settings(one.address);
    settings.clusters.push(Cluster::new("other", [other.address]));
    settings.clusters.push(Cluster::new("empty", []));
    let routes = Routes::new([host("one.test", "upstream"), host("other.test", "other"), host("empty.test", "empty")]);
    settings.listeners = vec![Listener::new("a", routes), Listener::new("b", Routes::all("other"))];
    let proxy = Proxy::start(settings).unwrap();
    let mut client = Client::connect(proxy.address_of("a").unwrap());
    for (host, status) in [("one.test", 200), ("other.test", 200), ("empty.test", 503), ("nobody.test", 404)] {
        assert_eq!(ask(&mut client, host), status, "{host}");
    }
    assert_eq!((one.seen().len(), other.seen().len()), (1, 1));
    let mut client = Client::connect(proxy.address_of("b").unwrap());
    assert_eq!(ask(&mut client, "one.test"), 200);
    assert_eq!((one.seen().len(), other.seen().len()), (1, 2));
    assert_eq!(proxy.address_of("c"), None);
}

/// The proxy before a server, which wants certificates, and the one before its client.
fn pair(server: &Server, permissive: bool, server_names: &[&str]) -> (Proxy, Proxy) {
    let authority = Authority::new("cluster.local").unwrap();
    let identity = authority.identity("spiffe://cluster.local/ns/shop/sa/server", []).unwrap();
    let mut inbound = settings(server.address);
    let tls = ServerTls::new(&identity, ClientCertificates::Required).unwrap();
    inbound.listeners[0].tls = Some(if permissive { tls.permissive() } else { tls });
    inbound.listeners[0].facts =
        surroundings::Listener { direction: TrafficDirection::Inbound, ..surroundings::Listener::default() };
    let inbound = Proxy::start(inbound).unwrap();
    let identity = authority.identity("spiffe://cluster.local/ns/shop/sa/client", []).unwrap();
    let names = server_names.iter().map(|name| (*name).to_owned());
    let tls = ClientTls::mutual(&identity, "outbound_.80_._.server.shop.svc.cluster.local", names).unwrap();
    let cluster = Cluster { tls: Some(tls), ..Cluster::new("upstream", [inbound.address()]) };
    (Proxy::start(Settings::new(cluster)).unwrap(), inbound)
}

#[test]
fn two_proxies_know_each_other() {
    let server = Server::http1();
    let (outbound, inbound) = pair(&server, false, &["spiffe://cluster.local/ns/shop/sa/server"]);
    let mut client = Client::connect(outbound.address());
    client.send("GET / HTTP/1.1\r\nhost: server\r\nx-forwarded-client-cert: URI=spiffe://forged\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    let seen = server.seen().join("\n");
    let certificate = seen.lines().find(|line| line.starts_with("x-forwarded-client-cert: ")).unwrap();
    assert!(certificate.contains("By=spiffe://cluster.local/ns/shop/sa/server;Hash="), "{certificate}");
    assert!(certificate.ends_with(";URI=spiffe://cluster.local/ns/shop/sa/client"), "{certificate}");
    assert!(!certificate.contains("forged"), "{certificate}");
    assert!(seen.contains("x-forwarded-proto: http\n"), "{seen}");
    // Without a certificate there is no connection.
    let mut plain = Client::connect(inbound.address());
    plain.send("GET / HTTP/1.1\r\nhost: server\r\n\r\n");
    assert!(plain.try_answer().is_none());
}

#[test]
fn another_identity_is_not_believed() {
    let server = Server::http1();
    let (outbound, _inbound) = pair(&server, false, &["spiffe://cluster.local/ns/shop/sa/somebody-else"]);
    assert_eq!(Client::connect(outbound.address()).get("/").status, 503);
    assert_eq!(server.seen(), Vec::<String>::new());
}

#[test]
fn a_permissive_listener_takes_both() {
    let server = Server::http1();
    let (outbound, inbound) = pair(&server, true, &["spiffe://cluster.local/ns/shop/sa/server"]);
    assert_eq!(Client::connect(outbound.address()).get("/").status, 200);
    let mut plain = Client::connect(inbound.address());
    plain.send("GET / HTTP/1.1\r\nhost: server\r\nx-forwarded-client-cert: URI=spiffe://forged\r\n\r\n");
    assert_eq!(plain.answer().status, 200);
    assert!(!server.seen()[1].contains("forged"));
}

#[test]
fn somebody_who_never_finishes_the_handshake_is_cut_off() {
    let authority = Authority::new("cluster.local").unwrap();
    let identity = authority.identity("spiffe://cluster.local/ns/a/sa/b", []).unwrap();
    let mut settings = settings(nowhere());
    settings.listeners[0].tls = Some(ServerTls::new(&identity, ClientCertificates::Required).unwrap());
    settings.timeouts.request_headers = Duration::from_millis(100);
    let proxy = Proxy::start(settings).unwrap();
    let mut socket = TcpStream::connect(proxy.address()).unwrap();
    socket.write_all(&[22, 3, 1]).unwrap();
    assert_eq!(socket.read(&mut [0]).unwrap(), 0);
}

/// A server that answers each line with the same, and its end with `bye`.
fn echo() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut all = Vec::new();
                socket.read_to_end(&mut all).unwrap();
                all.extend_from_slice(b"bye");
                socket.write_all(&all).unwrap();
            });
        }
    });
    address
}

#[test]
fn bytes_go_through_both_ways_and_their_ends_too() {
    let mut settings = settings(echo());
    settings.listeners[0].serves = Serves::Tcp { cluster: "upstream".to_owned() };
    let proxy = Proxy::start(settings).unwrap();
    let mut socket = TcpStream::connect(proxy.address()).unwrap();
    let sent = vec![b'x'; 3 << 20];
    socket.write_all(&sent).unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    let mut all = Vec::new();
    socket.read_to_end(&mut all).unwrap();
    assert_eq!((all.len(), all.ends_with(b"bye")), (sent.len() + 3, true));
    eventually("nothing is left", || proxy.activity() == Default::default());
}

#[test]
fn bytes_for_nobody_are_not_taken() {
    let mut settings = settings(nowhere());
    settings.listeners[0].serves = Serves::Tcp { cluster: "upstream".to_owned() };
    let proxy = Proxy::start(settings).unwrap();
    let mut socket = TcpStream::connect(proxy.address()).unwrap();
    assert_eq!(socket.read(&mut [0]).unwrap_or_default(), 0);
    eventually("nothing is left", || proxy.activity() == Default::default());
}

#[test]
fn a_singleton_runs_once_whatever_the_number_of_workers() {
    let mut settings = settings(nowhere());
    settings.workers = 3;
    settings.singletons.push(plugin("ticks", &modules::ticks()));
    let proxy = Proxy::start(settings).unwrap();
    let ticks = || proxy.services().metrics().value("my.ticks{kind=fast}").unwrap_or_default();
    eventually("it ticks", || ticks() >= 3);
    let page = Client::connect(proxy.admin_address().unwrap()).get("/stats/prometheus").body;
    assert!(page.contains("envoy_wasm_envoy_wasm_runtime_wasmtime_created{} 1\n") || ticks() > 0, "{page}");
    assert_eq!(proxy.activity().exchanges, 0);
}
