//! Recordings at the admin port: who may see them, and what they tell.

use wasmplugin_proxy::Proxy;

use crate::clients::{Answer, Client};
use crate::modules::{self, plugin};
use crate::servers::{Server, proxy};

/// Asks the admin port as a page of its own would.
fn ask(proxy: &Proxy, method: &str, path: &str, more: &str, body: &str) -> Answer {
    let address = proxy.admin_address().unwrap();
    let length = body.len();
    let request =
        format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {length}\r\n{more}\r\n{body}");
    Client::connect(address).send(request).answer()
}

const PROOF: &str = "x-wasmplugin-admin: 1\r\n";

fn record(proxy: &Proxy) {
    assert_eq!(ask(proxy, "POST", "/exchanges/recording?switch=on", PROOF, "").status, 200);
}

fn recorded(proxy: &Proxy) -> serde_json::Value {
    serde_json::from_str(&ask(proxy, "GET", "/exchanges", "", "").body).unwrap()
}

#[test]
fn exchanges_are_recorded_while_it_is_switched_on() {
    let server = Server::http1();
    let proxy =
        proxy(server.address, [plugin("adds", &modules::adds_header()), plugin("replies", &modules::replies())]);
    let mut client = Client::connect(proxy.address());
    client.get("/before");
    record(&proxy);
    client.get("/during");
    assert_eq!(ask(&proxy, "POST", "/exchanges/recording?switch=off", PROOF, "").status, 200);
    client.get("/after");
    let seen = recorded(&proxy);
    assert_eq!((&seen["recording"], seen["exchanges"].as_array().unwrap().len()), (&false.into(), 1));
    let exchange = &seen["exchanges"][0];
    assert_eq!((&exchange["listener"], &exchange["end"]["status"]), (&"listener".into(), &418.into()));
    let text = exchange.to_string();
    for part in ["/during", "answers 418, 15 bytes", "sets response header x-wasm: 1", "proxy_add_header_map_value"] {
        assert!(text.contains(part), "no `{part}` in {exchange:#}");
    }
    let version = seen["version"].as_u64().unwrap();
    let later = ask(&proxy, "GET", &format!("/exchanges?since={version}"), "", "");
    assert!(later.body.contains("\"exchanges\": []"), "{}", later.body);
    assert_eq!(ask(&proxy, "POST", "/exchanges/clear", PROOF, "").status, 200);
    assert_eq!(recorded(&proxy)["exchanges"], serde_json::json!([]));
}

#[test]
fn a_request_can_be_sent_again() {
    let server = Server::http1();
    let proxy = proxy(server.address, [plugin("adds", &modules::adds_header())]);
    record(&proxy);
    let order = r#"{"listener": "listener", "method": "POST", "path": "/echo", "body": "hi",
        "headers": [["host", "shop"], ["x-a", "1"], ["content-length", "99"]]}"#;
    let answer = ask(&proxy, "POST", "/exchanges/replay", PROOF, order);
    let shown: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((&shown["status"], &shown["body"]), (&200.into(), &"hi".into()), "{shown:#}");
    assert!(shown["headers"].as_array().unwrap().contains(&serde_json::json!(["x-wasm", "1"])), "{shown:#}");
    let seen = server.seen();
    assert!(seen[0].contains("host: shop\n") && seen[0].contains("x-a: 1\n"), "{seen:?}");
    assert_eq!(recorded(&proxy)["exchanges"].as_array().unwrap().len(), 1);
    for (order, problem) in [
        ("{", "this is not JSON"),
        (r#"{"listener": "x", "method": "GET", "path": "/"}"#, "there is no listener `x`"),
        (r#"{"listener": "listener", "method": "GET", "path": "http://elsewhere/"}"#, "`path` has to be a path"),
        (r#"{"listener": "listener", "method": "G T", "path": "/"}"#, "`G T` is no method"),
        (r#"{"listener": "listener", "method": "GET", "path": "/", "headers": [["a\nb", "1"]]}"#, "cannot be sent"),
    ] {
        let answer = ask(&proxy, "POST", "/exchanges/replay", PROOF, order);
        assert!(answer.status == 400 && answer.body.contains(problem), "{order}: {answer:?}");
    }
}

#[test]
fn other_origins_see_and_change_nothing() {
    let server = Server::http1();
    let proxy = proxy(server.address, []);
    let attempts = [
        ("GET", "/exchanges", "origin: http://evil.example\r\n"),
        ("POST", "/exchanges/recording?switch=on", ""),
        ("POST", "/exchanges/clear", "origin: http://evil.example\r\nx-wasmplugin-admin: 1\r\n"),
        ("POST", "/exchanges/replay", "sec-fetch-site: cross-site\r\nx-wasmplugin-admin: 1\r\n"),
    ];
    for (method, path, headers) in attempts {
        assert_eq!(ask(&proxy, method, path, headers, "{}").status, 403, "{path}");
    }
    // By a name that its owner lets point at this machine.
    let mut client = Client::connect(proxy.admin_address().unwrap());
    assert_eq!(client.get("/exchanges").status, 403);
    assert_eq!(recorded(&proxy)["recording"], false);
    assert_eq!(ask(&proxy, "GET", "/exchanges/replay", PROOF, "").status, 405);
}

#[test]
fn modules_have_digests() {
    let server = Server::http1();
    let proxy = proxy(server.address, [plugin("adds", &modules::adds_header())]);
    let modules: serde_json::Value = serde_json::from_str(&ask(&proxy, "GET", "/modules", "", "").body).unwrap();
    let module = &modules["modules"][0];
    assert_eq!((&module["plugin"], &module["failure_policy"]), (&"adds".into(), &"FAIL_CLOSED".into()));
    let digest = module["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    assert!(digest.len() == 64 && digest.chars().all(|c| c.is_ascii_hexdigit()), "{digest}");
    let page = ask(&proxy, "GET", "/", "accept: text/html\r\n", "");
    assert!(page.body.starts_with("<!doctype html>") && page.header("content-security-policy").is_some());
}
