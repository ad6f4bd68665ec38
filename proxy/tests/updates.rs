//! Other settings while the proxy runs: nothing is dropped, and what is refused changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wasmplugin_host::stand_in::StandIn;
use wasmplugin_proxy::{
    Capabilities, Cluster, FailPolicy, Limits, Listener, Plugin, Proxy, Refused, Routes, Sandbox, Settings,
};

use crate::clients::{Client, eventually};
use crate::modules::{self, plugin};
use crate::servers::{Server, nowhere, scripted, settings};

fn with(settings: &Settings, plugins: impl IntoIterator<Item = Plugin>) -> Settings {
    let mut settings = settings.clone();
    settings.listeners[0].plugins = plugins.into_iter().collect();
    settings
}

#[test]
fn new_requests_meet_the_new_chain_and_none_is_lost() {
    let server = Server::http1();
    let mut plain = settings(server.address);
    plain.workers = 2;
    let adds = plugin("adds", &modules::adds_header());
    let mut proxy = Proxy::start(plain.clone()).unwrap();
    let address = proxy.address();
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let (mut client, mut with, mut without) = (Client::connect(address), 0, 0);
                while !stop.load(Ordering::SeqCst) {
                    let answer = client.get("/");
                    assert_eq!((answer.status, answer.body.as_str()), (200, "upstream"));
                    if answer.header("x-wasm").is_some() { with += 1 } else { without += 1 }
                }
                (with, without)
            })
        })
        .collect();
    for _ in 0..20 {
        proxy.update(with(&plain, [adds.clone()])).unwrap();
        assert!(Client::connect(address).get("/").header("x-wasm").is_some());
        proxy.update(plain.clone()).unwrap();
        assert!(Client::connect(address).get("/").header("x-wasm").is_none());
    }
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        let (with, without) = client.join().unwrap();
        assert!(with > 0 && without > 0, "{with} with the plugin, {without} without");
    }
    let mut admin = Client::connect(proxy.admin_address().unwrap());
    eventually("the old VMs are gone", || {
        admin.get("/stats").body.contains("wasm_envoy_wasm_runtime_wasmtime_active: 0\n")
    });
}

#[test]
fn an_exchange_under_way_ends_in_its_own_chain() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let upstream = scripted(move |mut socket| {
        use std::io::Write as _;
        crate::servers::read_head(&mut socket);
        held.lock().unwrap().recv().unwrap();
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    });
    let plain = settings(upstream);
    let mut proxy = Proxy::start(with(&plain, [plugin("adds", &modules::adds_header())])).unwrap();
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
    eventually("it is under way", || proxy.activity().exchanges == 1);
    proxy.update(plain).unwrap();
    release.send(()).unwrap();
    assert_eq!(client.answer().header("x-wasm"), Some("1"));
    release.send(()).unwrap();
    assert_eq!(client.get("/").header("x-wasm"), None);
}

#[test]
fn a_plugin_that_is_refused_stays_as_it_was() {
    let server = Server::http1();
    let mut plain = settings(server.address);
    plain.refused = Refused::Stays;
    let adds = plugin("one", &modules::adds_header());
    let refuses = plugin("one", &modules::refuses());
    let mut proxy = Proxy::start(with(&plain, [adds.clone()])).unwrap();
    let mut client = Client::connect(proxy.address());
    let rejections = proxy.update(with(&plain, [refuses.clone(), plugin("two", &modules::replies())])).unwrap();
    assert_eq!(rejections.len(), 1);
    assert!(rejections[0].old_stays && rejections[0].reason.contains("refused its configuration"), "{rejections:?}");
    let answer = client.get("/");
    assert_eq!((answer.status, answer.header("x-wasm")), (418, Some("1")), "the other one was taken");
    // There is nothing to go back to for one that is new, or was never there.
    let rejections = proxy.update(with(&plain, [plugin("three", &modules::refuses())])).unwrap();
    assert!(!rejections[0].old_stays);
    let answer = client.get("/");
    assert_eq!((answer.status, answer.body.as_str()), (500, ""));
    drop(proxy);
    let proxy = Proxy::start(with(&plain, [refuses.clone()])).unwrap();
    assert_eq!(proxy.rejections().len(), 1);
    assert_eq!(Client::connect(proxy.address()).get("/").status, 500);
    // In a bootstrap it stops everything, and at an update everything goes on.
    plain.refused = Refused::Stops;
    assert!(Proxy::start(with(&plain, [refuses.clone()])).is_err());
    let mut proxy = Proxy::start(with(&plain, [adds])).unwrap();
    assert!(proxy.update(with(&plain, [refuses])).is_err());
    assert_eq!(Client::connect(proxy.address()).get("/").header("x-wasm"), Some("1"));
}

