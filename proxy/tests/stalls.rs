//! Peers that stop in the middle, or never do: bounded, with the status that Envoy gives.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use wasmplugin_proxy::{Authority, ClientCertificates, Cluster, Proxy, ServerTls, Serves, Settings};

use crate::clients::{Client, eventually};
use crate::modules::{self, plugin};
use crate::servers::{Server, nowhere, proxy, read_head, scripted, settings};

const BEFORE: &str = "upstream connect error or disconnect/reset before headers. reset reason: ";

/// A time that is meant to run out.
const SOON: Duration = Duration::from_millis(200);
/// One in which a busy machine gets done what comes first.
const LATER: Duration = Duration::from_secs(2);
/// One that nothing here takes.
const NEVER: Duration = Duration::from_secs(60);

/// A proxy in front of that server that waits so long for it.
fn patient(server: SocketAddr, patience: Duration) -> Proxy {
    let mut settings = settings(server);
    settings.timeouts.route = Some(patience);
    settings.listeners[0].plugins.push(plugin("adds", &modules::adds_header()));
    Proxy::start(settings).unwrap()
}

/// A server that says these bytes after a request's headers, and then nothing.
fn stalls_after(words: &'static str) -> SocketAddr {
    scripted(move |mut socket| {
        read_head(&mut socket);
        socket.write_all(words.as_bytes()).unwrap();
        // Until the proxy gives it up.
        std::io::copy(&mut socket, &mut std::io::sink()).ok();
    })
}

/// A server that says the same for as long as anybody listens.
fn never_ends(start: &'static str, rest: &'static str) -> SocketAddr {
    scripted(move |mut socket| {
        read_head(&mut socket);
        let rest = rest.repeat(1000);
        let mut said = socket.write_all(start.as_bytes());
        while said.is_ok() {
            said = socket.write_all(rest.as_bytes());
        }
    })
}

fn nothing_is_left(proxy: &Proxy) {
    eventually("nothing is left", || {
        let activity = proxy.activity();
        (activity.exchanges, activity.contexts, activity.upstream_connections) == (0, 0, 0)
    });
}

