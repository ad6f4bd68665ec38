//! `cargo wasmplugin run`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::Value;
use wasmplugin_host::module::build;

use crate::command::{Going, Scratch, address, wasmplugin, workspace};

/// What every module must have, around something of its own.
fn module(inside: &str) -> Vec<u8> {
    let text = format!(
        "(module {inside}
            (memory (export \"memory\") 1)
            (func (export \"proxy_abi_version_0_2_1\"))
            (func (export \"malloc\") (param i32) (result i32) i32.const 64))"
    );
    wat::parse_str(text).unwrap()
}

fn hello() -> String {
    let path = build::wasm(workspace().join("examples/hello")).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Runs on both engines, on any port, to an end that is expected to come at once.
fn refused(file: &str, more: &[&str]) -> Vec<String> {
    let engines = ["embedded", "envoy"];
    let run = |engine: &str| {
        let common = ["run", file, "--listen", "127.0.0.1:0", "--engine", engine];
        let run = wasmplugin(&[&common[..], more].concat());
        run.message().to_owned()
    };
    engines.into_iter().map(run).collect()
}

/// Both engines must refuse with the file's name and the reason.
fn assert_refused(file: &str, more: &[&str], reason: &str) {
    for message in refused(file, more) {
        assert!(message.contains(&format!("`{file}`")), "the file is not named: {message}");
        assert!(message.contains(reason), "the reason is not `{reason}`: {message}");
        // A backtrace may follow, indented.
        assert_eq!(
            message.lines().filter(|line| line.starts_with(|first: char| !first.is_whitespace())).count(),
            1,
            "{message}"
        );
    }
}

#[test]
fn a_file_that_is_not_there() {
    assert_refused("/nowhere/a.wasm", &[], "there is no such file");
}

#[test]
fn a_file_that_is_not_wasm() {
    let file = Scratch::new("a.wasm", "#!/bin/sh\nexit 0\n");
    assert_refused(file.path(), &[], "it is not a Wasm module");
}

#[test]
fn a_component() {
    let file = Scratch::new("a.wasm", b"\0asm\x0d\0\x01\0");
    assert_refused(file.path(), &[], "it is a Wasm component");
}

#[test]
fn a_truncated_file() {
    let whole = std::fs::read(hello()).unwrap();
    let file = Scratch::new("a.wasm", &whole[..whole.len() / 2]);
    assert_refused(file.path(), &[], "the file is cut short");
}

#[test]
fn an_import_that_nobody_offers() {
    let file = Scratch::new("a.wasm", module("(import \"env\" \"proxy_make_coffee\" (func))"));
    assert_refused(file.path(), &[], "proxy_make_coffee");
}

#[test]
fn a_start_function_that_traps() {
    let file = Scratch::new("a.wasm", module("(func (export \"_initialize\") unreachable)"));
    assert_refused(file.path(), &[], "unreachable");
}

#[test]
fn a_configuration_that_is_not_json() {
    let hello = hello();
    let file = Scratch::new("hello.json", "{oops");
    for message in refused(&hello, &["--config", file.path()]) {
        assert!(message.starts_with(&format!("the configuration file `{}` is not JSON: ", file.path())), "{message}");
    }
    for message in refused(&hello, &["--config", "{oops"]) {
        assert!(
            message.starts_with("the configuration `{oops` is not JSON: key must be a string at line 1"),
            "{message}"
        );
    }
}

#[test]
fn a_configuration_that_the_plugin_refuses() {
    assert_refused(&hello(), &["--config", r#"{"a": 1}"#], "this plugin takes no configuration");
}

#[test]
fn the_culprit_of_a_chain_is_named() {
    let hello = hello();
    let file = Scratch::new("trap.wasm", module("(func (export \"_initialize\") unreachable)"));
    for engine in ["embedded", "envoy"] {
        let run = wasmplugin(&["run", &hello, file.path(), "--listen", "127.0.0.1:0", "--engine", engine]);
        let message = run.message();
        assert!(message.contains(&format!("`{}`", file.path())) && !message.contains(&hello), "{message}");
    }
}

#[test]
fn a_port_that_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for engine in ["embedded", "envoy"] {
        let run = wasmplugin(&["run", &hello(), "--listen", &address, "--engine", engine]);
        assert!(run.message().contains(&address), "{run:#?}");
    }
}

#[test]
fn a_lua_script_runs_in_a_real_envoy_and_nowhere_else() {
    let script = "function envoy_on_request(handle) handle:respond({[':status'] = '403'}, 'by lua') end";
    let resources = format!(
        "kind: Mesh\nmtls: DISABLE\nworkloads: [{{name: web, ports: [{{port: 8080}}]}}]\n---\n\
         apiVersion: extensions.istio.io/v1alpha1\nkind: TrafficExtension\nmetadata: {{name: gate, namespace: default}}\n\
         spec: {{lua: {{inlineCode: \"{script}\"}}}}\n"
    );
    let file = Scratch::new("lua.yaml", resources);
    let mut run = Going::start(&["run", file.path(), "--engine", "envoy"]);
    let web = listens(&run.line_with("serves port 8080"));
    run.line_with("stop it");
    let answer = ask_with(&web, "web", "");
    assert!(answer.starts_with("HTTP/1.1 403") && answer.ends_with("by lua"), "{answer}");
    assert_eq!(run.interrupt(), Some(0));
    for arguments in [&["run", file.path()][..], &["run", file.path(), "--compare"]] {
        let run = wasmplugin(arguments);
        assert!(run.message().contains("`gate` is a Lua script"), "{run:#?}");
    }
}

#[test]
fn arguments_that_make_no_sense() {
    for arguments in [
        &["run"][..],
        &["run", "a.wasm", "--listen", "here"],
        &["run", "a.wasm", "--cluster", "auth"],
        &["run", "a.wasm", "--workers", "0"],
        &["run", "a.wasm", "--config", "{}", "--config", "{}"],
        &["run", "a.wasm", "--cluster", "a=127.0.0.1:1", "--cluster", "a=127.0.0.1:2"],
        &["fly"],
    ] {
        let run = wasmplugin(arguments);
        assert_eq!(run.code, Some(2), "{arguments:?} {run:#?}");
        assert!(run.err.starts_with("error: "), "{run:#?}");
    }
}

#[test]
fn requests_go_through_the_modules_until_ctrl_c() {
    let hello = hello();
    for engine in ["embedded", "envoy"] {
        let mut proxy = Going::start(&["run", &hello, "--listen", "127.0.0.1:0", "--engine", engine]);
        let line = proxy.line_with("listens on");
        let address = address(&line).to_owned();

        let mut client = TcpStream::connect(&address).unwrap();
        client.write_all(b"POST /a?b HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("x-hello: wasm"), "{answer}");
        let shown: Value = serde_json::from_str(body).unwrap();
        assert_eq!((&shown["method"], &shown["path"], &shown["body"]), (&"POST".into(), &"/a?b".into(), &"hi".into()));

        assert_eq!(proxy.interrupt(), Some(0));
        assert!(TcpStream::connect(&address).is_err());
    }
}

/// A request over a connection of its own; the status line and the rest.
pub(crate) fn ask(address: &str, host: &str) -> String {
    ask_with(address, host, "")
}

/// The same with further lines in its head.
pub(crate) fn ask_with(address: &str, host: &str, lines: &str) -> String {
    let mut client = TcpStream::connect(address).unwrap();
    let request = format!("GET /a HTTP/1.1\r\nhost: {host}\r\n{lines}connection: close\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

/// Where a workload listens, from a line such as `  serves port 8080 at 127.0.0.1:1234`.
pub(crate) fn listens(line: &str) -> String {
    line.split(" at ").nth(1).unwrap().split([' ', ':', '\n']).take(2).collect::<Vec<_>>().join(":")
}

#[test]
fn resources_and_modules_do_not_go_together() {
    for arguments in [
        &["run", "a.yaml", "a.wasm"][..],
        &["run", "a.yaml", "--upstream", "127.0.0.1:1"],
        &["run", "a.wasm", "--watch"],
    ] {
        assert_eq!(wasmplugin(arguments).code, Some(2), "{arguments:?}");
    }
    let missing = wasmplugin(&["run", "/nowhere/a.yaml"]);
    assert!(missing.message().starts_with("cannot read `/nowhere/a.yaml`"), "{missing:#?}");
}

#[test]
fn the_timeline_of_each_exchange_is_printed() {
    let mut run = Going::start(&["run", &hello(), "--listen", "127.0.0.1:0", "--trace"]);
    let address = address(&run.line_with("listens on")).to_owned();
    let mut client = TcpStream::connect(&address).unwrap();
    let request = "GET /a?access_token=hunter2hunter2 HTTP/1.1\r\nhost: h\r\nconnection: close\r\nauthorization: Bearer hunter2hunter2\r\n\r\n";
    client.write_all(request.as_bytes()).unwrap();
    client.read_to_string(&mut String::new()).unwrap();
    run.line_with("#1 listener GET h/a?access_token=[redacted, 14 bytes] -> 200 in ");
    run.line_with("-> request in: GET /a");
    run.line_with("hello: response headers, continues");
    run.line_with("sets response header x-hello: wasm");
    run.line_with("<- response out: 200");
    let mut client = TcpStream::connect(&address).unwrap();
    let body = r#"{"user":"ada","password":"hunter2hunter2"}"#;
    let length = body.len();
    let request = format!("POST /b HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    client.write_all(request.as_bytes()).unwrap();
    client.read_to_string(&mut String::new()).unwrap();
    run.line_with("#2 listener POST h/b -> 200 in ");
    run.line_with("-> request body in: 42 bytes");
    run.line_with("<- response body out: ");
    run.line_with("request body in, 42 bytes:");
    run.line_with(r#"| {"user":"ada","password":"[redacted, 14 bytes]"}"#);
    run.line_with("request body out, 42 bytes: as before");
    // The server shows what reached it: a text in a text.
    run.line_with(r#"\"user\":\"ada\",\"password\":\"[redacted, 14 bytes]\""#);
    assert!(!run.seen.contains("hunter2"), "{}", run.seen);
    assert_eq!(run.interrupt(), Some(0));
}

#[test]
fn the_timeline_names_the_workload() {
    let mesh = "kind: Mesh\nworkloads:\n- {name: web, labels: {app: web}, ports: [{port: 8080}]}\n- {name: client}\nservices:\n\
                - {name: web, port: 80, targetPort: 8080, selector: {app: web}}\n";
    let file = Scratch::new("mesh.yaml", mesh);
    let mut run = Going::start(&["run", file.path(), "--trace"]);
    run.line_with("client.default");
    let address = listens(&run.line_with("calls services on port 80"));
    assert!(ask(&address, "nobody").starts_with("HTTP/1.1 404"));
    let line = run.line_with(" GET nobody/a -> 404 in ");
    assert!(line.starts_with("client.default #1 "), "{line}");
    run.line_with("the proxy answers 404, 0 bytes (route_not_found)");
    assert_eq!(run.interrupt(), Some(0));
    assert_eq!(wasmplugin(&["run", file.path(), "--trace", "--engine", "envoy"]).code, Some(2));
}

#[test]
fn the_timeline_of_each_connection_is_printed() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let mesh = format!(
        "kind: Mesh\nmtls: DISABLE\nworkloads:\n\
         - {{name: db, ports: [{{port: 5432, protocol: TCP, upstream: {}}}]}}\n",
        server.local_addr().unwrap()
    );
    let file = Scratch::new("mesh.yaml", mesh);
    let mut run = Going::start(&["run", file.path(), "--trace"]);
    let mut client = TcpStream::connect(listens(&run.line_with("serves port 5432"))).unwrap();
    client.write_all(b"select token=hunter2").unwrap();
    let (mut socket, _) = server.accept().unwrap();
    let mut heard = [0; 20];
    socket.read_exact(&mut heard).unwrap();
    socket.write_all(&[0, 1, 2]).unwrap();
    drop(socket);
    client.read_to_end(&mut Vec::new()).unwrap();
    drop(client);
    let line = run.line_with(" TCP 127.0.0.1:");
    assert!(line.starts_with("db.default #1 ") && line.contains(" -> both sides have ended after "), "{line}");
    for part in [
        "-> a connection from 127.0.0.1:",
        "-> from the client: 20 bytes",
        "<- to the client: 3 bytes",
        "from the client, 20 bytes:",
        "| select token=[redacted, 7 bytes]",
        "to the server, 20 bytes: as before",
        "from the server, 3 bytes:",
        "| 000102 ",
    ] {
        run.line_with(part);
    }
    assert!(!run.seen.contains("hunter2"), "{}", run.seen);
    assert_eq!(run.interrupt(), Some(0));
}

/// Counts, and adds a header on the way back whose value nobody else has: some of the time.
const TELLTALE: &str = r#"
    (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_increment_metric" (func $count (param i32 i64) (result i32)))
    (import "env" "proxy_get_current_time_nanoseconds" (func $time (param i32) (result i32)))
    (data (i32.const 1024) "x-time") (data (i32.const 1040) "seen")
    (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
      (drop (call $define (i32.const 0) (i32.const 1040) (i32.const 4) (i32.const 2000)))
      (drop (call $count (i32.load (i32.const 2000)) (i64.const 1)))
      (drop (call $time (i32.const 2048)))
      (i64.store (i32.const 2048) (i64.or (i64.and (i64.load (i32.const 2048)) (i64.const 0x0f0f0f0f0f0f0f0f)) (i64.const 0x4040404040404040)))
      (drop (call $add (i32.const 2) (i32.const 1024) (i32.const 6) (i32.const 2048) (i32.const 8)))
      (i32.const 0))"#;

#[test]
fn both_engines_are_compared() {
    let mut run = Going::start(&["run", &hello(), "--listen", "127.0.0.1:0", "--compare"]);
    let address = address(&run.line_with("requests at ")).to_owned();
    let answer = ask(&address, "h");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("x-hello: wasm"), "{answer}");
    assert_eq!(run.interrupt(), Some(0));
}

#[test]
fn what_differs_between_engines_is_told() {
    let file = Scratch::new("telltale.wasm", module(TELLTALE));
    let mut run = Going::start(&["run", file.path(), "--listen", "127.0.0.1:0", "--compare"]);
    let address = address(&run.line_with("requests at ")).to_owned();
    assert!(ask(&address, "h").contains("x-time: "));
    run.line_with("requests: GET h/a differs");
    // Two clocks do not agree on nanoseconds.
    run.line_with("  header `x-time`: embedded `");
    assert_eq!(run.interrupt(), Some(1));
    assert_eq!(wasmplugin(&["run", file.path(), "--compare", "--engine", "envoy"]).code, Some(2));
}

#[test]
fn a_mesh_behaves_the_same_in_both_engines() {
    let mesh = "kind: Mesh\nworkloads:\n- {name: web, labels: {app: web}, ports: [{port: 8080}]}\n- {name: client}\nservices:\n\
                - {name: web, port: 80, targetPort: 8080, selector: {app: web}}\n";
    let file = Scratch::new("mesh.yaml", mesh);
    let mut run = Going::start(&["run", file.path(), "--compare"]);
    let address = address(&run.line_with("client.default, ")).to_owned();
    let answer = ask(&address, "web");
    assert!(answer.contains("spiffe://cluster.local/ns/default/sa/default"), "{answer}");
    assert!(ask(&address, "nobody").starts_with("HTTP/1.1 404"));
    assert_eq!(run.interrupt(), Some(0));
}
