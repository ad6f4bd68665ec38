//! Small modules, written by hand, each of which does one thing.

use std::sync::Arc;

use wasmplugin_host::wasm::Module;
use wasmplugin_proxy::{Code, Plugin};

/// A plugin that runs this module.
pub(crate) fn plugin(name: &str, wat: &str) -> Plugin {
    Plugin::new(name, Code::Wasm(Arc::new(Module::from_bytes(name, wat::parse_str(wat).unwrap()).unwrap())))
}

/// What every module needs, around what one of them does. Texts are at 0..4096, results at 4096..4128, and the
/// host gets memory from 64 KiB on, in a ring.
fn module(imports: &str, body: &str) -> String {
    format!(
        r#"(module
          {imports}
          (memory (export "memory") 4)
          (global $next (mut i32) (i32.const 0))
          (func (export "proxy_abi_version_0_2_1"))
          (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
            (if (i32.gt_u (i32.add (global.get $next) (local.get $size)) (i32.const 131072))
              (then (global.set $next (i32.const 0))))
            (i32.add (i32.const 65536) (global.get $next))
            (global.set $next (i32.and (i32.add (i32.add (global.get $next) (local.get $size)) (i32.const 7)) (i32.const -8))))
          {body})"#
    )
}

const ADD_HEADER: &str = r#"(import "env" "proxy_add_header_map_value"
    (func $add (param i32 i32 i32 i32 i32) (result i32)))"#;
const GET_HEADER: &str = r#"(import "env" "proxy_get_header_map_value"
    (func $get (param i32 i32 i32 i32 i32) (result i32)))"#;
const WRITE: &str = r#"(import "env" "proxy_set_buffer_bytes"
    (func $write (param i32 i32 i32 i32 i32) (result i32)))"#;
const REPLY: &str = r#"(import "env" "proxy_send_local_response"
    (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))"#;

/// Adds `x-wasm: 1` to every response.
pub(crate) fn adds_header() -> String {
    module(
        ADD_HEADER,
        r#"(data (i32.const 0) "x-wasm") (data (i32.const 16) "1")
        (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
          (drop (call $add (i32.const 2) (i32.const 0) (i32.const 6) (i32.const 16) (i32.const 1)))
          (i32.const 0))"#,
    )
}

/// Traps on requests with the header `x-trap`.
pub(crate) fn traps() -> String {
    module(
        GET_HEADER,
        r#"(data (i32.const 0) "x-trap")
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (if (i32.eqz (call $get (i32.const 0) (i32.const 0) (i32.const 6) (i32.const 4096) (i32.const 4100)))
            (then unreachable))
          (i32.const 0))"#,
    )
}

/// Never lets a request go on.
pub(crate) fn pauses() -> String {
    module("", r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 1))"#)
}

/// Collects whole request bodies.
pub(crate) fn buffers() -> String {
    module("", r#"(func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) (i32.eqz (local.get 2)))"#)
}

/// Puts `CHANGED` in the place of whole request bodies.
pub(crate) fn changes_bodies() -> String {
    module(
        WRITE,
        r#"(data (i32.const 0) "CHANGED")
        (func (export "proxy_on_request_body") (param i32) (param $size i32) (param $end i32) (result i32)
          (if (local.get $end)
            (then (drop (call $write (i32.const 0) (i32.const 0) (local.get $size) (i32.const 0) (i32.const 7)))))
          (i32.eqz (local.get $end)))"#,
    )
}

/// Cuts TCP connections off whose client says something that begins with `!`, and answers nothing else.
pub(crate) fn cuts() -> String {
    module(
        r#"(import "env" "proxy_get_buffer_bytes" (func $read (param i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_close_stream" (func $close (param i32) (result i32)))"#,
        r#"(func (export "proxy_on_downstream_data") (param i32 i32 i32) (result i32)
          (if (call $read (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 4096) (i32.const 4100))
            (then (return (i32.const 0))))
          (if (i32.eqz (i32.load (i32.const 4100))) (then (return (i32.const 0))))
          (if (i32.ne (i32.load8_u (i32.load (i32.const 4096))) (i32.const 33)) (then (return (i32.const 0))))
          (drop (call $close (i32.const 2)))
          (i32.const 1))"#,
    )
}

