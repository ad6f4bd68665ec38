//! Where a header stands that a plugin has set: what was there before goes to the end, whether Envoy keeps it inline or not.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use wasmplugin_host::pairs;
use wasmplugin_host::test::{Answer, Engine, Proxy, Request, Response};

use crate::engines::Outcome;

/// Those that a request has, some of them inline headers of Envoy's; pseudo headers come first whatever is done.
const REQUEST: &[&str] = &[
    ":path",
    ":method",
    ":authority",
    "accept",
    "access-control-request-headers",
    "authorization",
    "cache-control",
    "content-type",
    "cookie",
    "if-match",
    "origin",
    "referer",
    "user-agent",
    "via",
    "x-custom",
    "x-forwarded-client-cert",
    "x-forwarded-host",
    "x-request-id",
];

/// Those that a response has.
const RESPONSE: &[&str] =
    &[":status", "age", "cache-control", "content-type", "etag", "location", "set-cookie", "vary", "via", "x-custom"];

/// Sets each of the names, the last one first; then answers with all that the request's map has, if it is asked to.
fn module(replies: bool) -> PathBuf {
    let mut data = String::new();
    let mut at = 200;
    let mut set_all = |map: u32, names: &[&str]| {
        let mut calls = String::new();
        for name in names {
            let _ = write!(data, r#"(data (i32.const {at}) "{name}")"#);
            let (value, size) = if *name == ":status" { (8, 3) } else { (0, 4) };
            let set = format!(
                "(drop (call $set (i32.const {map}) (i32.const {at}) (i32.const {}) (i32.const {value}) (i32.const {size})))",
                name.len()
            );
            calls.insert_str(0, &set);
            at += name.len();
        }
        calls
    };
    let (request, response) = (set_all(0, REQUEST), set_all(2, RESPONSE));
    let reply = "(drop (call $pairs (i32.const 0) (i32.const 100) (i32.const 104)))
        (drop (call $reply (i32.const 200) (i32.const 0) (i32.const 0) (i32.load (i32.const 100)) (i32.load (i32.const 104))
            (i32.const 0) (i32.const 0) (i32.const -1)))";
    let reply = if replies { reply } else { "" };
    let text = format!(
        r#"(module
            (import "env" "proxy_replace_header_map_value" (func $set (param i32 i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_get_header_map_pairs" (func $pairs (param i32 i32 i32) (result i32)))
            (import "env" "proxy_send_local_response"
                (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) "/new") (data (i32.const 8) "201") {data}
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 4096))
            (func (export "proxy_on_context_create") (param i32 i32))
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {request} {reply} (i32.const 0))
            (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) {response} (i32.const 0)))"#
    );
    let file = format!("places-{replies}-{:?}.wasm", std::thread::current().id());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
    fs::write(&path, wat::parse_str(text).unwrap()).unwrap();
    path
}

/// The answer to a request that has all of them.
fn answer(engine: Engine, replies: bool) -> Result<Response, Box<dyn Error>> {
    let upstream =
        |_: &Request| RESPONSE[1..].iter().fold(Answer::new(200), |answer, name| answer.header(*name, "old"));
    let mut proxy = Proxy::on(engine).module(module(replies)).upstream(upstream).start()?;
    let request = REQUEST[3..].iter().fold(proxy.get("/old"), |request, name| request.header(*name, "old"));
    Ok(request.send()?)
}

fn lines<'a>(fields: impl Iterator<Item = (&'a Bytes, &'a Bytes)>, names: &[&str]) -> Vec<String> {
    let known = |name: &[u8]| names.iter().any(|known| known.as_bytes() == name);
    let known = fields.filter(|(name, _)| known(name));
    known.map(|(name, value)| format!("{}: {}", name.escape_ascii(), value.escape_ascii())).collect()
}

#[test]
fn what_a_plugin_sets_goes_to_the_end_of_a_request() -> Outcome {
    let seen = |engine| {
        let answer = answer(engine, true)?;
        let pairs = pairs::decode(&answer.body()).ok_or("the answer is the map")?;
        Ok::<_, Box<dyn Error>>(lines(pairs.iter().map(|(name, value)| (name, value)), REQUEST))
    };
    let in_envoy = seen(Engine::Envoy)?;
    assert_eq!(in_envoy.len(), REQUEST.len());
    assert_eq!(seen(Engine::Wasm)?, in_envoy);
    Ok(())
}

#[test]
fn what_a_plugin_sets_goes_to_the_end_of_a_response() -> Outcome {
    let seen = |engine| Ok::<_, Box<dyn Error>>(lines(answer(engine, false)?.headers().iter(), RESPONSE));
    let in_envoy = seen(Engine::Envoy)?;
    assert_eq!(in_envoy.len(), RESPONSE.len());
    assert_eq!(seen(Engine::Wasm)?, in_envoy);
    Ok(())
}
