//! The admin page, in a real browser.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use wasmplugin_proxy::{Listener, Proxy, Routes, Serves};

use crate::browser::Browser;
use crate::clients::Client;
use crate::modules::{self, plugin};
use crate::servers::{Server, settings};

#[test]
fn exchanges_are_shown_and_sent_again() {
    let server = Server::http1();
    let mut settings = settings(server.address);
    settings.listeners[0].plugins = vec![
        plugin("adds", &modules::adds_header()),
        plugin("guards", &modules::guards()),
        plugin("changes", &modules::changes_bodies()),
    ];
    let mut bytes = Listener::new("bytes", Routes::default());
    bytes.serves = Serves::Tcp { cluster: "upstream".to_owned() };
    bytes.plugins.push(plugin("cuts", &modules::cuts()));
    settings.listeners.push(bytes);
    let proxy = Proxy::start(settings).unwrap();
    let browser = Browser::open(&format!("http://{}/", proxy.admin_address().unwrap()));
    browser.wait_for("Nothing is recorded");
    browser.click("#record", "Record");
    browser.wait_for("Waiting for a request");

    let mut client = Client::connect(proxy.address());
    assert_eq!(client.get("/no").status, 403);
    client.send("GET /yes HTTP/1.1\r\nhost: shop\r\nx-pass: <b>1</b>\r\nauthorization: Bearer hunter2hunter2\r\n\r\n");
    assert_eq!(client.answer().status, 200);

    browser.click(".exchange", "/no");
    for part in
        ["403", "guards answered", "answers 403", "sets response header x-wasm: 1", "request in", "response out"]
    {
        browser.wait_for(part);
    }
    browser.click(".exchange", "/yes");
    browser.wait_for("request out");
    browser.click("summary", "headers");
    // As text, not as markup.
    browser.wait_for("<b>1</b>");
    browser.wait_for("[redacted, 21 bytes]");
    browser.wait_for("left out, because it is not kept: authorization");
    assert!(!browser.text().contains("hunter2"), "{}", browser.text());

    browser.run("document.getElementById('replay-path').value = '/yes/again'");
    browser.click("#replay", "Send again");
    browser.wait_for("upstream");
    browser.click(".exchange", "/yes/again");
    assert!(server.seen()[1].starts_with("GET /yes/again"), "{:?}", server.seen());

    client.send("POST /echo HTTP/1.1\r\nhost: shop\r\nx-pass: 1\r\ncontent-length: 7\r\n\r\ntoken=x");
    assert_eq!(client.answer().body, "CHANGED");
    browser.click(".exchange", "/echo");
    for part in [
        "Bodies",
        "request body in, 7 bytes",
        "token=[redacted, 1 bytes]",
        "request body out, 7 bytes",
        "CHANGED",
        "response body out, 7 bytes, as before",
    ] {
        browser.wait_for(part);
    }
    browser.wait_for("without its body of 7 bytes, which is not kept whole: secrets were taken out");
    assert!(!browser.text().contains("token=x"), "{}", browser.text());
    client.send("POST /echo/whole HTTP/1.1\r\nhost: shop\r\nx-pass: 1\r\ncontent-length: 7\r\n\r\none\r\n23");
    assert_eq!(client.answer().body, "CHANGED");
    browser.click(".exchange", "/echo/whole");
    browser.wait_for("request body in, 7 bytes");
    browser.run("document.getElementById('replay-path').value = '/echo/again'");
    browser.click("#replay", "Send again");
    browser.click(".exchange", "/echo/again");
    // With the line end that it had: a plugin changes seven bytes to seven.
    browser.wait_for("request body in, 7 bytes");

    let mut socket = TcpStream::connect(proxy.address_of("bytes").unwrap()).unwrap();
    socket.write_all(b"!let me in").unwrap();
    assert_eq!(socket.read(&mut [0]).unwrap_or_default(), 0);
    browser.click(".exchange", "cuts cut it off");
    for part in [
        "TCP 127.0.0.1",
        "a connection cannot be sent again",
        "from the client",
        "10 bytes",
        "!let me in",
        "a plugin has cut it off",
    ] {
        browser.wait_for(part);
    }
    assert!(!browser.text().contains("Replay"), "{}", browser.text());

    browser.click("#tab-metrics", "Metrics");
    browser.wait_for("http.ingress.downstream_rq_total");
    browser.click("#tab-modules", "Modules");
    browser.wait_for("sha256:");
}
