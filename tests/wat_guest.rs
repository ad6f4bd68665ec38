//! A guest that is nothing but its callbacks, written where the test is: for what the SDK never does, or hides.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{fs, process};

/// Pauses the half that the callback is about.
pub(crate) const PAUSE: &str = "(i32.const 1)";
/// Ends the guest.
pub(crate) const TRAP: &str = "(unreachable)";

/// The callbacks, with the number of their parameters and what they answer.
const CALLBACKS: &[(&str, usize, Option<i32>)] = &[
    ("context_create", 2, None),
    ("vm_start", 2, Some(1)),
    ("configure", 2, Some(1)),
    ("request_headers", 3, Some(0)),
    ("request_body", 3, Some(0)),
    ("request_trailers", 2, Some(0)),
    ("response_headers", 3, Some(0)),
    ("response_body", 3, Some(0)),
    ("response_trailers", 2, Some(0)),
    ("http_call_response", 5, None),
    ("new_connection", 1, Some(0)),
    ("downstream_data", 3, Some(0)),
    ("upstream_data", 3, Some(0)),
    ("downstream_connection_close", 2, None),
    ("upstream_connection_close", 2, None),
    ("tick", 1, None),
    ("grpc_receive_initial_metadata", 3, None),
    ("grpc_receive", 3, None),
    ("grpc_receive_trailing_metadata", 3, None),
    ("grpc_close", 3, None),
    ("log", 1, None),
    ("done", 1, Some(1)),
    ("delete", 1, None),
];

/// The names of the parameters.
const PARAMETERS: [&str; 5] = ["$context", "$count", "$end", "$size", "$trailers"];

/// Asks the cluster `service`.
pub(crate) fn ask() -> String {
    ask_at(0)
}

/// Asks the cluster `another`.
pub(crate) fn ask_another() -> String {
    ask_at(8)
}

/// Asks the cluster whose name is at that address.
fn ask_at(name: u32) -> String {
    let length = question().len();
    format!(
        "(drop (call $http_call (i32.const {name}) (i32.const 7) (i32.const 64) (i32.const {length})
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1000) (i32.const 32)))"
    )
}

/// Makes a unary gRPC call `a.B/C` with a message of five bytes to the cluster `service`.
pub(crate) const CALL: &str =
    "(drop (call $grpc_call (i32.const 0) (i32.const 7) (i32.const 600) (i32.const 3) (i32.const 603)
    (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 512) (i32.const 5) (i32.const 1000) (i32.const 32)))";

/// Opens a gRPC stream `a.B/C` to the cluster `service`.
pub(crate) const OPEN: &str =
    "(drop (call $grpc_stream (i32.const 0) (i32.const 7) (i32.const 600) (i32.const 3) (i32.const 603)
    (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 32)))";

/// Sends five bytes on the stream of that token; with `end`, the last.
pub(crate) fn send(token: u32, end: u32) -> String {
    format!("(drop (call $grpc_send (i32.const {token}) (i32.const 512) (i32.const 5) (i32.const {end})))")
}

/// Reads the status that came with the last callback.
pub(crate) const GET_STATUS: &str = "(drop (call $get_status (i32.const 32) (i32.const 36) (i32.const 40)))";

/// Ends, and then cancels, the stream of that token.
pub(crate) fn close_and_cancel(token: u32) -> String {
    format!("(drop (call $grpc_close (i32.const {token}))) (drop (call $grpc_cancel (i32.const {token})))")
}

/// Answers 403 with a body of that length.
pub(crate) fn answer(length: u32) -> String {
    format!(
        "(drop (call $send_local_response (i32.const 403) (i32.const 0) (i32.const 0) (i32.const 512) (i32.const {length})
            (i32.const 0) (i32.const 0) (i32.const -1)))"
    )
}

/// From the root: lets the stream of that context go on in that direction, if it is still there.
pub(crate) fn go_on(context: u32, direction: u32) -> String {
    format!(
        "(if (i32.eqz (call $set_effective_context (i32.const {context})))
            (then (drop (call $continue_stream (i32.const {direction})))))"
    )
}

/// The module in which these callbacks have these bodies, and all others do nothing.
pub(crate) fn module(bodies: &[(&str, &str)]) -> PathBuf {
    let mut text = String::from(
        r#"(module
        (import "env" "proxy_continue_stream" (func $continue_stream (param i32) (result i32)))
        (import "env" "proxy_set_effective_context" (func $set_effective_context (param i32) (result i32)))
        (import "env" "proxy_send_local_response"
            (func $send_local_response (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_http_call"
            (func $http_call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_close_stream" (func $close_stream (param i32) (result i32)))
        (import "env" "proxy_set_tick_period_milliseconds" (func $set_tick_period (param i32) (result i32)))
        (import "env" "proxy_set_buffer_bytes" (func $set_buffer_bytes (param i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_get_buffer_status" (func $get_buffer_status (param i32 i32 i32) (result i32)))
        (import "env" "proxy_grpc_call"
            (func $grpc_call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_grpc_stream"
            (func $grpc_stream (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_grpc_send" (func $grpc_send (param i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_grpc_cancel" (func $grpc_cancel (param i32) (result i32)))
        (import "env" "proxy_grpc_close" (func $grpc_close (param i32) (result i32)))
        (import "env" "proxy_get_status" (func $get_status (param i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 600) "a.BC")
        (data (i32.const 0) "service\00another")
        (data (i32.const 512) "answered by the plugin")
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 4096))
        (func (export "_initialize"))"#,
    );
    let question: String = question().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "\\{byte:02x}");
        text
    });
    let _ = writeln!(text, "(data (i32.const 64) \"{question}\")");
    for (name, parameters, answer) in CALLBACKS {
        let parameters: String =
            PARAMETERS.iter().take(*parameters).map(|name| format!("(param {name} i32) ")).collect();
        let usual = answer.map(|answer| format!("(i32.const {answer})")).unwrap_or_default();
        let body = bodies.iter().find(|(given, _)| given == name).map_or(usual.as_str(), |(_, body)| body);
        let result = if answer.is_some() { "(result i32)" } else { "" };
        let _ = writeln!(text, "(func (export \"proxy_on_{name}\") {parameters} {result} {body})");
    }
    text.push(')');
    let bytes = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join(format!("guest-{:016x}.wasm", hasher.finish()));
    // Another test may be reading the same file: it appears whole or not at all.
    let draft = folder.join(format!("guest-{}-{:?}.draft", process::id(), std::thread::current().id()));
    fs::write(&draft, bytes).and_then(|()| fs::rename(&draft, &path)).unwrap_or_else(|error| panic!("{error}"));
    path
}

/// The headers that a callout needs, in the encoding of the ABI.
fn question() -> Vec<u8> {
    let pairs = [(":method", "GET"), (":path", "/ask"), (":authority", "service")];
    let number = |number: usize| u32::try_from(number).unwrap_or_default().to_le_bytes();
    let mut bytes = number(pairs.len()).to_vec();
    for (name, value) in pairs {
        bytes.extend([number(name.len()), number(value.len())].concat());
    }
    for (name, value) in pairs {
        for part in [name, value] {
            bytes.extend(part.as_bytes());
            bytes.push(0);
        }
    }
    bytes
}