#[test]
fn listeners_and_clusters_come_and_go() {
    let (one, other) = (Server::http1(), Server::http1());
    let old = settings(one.address);
    let mut proxy = Proxy::start(old.clone()).unwrap();
    let first = proxy.address();
    let mut client = Client::connect(first);
    assert_eq!(client.get("/").status, 200);
    let mut new = old.clone();
    new.clusters.push(Cluster::new("other", [other.address]));
    new.listeners.push(Listener::new("second", Routes::all("other")));
    proxy.update(new.clone()).unwrap();
    assert_eq!(Client::connect(proxy.address_of("second").unwrap()).get("/").status, 200);
    assert_eq!((client.get("/").status, other.seen().len(), one.connections.load(Ordering::SeqCst)), (200, 1, 1));
    let second = proxy.address_of("second").unwrap();
    let mut kept = Client::connect(second);
    assert_eq!((kept.get("/").status, other.seen().len()), (200, 2));
    proxy.update(old).unwrap();
    eventually("nobody listens", || std::net::TcpStream::connect(second).is_err());
    // A connection that was kept leads nowhere any more, since its plugins are gone.
    assert_eq!((kept.get("/").status, other.seen().len()), (404, 2));
    assert_eq!(proxy.address_of("second"), None);
    assert_eq!(client.get("/").status, 200);
    let mut bad = new;
    bad.clusters.pop();
    assert!(proxy.update(bad).unwrap_err().to_string().contains("`other`"));
    assert_eq!(client.get("/").status, 200);
}

#[test]
fn a_plugin_may_ask_a_cluster_that_comes_with_it() {
    let (server, auth) = (Server::http1(), Server::http1());
    let plain = settings(server.address);
    let mut proxy = Proxy::start(plain.clone()).unwrap();
    let mut both = with(&plain, [plugin("asks", &modules::asks_at_once())]);
    both.clusters.push(Cluster::new("auth", [auth.address]));
    proxy.update(both.clone()).unwrap();
    eventually("it has been asked", || auth.seen().len() == 1);
    // What is not taken leaves no cluster behind.
    proxy.update(plain.clone()).unwrap();
    both.listeners[0].plugins.push(plugin("refuses", &modules::refuses()));
    assert!(proxy.update(both).is_err());
    assert!(!proxy.services().has_cluster("auth") && proxy.services().has_cluster("upstream"));
    assert_eq!(Client::connect(proxy.address()).get("/").status, 200);
}

#[test]
fn what_cannot_be_fetched_is_denied() {
    let server = Server::http1();
    let deny = StandIn::deny();
    let chain = [plugin("adds", &modules::adds_header()), deny.plugin("gone")];
    let proxy = Proxy::start(with(&settings(server.address), chain)).unwrap();
    let answer = Client::connect(proxy.address()).get("/");
    assert_eq!((answer.status, answer.body.as_str()), (403, "RBAC: access denied"));
    assert_eq!(answer.header("x-wasm"), Some("1"), "it travels back through the filters");
    assert_eq!(deny.refused(), 1);
}

#[test]
fn what_stands_in_for_a_module_stays_while_the_module_refuses() {
    let server = Server::http1();
    let mut plain = settings(server.address);
    plain.refused = Refused::Stays;
    for (stand_in, status) in [(StandIn::allow(), 200), (StandIn::deny(), 403), (StandIn::missing(), 500)] {
        let mut proxy = Proxy::start(with(&plain, [stand_in.plugin("one")])).unwrap();
        let mut client = Client::connect(proxy.address());
        assert_eq!(client.get("/").status, status);
        let rejections = proxy.update(with(&plain, [plugin("one", &modules::refuses())])).unwrap();
        assert_eq!(rejections.iter().map(|rejection| rejection.old_stays).collect::<Vec<_>>(), [status != 500]);
        assert_eq!(client.get("/").status, status);
    }
}

#[test]
fn istios_fail_open_refuses_the_request_that_traps() {
    let server = Server::http1();
    let traps = Plugin { fail: FailPolicy::OpenLater, ..plugin("traps", &modules::traps()) };
    let proxy = Proxy::start(with(&settings(server.address), [traps])).unwrap();
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.1\r\nhost: test\r\nx-trap: 1\r\n\r\n");
    assert_eq!(client.answer().status, 503);
    assert_eq!(client.get("/").status, 200);
}

#[test]
fn equal_modules_share_a_vm_unless_their_environment_differs() {
    let server = Server::http1();
    let traps = plugin("one", &modules::traps());
    for (environment, later) in [(vec![], 503), (vec![("A".to_owned(), "1".to_owned())], 200)] {
        let open = Plugin { fail: FailPolicy::OpenLater, ..traps.clone() };
        // Trapped by the first one, which lets later requests pass, the second one refuses them where it was hit too.
        let second = Plugin { name: "two".to_owned(), environment: environment.clone(), ..traps.clone() };
        let proxy = Proxy::start(with(&settings(server.address), [open, second])).unwrap();
        let mut client = Client::connect(proxy.address());
        client.send("GET / HTTP/1.1\r\nhost: test\r\nx-trap: 1\r\n\r\n");
        assert_eq!(client.answer().status, 503);
        assert_eq!(client.get("/").status, later, "{environment:?}");
    }
}