#[test]
fn headers_byte_by_byte() {
    let mut settings = settings(nowhere());
    settings.timeouts.request_headers = SOON;
    let proxy = Proxy::start(settings).unwrap();
    for words in ["GET / HTTP/1.1\r\nhost: test\r\nx: ", "PRI * HTTP/2.0\r\n\r\nS"] {
        let socket = TcpStream::connect(proxy.address()).unwrap();
        let mut slow = socket.try_clone().unwrap();
        let drips = std::thread::spawn(move || {
            let mut bytes = words.bytes().chain(std::iter::repeat(b'x'));
            // Never silent for long, and never done; a preface that goes wrong is a request line without an end.
            while bytes.next().is_some_and(|byte| slow.write_all(&[byte]).is_ok()) {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let mut answer = Vec::new();
        // A reset is an end as well.
        Client::over(socket).rest(&mut answer);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"), "{}", answer.escape_ascii());
        drips.join().unwrap();
    }
    eventually("nobody is left", || proxy.activity().connections == 0);
}

#[test]
fn a_body_that_stops() {
    let server = Server::http1();
    let mut settings = settings(server.address);
    settings.timeouts.stream_idle = SOON;
    let proxy = Proxy::start(settings).unwrap();
    for framing in [
        "content-length: 5\r\n\r\nhe",
        "transfer-encoding: chunked\r\n\r\n5\r\nhe",
        "transfer-encoding: chunked\r\n\r\n5",
    ] {
        let mut client = Client::connect(proxy.address());
        let answer = client.send(format!("POST /never HTTP/1.1\r\nhost: test\r\n{framing}")).answer();
        assert_eq!((answer.status, answer.body.as_str()), (408, "stream timeout"), "{framing}");
        assert!(client.is_closed());
    }
    nothing_is_left(&proxy);
}

#[test]
fn a_handshake_that_stops() {
    let mut settings = settings(nowhere());
    settings.timeouts.request_headers = SOON;
    let identity = Authority::new("cluster.local").unwrap().identity("spiffe://cluster.local/ns/a/sa/b", []).unwrap();
    settings.listeners[0].tls = Some(ServerTls::new(&identity, ClientCertificates::Required).unwrap());
    let proxy = Proxy::start(settings).unwrap();
    for words in [&b""[..], &[22, 3, 1, 0, 200, 1], b"GET / HTTP/1.1\r\nhost: test\r\n\r\n"] {
        let mut client = Client::connect(proxy.address());
        let mut answer = Vec::new();
        client.send(words).rest(&mut answer);
        assert!(!answer.starts_with(b"HTTP/"), "{}", answer.escape_ascii());
    }
    eventually("nobody is left", || proxy.activity().connections == 0);
}

#[test]
fn a_client_that_does_not_read() {
    let server = Server::http1();
    let mut settings = settings(server.address);
    settings.timeouts.stream_idle = LATER;
    let proxy = Proxy::start(settings).unwrap();
    let mut client = Client::connect(proxy.address());
    client.send("GET /bytes/50000000 HTTP/1.1\r\nhost: test\r\n\r\n");
    eventually("it is answered", || server.seen().len() == 1);
    nothing_is_left(&proxy);
    assert_eq!(Client::connect(proxy.address()).get("/").status, 200);
}

#[test]
fn a_client_of_bytes_that_does_not_read() {
    let (serves, served) = mpsc::channel();
    let mut settings = settings(scripted(move |mut socket| {
        serves.send(()).unwrap();
        while socket.write_all(&[0; 1 << 16]).is_ok() {}
    }));
    settings.timeouts.connection_idle = SOON;
    settings.listeners[0].serves = Serves::Tcp { cluster: "upstream".to_owned() };
    let proxy = Proxy::start(settings).unwrap();
    let _client = Client::connect(proxy.address());
    served.recv().unwrap();
    eventually("nobody is left", || proxy.activity().connections == 0);
}

#[test]
fn a_server_that_never_answers() {
    for http2 in [false, true] {
        let server = scripted(|mut socket| drop(std::io::copy(&mut socket, &mut std::io::sink())));
        let mut cluster = Cluster::new("upstream", [server]);
        cluster.http2 = http2;
        let mut settings = Settings::new(cluster);
        settings.timeouts.route = Some(SOON);
        settings.listeners[0].plugins.push(plugin("adds", &modules::adds_header()));
        let proxy = Proxy::start(settings).unwrap();
        let mut client = Client::connect(proxy.address());
        for _ in 0..2 {
            let answer = client.get("/");
            assert_eq!((answer.status, answer.body.as_str()), (504, "upstream request timeout"), "HTTP/2: {http2}");
            assert_eq!(answer.header("x-wasm"), Some("1"));
        }
        eventually("the exchanges end", || (proxy.activity().exchanges, proxy.activity().contexts) == (0, 0));
    }
}

#[test]
fn a_response_that_stops() {
    for words in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nab",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n",
        "HTTP/1.1 200 OK\r\n\r\nab",
    ] {
        let proxy = patient(stalls_after(words), LATER);
        let mut client = Client::connect(proxy.address());
        client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
        assert_eq!(client.head().unwrap().status, 200);
        let mut rest = Vec::new();
        client.rest(&mut rest);
        // No last chunk: the client knows that this is not all.
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{}", rest.escape_ascii());
        nothing_is_left(&proxy);
    }
    for words in ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\nx", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let proxy = patient(stalls_after(words), SOON);
        let answer = Client::connect(proxy.address()).get("/");
        assert_eq!((answer.status, answer.body.as_str()), (504, "upstream request timeout"), "{words:?}");
        nothing_is_left(&proxy);
    }
}

#[test]
fn a_response_that_never_ends() {
    let error = (NEVER, 502, format!("{BEFORE}protocol error"));
    let late = (SOON, 504, "upstream request timeout".to_owned());
    for (start, rest, expected) in [
        ("HTTP/1.1 200 OK\r\n", "x: y\r\n", &error),
        ("HTTP/1.1 200 OK\r\nx: ", "yyyyyyyyyyyyyyyy", &error),
        ("HTTP/1.1 200 ", "OK OK OK OK OK ", &error),
        ("", "HTTP/1.1 100 Continue\r\n\r\n", &late),
        ("", "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n", &late),
    ] {
        let (patience, status, body) = expected;
        let proxy = patient(never_ends(start, rest), *patience);
        // Whoever shares the worker with it is served meanwhile.
        let mut other = Client::connect(proxy.address());
        other.send("GET / HTTP/1.0\r\n\r\n");
        let answer = Client::connect(proxy.address()).get("/");
        assert_eq!((answer.status, &answer.body), (*status, body), "{start:?} {rest:?}");
        assert_eq!(other.exactly(12).unwrap(), "HTTP/1.0 426");
        nothing_is_left(&proxy);
    }
}

#[test]
fn a_response_that_is_none() {
    let error = format!("{BEFORE}protocol error");
    for words in [
        "\0\u{1}\u{2}garbage\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 2\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx : a\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 1000 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 20x OK\r\ncontent-length: 0\r\n\r\n",
    ] {
        let proxy = proxy(stalls_after(words), []);
        let answer = Client::connect(proxy.address()).get("/");
        assert_eq!((answer.status, answer.body), (502, error.clone()), "{words:?}");
        nothing_is_left(&proxy);
    }
}

#[test]
fn an_answer_that_nobody_asked_for() {
    let evil = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let proxy = proxy(stalls_after(evil), []);
    let mut client = Client::connect(proxy.address());
    for _ in 0..5 {
        assert_eq!(client.get("/").body, "ok");
    }
}
