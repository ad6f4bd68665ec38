//! Plugins that answer, pause and trap.

use std::time::Duration;

use wasmplugin_host::module::build;
use wasmplugin_host::wasm::Module;
use wasmplugin_proxy::{Code, FailPolicy, Plugin, Proxy};

use crate::clients::{Client, eventually};
use crate::modules::{self, plugin};
use crate::servers::{Server, proxy, settings};

#[test]
fn the_hello_example_says_hello() {
    let hello = build::wasm(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/hello")).unwrap();
    let code = Code::Wasm(std::sync::Arc::new(Module::read(hello).unwrap()));
    let server = Server::http1();
    let proxy = proxy(server.address, [Plugin { code, ..plugin("hello", &modules::pauses()) }]);
    let answer = Client::connect(proxy.address()).get("/");
    assert_eq!((answer.status, answer.body.as_str()), (200, "upstream"));
    assert_eq!(answer.header("x-hello"), Some("wasm"));
}

#[test]
fn a_plugin_answers_by_itself() {
    let server = Server::http1();
    let proxy =
        proxy(server.address, [plugin("adds", &modules::adds_header()), plugin("replies", &modules::replies())]);
    let mut client = Client::connect(proxy.address());
    for _ in 0..2 {
        let answer = client.get("/");
        assert_eq!((answer.status, answer.body.as_str()), (418, "short and stout"));
        assert_eq!(answer.header("x-wasm"), Some("1"));
    }
    // A body that is still on its way does not spoil the answer.
    client.send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 5\r\n\r\nhe");
    assert_eq!(client.answer().status, 418);
    assert_eq!(server.seen(), Vec::<String>::new());
}

#[test]
fn after_a_trap_the_policy_decides() {
    let server = Server::http1();
    for (fail, first, later) in [(FailPolicy::Closed, 503, 503), (FailPolicy::Open, 200, 200)] {
        let traps = Plugin { fail, ..plugin("traps", &modules::traps()) };
        let proxy = proxy(server.address, [traps]);
        let mut client = Client::connect(proxy.address());
        assert_eq!(client.get("/").status, 200);
        client.send("GET / HTTP/1.1\r\nhost: test\r\nx-trap: 1\r\n\r\n");
        assert_eq!(client.answer().status, first, "{fail:?}");
        assert_eq!(client.get("/").status, later, "{fail:?}");
        assert_eq!((proxy.activity().exchanges, proxy.activity().contexts), (0, 0));
    }
}

#[test]
fn a_vm_is_reloaded_after_a_pause() {
    let server = Server::http1();
    let proxy = proxy(server.address, [Plugin { fail: FailPolicy::RELOAD, ..plugin("traps", &modules::traps()) }]);
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.1\r\nhost: test\r\nx-trap: 1\r\n\r\n");
    assert_eq!(client.answer().status, 503);
    eventually("the plugin works again", || client.get("/").status == 200);
}

#[test]
fn whoever_waits_for_ever_is_answered_in_the_end() {
    let server = Server::http1();
    let mut settings = settings(server.address);
    settings.listeners[0].plugins.push(plugin("pauses", &modules::pauses()));
    settings.timeouts.stream_idle = Duration::from_millis(100);
    let proxy = Proxy::start(settings).unwrap();
    let mut client = Client::connect(proxy.address());
    let answer = client.get("/");
    assert_eq!((answer.status, answer.body.as_str()), (504, "stream timeout"));
    client.send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 5\r\n\r\nhe");
    assert_eq!(client.answer().status, 408);
    eventually("nothing is left", || proxy.activity().exchanges == 0);
}

#[test]
fn a_client_that_leaves_while_the_plugin_waits_leaves_nothing_behind() {
    let server = Server::http1();
    let proxy = proxy(server.address, [plugin("pauses", &modules::pauses())]);
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
    eventually("the plugin has it", || proxy.activity().contexts == 1);
    client.leave();
    eventually("nothing is left", || proxy.activity() == Default::default());
}

#[test]
fn ticks_come_by_themselves() {
    let server = Server::http1();
    let proxy = proxy(server.address, [plugin("ticks", &modules::ticks())]);
    let ticks = || proxy.services().metrics().value("my.ticks{kind=fast}").unwrap_or_default();
    eventually("the plugin ticks", || ticks() >= 3);
}