/// Answers requests without the header `x-pass` with 403 by itself.
pub(crate) fn guards() -> String {
    module(
        &format!("{GET_HEADER} {REPLY}"),
        r#"(data (i32.const 0) "x-pass")
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (if (result i32) (i32.eqz (call $get (i32.const 0) (i32.const 0) (i32.const 6) (i32.const 4096) (i32.const 4100)))
            (then (i32.const 0))
            (else
              (drop (call $reply (i32.const 403) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                (i32.const 0) (i32.const 0) (i32.const -1)))
              (i32.const 1))))"#,
    )
}

/// Answers every request with 418 by itself.
pub(crate) fn replies() -> String {
    module(
        REPLY,
        r#"(data (i32.const 0) "short and stout")
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (drop (call $reply (i32.const 418) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 15)
            (i32.const 0) (i32.const 0) (i32.const -1)))
          (i32.const 1))"#,
    )
}

/// The headers of `GET auth/check`, as the ABI wants them, for a data segment; and their length.
fn check() -> (String, usize) {
    let pairs = [(":method", "GET"), (":path", "/check"), (":authority", "auth")];
    let mut blob = 3u32.to_le_bytes().to_vec();
    for (name, value) in pairs {
        blob.extend((name.len() as u32).to_le_bytes());
        blob.extend((value.len() as u32).to_le_bytes());
    }
    for (name, value) in pairs {
        blob.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    (blob.iter().map(|byte| format!("\\{byte:02x}")).collect(), blob.len())
}

/// Asks the cluster `auth` as soon as it is configured, and refuses the configuration if it cannot.
pub(crate) fn asks_at_once() -> String {
    let (text, length) = check();
    module(
        r#"(import "env" "proxy_http_call" (func $ask (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))"#,
        &format!(
            r#"(data (i32.const 0) "auth") (data (i32.const 64) "{text}")
            (func (export "proxy_on_configure") (param i32 i32) (result i32)
              (i32.eqz (call $ask (i32.const 0) (i32.const 4) (i32.const 64) (i32.const {length}) (i32.const 0)
                (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 5000) (i32.const 4096))))"#
        ),
    )
}

/// Asks the cluster `auth`; a 200 lets the request pass, anything else is answered with 403 and what `auth` said.
/// A timeout in milliseconds.
pub(crate) fn asks(timeout: u32) -> String {
    let (text, length) = check();
    module(
        &format!(
            r#"{GET_HEADER} {REPLY}
            (import "env" "proxy_http_call" (func $ask (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_get_buffer_bytes" (func $body (param i32 i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_set_effective_context" (func $become (param i32) (result i32)))
            (import "env" "proxy_continue_stream" (func $go_on (param i32) (result i32)))"#
        ),
        &format!(
            r#"(data (i32.const 0) "auth") (data (i32.const 16) ":status") (data (i32.const 32) "failed")
            (data (i32.const 64) "{text}")
            ;; Which context waits for which token: a table from 8192 on.
            (func $slot (param i32) (result i32)
              (i32.add (i32.const 8192) (i32.and (i32.mul (local.get 0) (i32.const 4)) (i32.const 0x7fff))))
            (func (export "proxy_on_request_headers") (param $id i32) (param i32 i32) (result i32)
              (if (call $ask (i32.const 0) (i32.const 4) (i32.const 64) (i32.const {length}) (i32.const 0) (i32.const 0)
                    (i32.const 0) (i32.const 0) (i32.const {timeout}) (i32.const 4096))
                (then unreachable))
              (i32.store (call $slot (i32.load (i32.const 4096))) (local.get $id))
              (i32.const 1))
            (func (export "proxy_on_http_call_response") (param i32) (param $token i32) (param $headers i32) (param i32 i32)
              (if (call $become (i32.load (call $slot (local.get $token)))) (then (return)))
              (if (i32.eqz (local.get $headers))
                (then
                  (drop (call $reply (i32.const 403) (i32.const 0) (i32.const 0) (i32.const 32) (i32.const 6)
                    (i32.const 0) (i32.const 0) (i32.const -1)))
                  (return)))
              (drop (call $get (i32.const 6) (i32.const 16) (i32.const 7) (i32.const 4096) (i32.const 4100)))
              (if (i32.eq (i32.load8_u (i32.load (i32.const 4096))) (i32.const 50)) ;; `2`
                (then (drop (call $go_on (i32.const 0))) (return)))
              (drop (call $body (i32.const 4) (i32.const 0) (i32.const 1000) (i32.const 4096) (i32.const 4100)))
              (drop (call $reply (i32.const 403) (i32.const 0) (i32.const 0)
                (i32.load (i32.const 4096)) (i32.load (i32.const 4100)) (i32.const 0) (i32.const 0) (i32.const -1))))"#
        ),
    )
}

const GRPC: &str = r#"
    (import "env" "proxy_grpc_call" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_grpc_stream" (func $open (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_grpc_send" (func $send (param i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_get_status" (func $status (param i32 i32 i32) (result i32)))
    (import "env" "proxy_set_effective_context" (func $become (param i32) (result i32)))
    (import "env" "proxy_continue_stream" (func $go_on (param i32) (result i32)))"#;

/// Calls `a.B/C` of the cluster `oracle` for one request; an answer lets it pass, a failure is a 403 with the reason. A
/// timeout in milliseconds.
pub(crate) fn calls(timeout: u32) -> String {
    module(
        &format!("{REPLY} {GRPC}"),
        &format!(
            r#"(data (i32.const 0) "oracle") (data (i32.const 16) "a.BC") (data (i32.const 32) "hello")
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
              (if (call $call (i32.const 0) (i32.const 6) (i32.const 16) (i32.const 3) (i32.const 19) (i32.const 1)
                    (i32.const 0) (i32.const 0) (i32.const 32) (i32.const 5) (i32.const {timeout}) (i32.const 4096))
                (then unreachable))
              (i32.const 1))
            (func (export "proxy_on_grpc_receive") (param i32 i32 i32)
              (if (call $become (i32.const 2)) (then (return)))
              (drop (call $go_on (i32.const 0))))
            (func (export "proxy_on_grpc_close") (param i32 i32 i32)
              (drop (call $status (i32.const 4096) (i32.const 4100) (i32.const 4104)))
              (if (call $become (i32.const 2)) (then (return)))
              (drop (call $reply (i32.const 403) (i32.const 0) (i32.const 0)
                (i32.load (i32.const 4100)) (i32.load (i32.const 4104)) (i32.const 0) (i32.const 0) (i32.const -1))))"#
        ),
    )
}

/// Opens a stream to `a.B/C` of the cluster `oracle` for one request, says one thing, says its last after it was
/// answered, and lets the request pass when the stream has ended well.
pub(crate) fn talks() -> String {
    module(
        GRPC,
        r#"(data (i32.const 0) "oracle") (data (i32.const 16) "a.BC") (data (i32.const 32) "hello")
        (global $heard (mut i32) (i32.const 0))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (if (call $open (i32.const 0) (i32.const 6) (i32.const 16) (i32.const 3) (i32.const 19) (i32.const 1)
                (i32.const 0) (i32.const 0) (i32.const 4096))
            (then unreachable))
          (drop (call $send (i32.const 6) (i32.const 32) (i32.const 5) (i32.const 0)))
          (i32.const 1))
        (func (export "proxy_on_grpc_receive") (param i32 i32 i32)
          (if (i32.eqz (global.get $heard))
            (then
              (global.set $heard (i32.const 1))
              (drop (call $send (i32.const 6) (i32.const 32) (i32.const 5) (i32.const 1))))))
        (func (export "proxy_on_grpc_close") (param i32 i32) (param $status i32)
          (if (local.get $status) (then (return)))
          (if (call $become (i32.const 2)) (then (return)))
          (drop (call $go_on (i32.const 0))))"#,
    )
}

/// Counts its ticks, ten milliseconds apart, in the metric `my.ticks{kind=fast}`.
pub(crate) fn ticks() -> String {
    module(
        r#"(import "env" "proxy_set_tick_period_milliseconds" (func $period (param i32) (result i32)))
        (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_increment_metric" (func $count (param i32 i64) (result i32)))"#,
        r#"(data (i32.const 0) "my.ticks{kind=fast}")
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
          (drop (call $define (i32.const 0) (i32.const 0) (i32.const 19) (i32.const 4096)))
          (drop (call $period (i32.const 10)))
          (i32.const 1))
        (func (export "proxy_on_tick") (param i32)
          (drop (call $count (i32.load (i32.const 4096)) (i64.const 1))))"#,
    )
}

/// Refuses its configuration.
pub(crate) fn refuses() -> String {
    module("", r#"(func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 0))"#)
}

/// Traps as soon as it is started.
pub(crate) fn fails_at_start() -> String {
    module("", r#"(func (export "_initialize") unreachable)"#)
}
