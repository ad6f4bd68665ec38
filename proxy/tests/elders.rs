//! Modules as SDKs before ours built them, against ABI 0.1.0 and 0.2.0: written by hand, with their names for memory and start.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use wasmplugin_proxy::{Cluster, Plugin, Proxy, Serves};

use crate::clients::{Client, eventually};
use crate::modules::plugin;
use crate::servers::{Server, scripted, settings};

/// What such a module needs around what it does: `malloc` for memory that the host asks for, and counters for the end of
/// contexts. Texts are at 0..4096, results at 4096..4224.
fn elder(version: &str, imports: &str, body: &str) -> String {
    format!(
        r#"(module
          (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
          (import "env" "proxy_increment_metric" (func $increment (param i32 i64) (result i32)))
          {imports}
          (memory (export "memory") 4)
          (global $next (mut i32) (i32.const 65536))
          (global $started (mut i32) (i32.const 0))
          (data (i32.const 3000) "elder.log") (data (i32.const 3020) "elder.done") (data (i32.const 3040) "elder.delete")
          (func (export "proxy_abi_version_{version}"))
          (func (export "malloc") (param $size i32) (result i32)
            (if (i32.gt_u (i32.add (global.get $next) (local.get $size)) (i32.const 262144))
              (then (global.set $next (i32.const 65536))))
            (global.get $next)
            (global.set $next (i32.and (i32.add (i32.add (global.get $next) (local.get $size)) (i32.const 7)) (i32.const -8))))
          (func $counters
            (drop (call $define (i32.const 0) (i32.const 3000) (i32.const 9) (i32.const 4200)))
            (drop (call $define (i32.const 0) (i32.const 3020) (i32.const 10) (i32.const 4204)))
            (drop (call $define (i32.const 0) (i32.const 3040) (i32.const 12) (i32.const 4208))))
          (func $count (param i32) (drop (call $increment (i32.load (local.get 0)) (i64.const 1))))
          (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (global.get $started))
          (func (export "proxy_on_context_create") (param i32 i32))
          (func (export "proxy_on_log") (param i32) (call $count (i32.const 4200)))
          (func (export "proxy_on_done") (param i32) (result i32) (call $count (i32.const 4204)) (i32.const 1))
          (func (export "proxy_on_delete") (param i32) (call $count (i32.const 4208)))
          {body})"#
    )
}

fn counted(proxy: &Proxy) -> [u64; 3] {
    ["elder.log", "elder.done", "elder.delete"].map(|name| proxy.services().metrics().value(name).unwrap_or_default())
}

/// ABI 0.1.0: reads its configuration by `proxy_get_configuration`, writes it into a header of both directions, and lets a request
/// pass by `proxy_continue_request` when `auth` has answered.
fn first() -> String {
    let pairs = [(":method", "GET"), (":path", "/check"), (":authority", "auth")];
    let mut blob = 3u32.to_le_bytes().to_vec();
    for (name, value) in pairs {
        blob.extend((name.len() as u32).to_le_bytes());
        blob.extend((value.len() as u32).to_le_bytes());
    }
    blob.extend(pairs.iter().flat_map(|(name, value)| format!("{name}\0{value}\0").into_bytes()));
    let text: String = blob.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let length = blob.len();
    elder(
        "0_1_0",
        r#"(import "env" "proxy_get_configuration" (func $configuration (param i32 i32) (result i32)))
        (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_http_call" (func $ask (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_set_effective_context" (func $become (param i32) (result i32)))
        (import "env" "proxy_continue_request" (func $go_on (result i32)))"#,
        &format!(
            r#"(data (i32.const 0) "auth") (data (i32.const 16) "x-elder") (data (i32.const 32) "x-none")
            (data (i32.const 64) "{text}")
            (func (export "_start") (global.set $started (i32.const 1)))
            (func (export "proxy_on_configure") (param i32 i32) (result i32)
              (call $counters)
              (i32.eqz (call $configuration (i32.const 4096) (i32.const 4100))))
            (func $sign (param $map i32)
              (drop (call $add (local.get $map) (i32.const 16) (i32.const 7) (i32.load (i32.const 4096)) (i32.load (i32.const 4100)))))
            (func (export "proxy_on_request_headers") (param $id i32) (param i32) (result i32)
              ;; In this ABI a header that is not there is empty.
              (if (call $get (i32.const 0) (i32.const 32) (i32.const 6) (i32.const 4104) (i32.const 4108)) (then unreachable))
              (if (i32.load (i32.const 4108)) (then unreachable))
              (call $sign (i32.const 0))
              (i32.store (i32.const 4116) (local.get $id))
              (if (call $ask (i32.const 0) (i32.const 4) (i32.const 64) (i32.const {length}) (i32.const 0) (i32.const 0)
                    (i32.const 0) (i32.const 0) (i32.const 10000) (i32.const 4112))
                (then unreachable))
              (i32.const 1))
            (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
              (drop (call $become (i32.load (i32.const 4116))))
              (drop (call $go_on)))
            (func (export "proxy_on_response_headers") (param i32 i32) (result i32) (call $sign (i32.const 2)) (i32.const 0))"#
        ),
    )
}

