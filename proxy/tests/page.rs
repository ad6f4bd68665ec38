//! The admin page, in a real browser.

use crate::browser::Browser;
use crate::clients::Client;
use crate::modules::{self, plugin};
use crate::servers::{Server, proxy};

#[test]
fn exchanges_are_shown_and_sent_again() {
    let server = Server::http1();
    let proxy = proxy(server.address, [plugin("adds", &modules::adds_header()), plugin("guards", &modules::guards())]);
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

    browser.click("#tab-metrics", "Metrics");
    browser.wait_for("http.ingress.downstream_rq_total");
    browser.click("#tab-modules", "Modules");
    browser.wait_for("sha256:");
}