#[test]
fn plugins_of_several_listeners_share_a_vm_until_one_is_replaced() {
    let server = Server::http1();
    let traps = plugin("traps", &modules::traps());
    let mut both = with(&settings(server.address), [traps.clone()]);
    both.listeners.push(Listener { plugins: vec![traps.clone()], ..Listener::new("second", Routes::all("upstream")) });
    let mut proxy = Proxy::start(both.clone()).unwrap();
    let mut admin = Client::connect(proxy.admin_address().unwrap());
    let mut vms = |wanted: (u32, u32)| {
        let (active, created) = wanted;
        let numbers = [("active", active), ("created", created)];
        let lines = numbers.map(|(what, count)| format!("wasm_envoy_wasm_runtime_wasmtime_{what}: {count}\n"));
        eventually(&format!("{wanted:?} VMs are counted"), || {
            let stats = admin.get("/stats").body;
            lines.iter().all(|line| stats.contains(line))
        });
    };
    vms((1, 1));
    // Another configuration changes the root context alone, as in Envoy.
    both.listeners[0].plugins = vec![Plugin { configuration: "other".into(), ..traps.clone() }];
    proxy.update(both.clone()).unwrap();
    let (mut first, second) = (Client::connect(proxy.address()), proxy.address_of("second").unwrap());
    let mut second = Client::connect(second);
    assert_eq!((first.get("/").status, second.get("/").status), (200, 200));
    vms((1, 1));
    first.send("GET / HTTP/1.1\r\nhost: test\r\nx-trap: 1\r\n\r\n");
    assert_eq!(first.answer().status, 503);
    assert_eq!(second.get("/").status, 503, "its VM has failed as well");
    vms((0, 1));
    // What is sent again is started again; the other listener keeps what it has.
    both.listeners[0].plugins = vec![traps];
    proxy.update(both).unwrap();
    assert_eq!((first.get("/").status, second.get("/").status), (200, 503));
    vms((1, 2));
}

#[test]
fn the_admin_port_tells_what_is_set_up() {
    let names = ["proxy_on_response_headers", "proxy_add_header_map_value"];
    let sandbox =
        Sandbox { capabilities: Capabilities::only(names), limits: Limits { memory: 4 << 20, ..Limits::USUAL } };
    let adds = Plugin { sandbox, fail: FailPolicy::RELOAD, ..plugin("adds", &modules::adds_header()) };
    let mut settings = with(&settings(nowhere()), [adds]);
    settings.node.id = "sidecar~a".to_owned();
    let proxy = Proxy::start(settings).unwrap();
    let mut admin = Client::connect(proxy.admin_address().unwrap());
    let dump = admin.get("/config_dump").body;
    for part in [
        "envoy.admin.v3.EcdsConfigDump",
        "\"name\": \"adds\"",
        "sidecar~a",
        "\"cluster_name\": \"upstream\"",
        "\"proxy_add_header_map_value\": {}",
        "\"base_interval\": \"1s\"",
    ] {
        assert!(dump.contains(part), "`{part}` is not in {dump}");
    }
    assert!(admin.get("/modules").body.contains("\"memory\": 4194304"));
    assert!(admin.get("/clusters").body.contains("upstream::observability_name::upstream\n"));
    assert!(admin.get("/clusters?format=json").body.contains("\"host_statuses\""));
    assert!(admin.get("/listeners").body.starts_with("listener::127.0.0.1:"));
    assert!(admin.get("/stats").body.contains("http.ingress.downstream_rq_total: 0\n"));
    assert!(admin.get("/stats?filter=server.&format=json").body.contains("\"stats\""));
    assert!(admin.get("/server_info").body.contains("\"state\": \"LIVE\""));
    let mut post = |path: &str| {
        let answer = admin.send(format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")).answer();
        (answer.status, answer.body)
    };
    assert_eq!(post("/logging?level=debug"), (200, "active loggers:\n  wasm: debug\n".to_owned()));
    assert_eq!(post("/logging?level=shy").0, 400);
    // As a form on somebody's page would have a browser send it.
    let from_a_page = " HTTP/1.1\r\norigin: http://evil.example\r\nx: ";
    assert_eq!(post(&format!("/logging?level=off{from_a_page}")).0, 403);
    assert_eq!(post(&format!("/drain_listeners{from_a_page}")).0, 403);
    assert_eq!(post("/drain_listeners"), (200, "OK\n".to_owned()));
    eventually("nobody listens", || std::net::TcpStream::connect(proxy.address()).is_err());
}