#[test]
fn http_with_a_callout_in_the_first_abi() {
    let (server, auth) = (Server::http1(), Server::http1());
    let mut settings = settings(server.address);
    settings.clusters.push(Cluster::new("auth", [auth.address]));
    settings.listeners[0].plugins.push(Plugin { configuration: "old and wise".into(), ..plugin("first", &first()) });
    let proxy = Proxy::start(settings).unwrap();
    let before = counted(&proxy);
    let mut client = Client::connect(proxy.address());
    for n in 1..=3 {
        let answer = client.get("/");
        assert_eq!((answer.status, answer.header("x-elder")), (200, Some("old and wise")));
        assert!(server.seen()[n - 1].contains("\nx-elder: old and wise\n"), "{:?}", server.seen());
        assert_eq!(auth.seen().len(), n);
    }
    eventually("every context has come to its end", || counted(&proxy) == before.map(|count| count + 3));
}

/// ABI 0.2.0: remembers in shared data that its timer has run, and tells it in a header of the response.
fn second() -> String {
    elder(
        "0_2_0",
        r#"(import "env" "proxy_set_tick_period_milliseconds" (func $period (param i32) (result i32)))
        (import "env" "proxy_get_shared_data" (func $shared (param i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_set_shared_data" (func $share (param i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))"#,
        r#"(data (i32.const 0) "state") (data (i32.const 16) "ticked") (data (i32.const 32) "x-state")
        (func (export "_initialize") (global.set $started (i32.const 1)))
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
          (call $counters) (drop (call $period (i32.const 10))) (i32.const 1))
        (func (export "proxy_on_tick") (param i32)
          (drop (call $share (i32.const 0) (i32.const 5) (i32.const 16) (i32.const 6) (i32.const 0))))
        (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
          (if (i32.eqz (call $shared (i32.const 0) (i32.const 5) (i32.const 4096) (i32.const 4100) (i32.const 4104)))
            (then (drop (call $add (i32.const 2) (i32.const 32) (i32.const 7) (i32.load (i32.const 4096)) (i32.load (i32.const 4100))))))
          (i32.const 0))"#,
    )
}

#[test]
fn timers_and_shared_data_in_the_second_abi() {
    let server = Server::http1();
    let mut settings = settings(server.address);
    settings.workers = 2;
    settings.listeners[0].plugins.push(plugin("second", &second()));
    let proxy = Proxy::start(settings).unwrap();
    let mut client = Client::connect(proxy.address());
    eventually("the timer has run", || client.get("/").header("x-state") == Some("ticked"));
    eventually("contexts come to their end", || counted(&proxy).iter().all(|count| *count > 0));
}

/// ABI 0.2.0 over TCP: marks what comes from either side.
fn marks() -> String {
    elder(
        "0_2_0",
        r#"(import "env" "proxy_set_buffer_bytes" (func $write (param i32 i32 i32 i32 i32) (result i32)))"#,
        r#"(data (i32.const 0) "!") (data (i32.const 16) ">")
        (func (export "_initialize") (global.set $started (i32.const 1)))
        (func (export "proxy_on_configure") (param i32 i32) (result i32) (call $counters) (i32.const 1))
        (func (export "proxy_on_new_connection") (param i32) (result i32) (i32.const 0))
        (func (export "proxy_on_downstream_data") (param i32) (param $size i32) (param i32) (result i32)
          (if (local.get $size)
            (then (drop (call $write (i32.const 2) (local.get $size) (i32.const 0) (i32.const 0) (i32.const 1)))))
          (i32.const 0))
        (func (export "proxy_on_upstream_data") (param i32) (param $size i32) (param i32) (result i32)
          (if (local.get $size)
            (then (drop (call $write (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 16) (i32.const 1)))))
          (i32.const 0))
        (func (export "proxy_on_downstream_connection_close") (param i32 i32))
        (func (export "proxy_on_upstream_connection_close") (param i32 i32))"#,
    )
}

#[test]
fn tcp_in_the_second_abi() {
    // Answers with all that it heard.
    let echo = scripted(|mut socket| {
        let mut heard = Vec::new();
        socket.read_to_end(&mut heard).unwrap();
        socket.write_all(&heard).unwrap();
    });
    let mut settings = settings(echo);
    settings.listeners[0].serves = Serves::Tcp { cluster: "upstream".to_owned() };
    settings.listeners[0].plugins.push(plugin("marks", &marks()));
    let proxy = Proxy::start(settings).unwrap();
    let before = counted(&proxy);
    let mut client = TcpStream::connect(proxy.address()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut heard = String::new();
    client.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, ">hello!");
    eventually("its context has come to its end", || counted(&proxy) == before.map(|count| count + 1));
}
