//! Bodies and trailers, in both directions, large and small.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::Duration;

use wasmplugin_proxy::Proxy;

use crate::clients::{Client, eventually};
use crate::modules::{self, plugin};
use crate::servers::{Server, proxy, read_head, scripted, settings};

#[test]
fn chunks_and_trailers_go_both_ways() {
    let server = Server::http1();
    let proxy = proxy(server.address, [plugin("buffers", &modules::buffers())]);
    let mut client = Client::connect(proxy.address());
    for _ in 0..3 {
        client.send(
            "POST /echo HTTP/1.1\r\nhost: test\r\nte: trailers\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n\
             3\r\nabc\r\n4\r\ndefg\r\n0\r\nx-sum: 7\r\n\r\n",
        );
        let answer = client.answer();
        assert_eq!((answer.status, answer.body.as_str()), (200, "abcdefg"));
        assert_eq!(answer.trailers, [("x-sum".to_owned(), "7".to_owned())]);
    }
    client.send("GET /trailers HTTP/1.1\r\nhost: test\r\nte: trailers\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.body.as_str(), answer.trailers), ("body", vec![("x-sum".to_owned(), "42".to_owned())]));
}

#[test]
fn lengths_stay_what_they_are() {
    let server = Server::http1();
    let proxy = proxy(server.address, []);
    let mut client = Client::connect(proxy.address());
    client.send("POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: 5\r\n\r\nhello");
    assert_eq!(client.answer().body, "hello");
    client.send("POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(client.answer().body, "");
    let seen = server.seen();
    assert!(seen[0].contains("content-length: 5\n") && !seen[0].contains("transfer-encoding"), "{}", seen[0]);
    assert!(seen[1].contains("content-length: 0\n"), "{}", seen[1]);
}

#[test]
fn a_large_body_comes_back_whole() {
    let server = Server::http1();
    let proxy = proxy(server.address, []);
    let size = 8 << 20;
    let mut writer = TcpStream::connect(proxy.address()).unwrap();
    let reader = writer.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        writer
            .write_all(format!("POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: {size}\r\n\r\n").as_bytes())
            .unwrap();
        let piece = [b'z'; 64 * 1024];
        for _ in 0..size / piece.len() {
            writer.write_all(&piece).unwrap();
        }
    });
    let answer = Client::over(reader).answer();
    sender.join().unwrap();
    assert_eq!(answer.body.len(), size);
    assert!(answer.body.bytes().all(|byte| byte == b'z'));
}

#[test]
fn a_body_beyond_the_limit_is_refused() {
    let server = Server::http1();
    let proxy = proxy(server.address, [plugin("buffers", &modules::buffers())]);
    let mut client = Client::connect(proxy.address());
    let size = 3 << 20;
    client.send(format!("POST /never HTTP/1.1\r\nhost: test\r\ncontent-length: {size}\r\n\r\n"));
    for _ in 0..size / (64 * 1024) {
        client.send([b'z'; 64 * 1024]);
    }
    let answer = client.answer();
    assert_eq!((answer.status, answer.body.as_str()), (413, "Payload Too Large"));
    eventually("the upstream request is given up", || proxy.activity().upstream_connections == 0);
    // A body up to the limit goes through as a whole.
    let mut client = Client::connect(proxy.address());
    client.send("POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: 500000\r\n\r\n").send("z".repeat(500_000));
    assert_eq!(client.answer().body.len(), 500_000);
}

#[test]
fn a_client_that_does_not_read_slows_the_upstream_down() {
    let (told, written) = mpsc::channel();
    let server = scripted(move |mut socket| {
        read_head(&mut socket);
        socket.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 268435456\r\n\r\n").unwrap();
        let mut count = 0usize;
        while let Ok(more) = socket.write(&[b'x'; 64 * 1024]) {
            count += more;
        }
        told.send(count).unwrap();
    });
    let proxy = proxy(server, []);
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 200);
    let count = written.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(count < 32 << 20, "the upstream could write {count} bytes that nobody read");
    client.leave();
    eventually("the exchange ends", || proxy.activity().exchanges == 0);
}

#[test]
fn an_upstream_that_does_not_read_slows_the_client_down() {
    let server = scripted(|mut socket| {
        read_head(&mut socket);
        std::thread::sleep(Duration::from_secs(60));
    });
    let mut settings = settings(server);
    settings.timeouts.stream_idle = Duration::from_secs(1);
    let proxy = Proxy::start(settings).unwrap();
    let mut socket = TcpStream::connect(proxy.address()).unwrap();
    socket.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    socket.write_all(b"POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 268435456\r\n\r\n").unwrap();
    let mut count = 0usize;
    while let Ok(more) = socket.write(&[b'x'; 64 * 1024]) {
        count += more;
    }
    assert!(count < 32 << 20, "the client could send {count} bytes that nobody read");
    // As long as the proxy does not read, it does not hear the client leave; but it does not wait for ever.
    drop(socket);
    eventually("the exchange ends", || proxy.activity().exchanges == 0);
}

#[test]
fn a_malformed_chunk_is_refused() {
    let server = Server::http1();
    let proxy = proxy(server.address, [plugin("buffers", &modules::buffers())]);
    let mut client = Client::connect(proxy.address());
    client.send("POST /echo HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n");
    assert_eq!(client.head().unwrap().status, 400);
    eventually("the exchange ends", || proxy.activity().exchanges == 0);
}
