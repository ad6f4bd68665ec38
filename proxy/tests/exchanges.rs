//! Recordings at the admin port: who may see them, and what they tell.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use wasmplugin_proxy::{Proxy, Serves};

use crate::clients::{Answer, Client, eventually};
use crate::modules::{self, plugin};
use crate::servers::{Server, proxy, scripted, settings};

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
fn bodies_are_recorded_and_sent_again() {
    let server = Server::http1();
    let proxy = proxy(server.address, [plugin("changes", &modules::changes_bodies())]);
    record(&proxy);
    let mut client = Client::connect(proxy.address());
    client.send(b"POST /echo HTTP/1.1\r\nhost: h\r\ncontent-length: 7\r\n\r\na\r\n\xff\x00bc");
    assert_eq!(client.answer().body, "CHANGED");
    let seen = recorded(&proxy);
    let exchange = &seen["exchanges"][0];
    let body = &exchange["request_body"];
    assert_eq!((&body["bytes"], &body["whole"]), (&7.into(), &true.into()), "{exchange:#}");
    let told =
        |at: usize| (exchange["bodies"][at]["name"].as_str().unwrap(), exchange["bodies"][at]["body"]["text"].clone());
    assert_eq!(told(1), ("request body out", "CHANGED".into()), "{exchange:#}");
    assert_eq!(told(2), ("response body in", "CHANGED".into()));
    assert_eq!(exchange["bodies"][3]["same"], true);
    let base64 = body["base64"].as_str().unwrap();
    let order = format!(r#"{{"listener": "listener", "method": "POST", "path": "/again", "body_base64": "{base64}"}}"#);
    assert_eq!(ask(&proxy, "POST", "/exchanges/replay", PROOF, &order).status, 200);
    let again = &recorded(&proxy)["exchanges"][1]["request_body"];
    assert_eq!(again["base64"].as_str(), Some(base64), "{again:#}");
    let order = r#"{"listener": "listener", "method": "POST", "path": "/", "body_base64": "!"}"#;
    let answer = ask(&proxy, "POST", "/exchanges/replay", PROOF, order);
    assert!(answer.status == 400 && answer.body.contains("`body_base64` is not in base64"), "{answer:?}");
}

#[test]
fn connections_are_recorded() {
    let server = scripted(|mut socket| {
        let mut heard = [0; 2];
        if socket.read_exact(&mut heard).is_ok() {
            socket.write_all(b"welcome").unwrap();
        }
    });
    let mut settings = settings(server);
    settings.listeners[0].serves = Serves::Tcp { cluster: "upstream".to_owned() };
    settings.listeners[0].plugins.push(plugin("cuts", &modules::cuts()));
    let proxy = Proxy::start(settings).unwrap();
    record(&proxy);
    let mut all = String::new();
    let mut client = TcpStream::connect(proxy.address()).unwrap();
    client.write_all(b"hi").unwrap();
    client.read_to_string(&mut all).unwrap();
    assert_eq!(all, "welcome");
    drop(client);
    eventually("the connection is over", || !recorded(&proxy)["exchanges"][0]["end"].is_null());
    let mut client = TcpStream::connect(proxy.address()).unwrap();
    client.write_all(b"!!").unwrap();
    assert_eq!(client.read(&mut [0]).unwrap_or_default(), 0);
    eventually("it was cut off", || !recorded(&proxy)["exchanges"][1]["end"].is_null());
    let seen = recorded(&proxy);
    let (good, bad) = (&seen["exchanges"][0], &seen["exchanges"][1]);
    assert_eq!(good["tcp"]["destination"], proxy.address().to_string(), "{good:#}");
    assert_eq!((&good["end"]["cluster"], &good["end"]["upstream"]), (&"upstream".into(), &server.to_string().into()));
    assert_eq!(good["end"]["response_bytes"], serde_json::json!([7, 7]));
    assert_eq!(bad["end"]["details"], "a plugin has cut it off");
    assert_eq!(bad["end"]["request_bytes"], serde_json::json!([2, 0]), "{bad:#}");
    assert!(bad.to_string().contains("cuts it off"), "{bad:#}");
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
