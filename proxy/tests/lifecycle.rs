//! Start and end: as a whole, or not at all.

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use wasmplugin_host::wasm::Module;
use wasmplugin_proxy::{Cluster, Plugin, Proxy, Routes, Serves, Settings, StartError};

use crate::clients::{Client, eventually};
use crate::modules::{self, plugin};
use crate::servers::{Server, nowhere, proxy, settings};

fn refused(settings: Settings) -> String {
    match Proxy::start(settings) {
        Ok(_) => panic!("it starts"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn settings_that_contradict_themselves_are_named() {
    let mut settings = Settings::new(Cluster::new("a", []));
    settings.listeners[0].serves = Serves::Http(Routes::all("b"));
    assert_eq!(refused(settings), "requests are to go to cluster `b`, which does not exist; known clusters: `a`");
    let mut settings = Settings::new(Cluster::new("a", []));
    settings.clusters.push(Cluster::new("a", []));
    assert_eq!(refused(settings), "there are two clusters named `a`");
    let mut settings = Settings::new(Cluster::new("a", []));
    settings.workers = 0;
    assert_eq!(refused(settings), "at least one worker is needed, but there are to be `0`");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    for admin in [false, true] {
        let mut settings = settings(nowhere());
        if admin {
            settings.admin = Some(address);
        } else {
            settings.listeners[0].address = address;
        }
        let what = if admin { "admin port" } else { "listener" };
        let expected = format!(
            "the {what} cannot listen on `{address}`: another program has the port; stop that one, or take another port \
             (`0` finds a free one)"
        );
        assert_eq!(refused(settings), expected);
    }
}

#[test]
fn a_plugin_that_does_not_start_prevents_everything() {
    let address = nowhere();
    for (wat, reason) in [(modules::refuses(), "refused its configuration"), (modules::fails_at_start(), "unreachable")]
    {
        let mut settings = settings(nowhere());
        settings.listeners[0].address = address;
        settings.workers = 2;
        settings.listeners[0].plugins = vec![plugin("fine", &modules::adds_header()), plugin("bad.wasm", &wat)];
        let error = Proxy::start(settings).unwrap_err();
        assert!(matches!(error, StartError::Plugin(_)));
        let text = error.to_string();
        assert!(text.contains("`bad.wasm`") && text.contains(reason), "{text}");
        assert!(TcpStream::connect(address).is_err(), "nothing listens");
    }
}

#[test]
fn a_file_that_is_no_module_is_named() {
    let folder = std::env::temp_dir().join(format!("wasmplugin-proxy-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let missing = folder.join("missing.wasm");
    let text = Module::read(&missing).unwrap_err().to_string();
    assert!(text.contains(missing.to_str().unwrap()) && text.contains("no such file"), "{text}");
    let broken = folder.join("broken.wasm");
    std::fs::write(&broken, "hello").unwrap();
    let text = Module::read(&broken).unwrap_err().to_string();
    assert!(text.contains(broken.to_str().unwrap()) && text.contains("not a Wasm module"), "{text}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_is_open_may_finish() {
    let server = Server::http1();
    let proxy = proxy(server.address, [plugin("adds", &modules::adds_header())]);
    let (address, admin) = (proxy.address(), proxy.admin_address().unwrap());
    let mut idle = Client::connect(address);
    assert_eq!(idle.get("/").status, 200);
    let mut busy = Client::connect(address);
    busy.send("POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: 5\r\n\r\nhe");
    eventually("the request is on its way", || server.seen().len() == 2);
    let stop = std::thread::spawn(move || proxy.stop(Duration::from_secs(20)));
    eventually("it drains", || Client::connect(admin).get("/ready").status == 503);
    assert!(idle.is_closed(), "a connection without a request is closed at once");
    eventually("nobody new is served", || TcpStream::connect(address).is_err());
    busy.send("llo");
    let answer = busy.answer();
    assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
    assert!(busy.is_closed());
    stop.join().unwrap();
    assert!(TcpStream::connect(admin).is_err());
}

#[test]
fn what_does_not_finish_is_cut_off() {
    let server = Server::http1();
    let waits = proxy(server.address, [plugin("pauses", &modules::pauses())]);
    let mut client = Client::connect(waits.address());
    client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
    eventually("the plugin has it", || waits.activity().contexts == 1);
    let began = Instant::now();
    waits.stop(Duration::from_millis(50));
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(client.is_closed());
}

#[test]
fn dropping_a_proxy_ends_it() {
    let server = Server::http1();
    let proxy = proxy(server.address, []);
    let mut client = Client::connect(proxy.address());
    client.send("GET /never HTTP/1.1\r\nhost: test\r\n\r\n");
    eventually("the upstream is asked", || server.seen().len() == 1);
    let address = proxy.address();
    drop(proxy);
    assert!(client.is_closed());
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn slow_and_idle_connections_are_closed() {
    let server = Server::http1();
    let mut settings = settings(server.address);
    settings.timeouts.request_headers = Duration::from_millis(500);
    settings.timeouts.connection_idle = Duration::from_secs(1);
    let proxy = Proxy::start(settings).unwrap();
    let mut slow = Client::connect(proxy.address());
    slow.send("GET / HT");
    let mut kept = Client::connect(proxy.address());
    assert_eq!(kept.get("/").status, 200);
    assert!(slow.is_closed());
    kept.send("GET / HT");
    assert!(kept.is_closed());
    let mut silent = Client::connect(proxy.address());
    assert!(silent.is_closed());
    eventually("nothing is left", || proxy.activity().connections == 0);
}

#[test]
fn connections_beyond_the_limit_are_closed() {
    let server = Server::http1();
    let mut settings = settings(server.address);
    settings.max_connections = 2;
    let proxy = Proxy::start(settings).unwrap();
    let mut first = Client::connect(proxy.address());
    let mut second = Client::connect(proxy.address());
    assert_eq!((first.get("/").status, second.get("/").status), (200, 200));
    assert!(Client::connect(proxy.address()).is_closed());
    first.leave();
    eventually("there is room again", || {
        let mut third = Client::connect(proxy.address());
        third.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n").try_answer().is_some_and(|answer| answer.status == 200)
    });
}

#[test]
fn plugins_on_two_workers_share_their_metrics() {
    let server = Server::http1();
    let mut settings = settings(server.address);
    settings.workers = 2;
    settings.listeners[0].plugins.push(Plugin { ..plugin("ticks", &modules::ticks()) });
    let proxy = Proxy::start(settings).unwrap();
    let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(proxy.address())).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(proxy.activity().connections, 8);
    // Each worker has connections to the upstream of its own.
    assert_eq!(proxy.activity().upstream_connections, 2);
}
