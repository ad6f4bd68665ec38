//! Modules of no SDK that go wrong, for these tests and for those of `mesh`.

/// A module with these imports and functions.
fn module(imports: &str, body: &str) -> Vec<u8> {
    let text = format!(
        "(module {imports} (memory (export \"memory\") 4) (global $next (mut i32) (i32.const 65536))
            (func (export \"proxy_abi_version_0_2_1\"))
            (func (export \"proxy_on_memory_allocate\") (param $size i32) (result i32)
              (global.get $next) (global.set $next (i32.add (global.get $next) (local.get $size))))
            {body})"
    );
    wat::parse_str(text).unwrap()
}

/// Traps on requests with the header `x-trap`, and marks responses with `x-wasm`.
pub(crate) fn traps() -> Vec<u8> {
    module(
        r#"(import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
           (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))"#,
        r#"(data (i32.const 0) "x-trap") (data (i32.const 16) "x-wasm") (data (i32.const 32) "1")
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (if (i32.eqz (call $get (i32.const 0) (i32.const 0) (i32.const 6) (i32.const 4096) (i32.const 4100)))
            (then unreachable))
          (i32.const 0))
        (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
          (drop (call $add (i32.const 2) (i32.const 16) (i32.const 6) (i32.const 32) (i32.const 1)))
          (i32.const 0))"#,
    )
}

/// Refuses every configuration.
pub(crate) fn refuses() -> Vec<u8> {
    module("", r#"(func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 0))"#)
}

/// Calls functions of the host, and says in `x-answers` what each has answered, with a comma behind each: its log, the time, a
/// header, and of WASI a random number, standard output, the time, the environment.
pub(crate) fn asks() -> Vec<u8> {
    module(
        r#"(import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
           (import "env" "proxy_get_current_time_nanoseconds" (func $now (param i32) (result i32)))
           (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
           (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
           (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
           (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
           (import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))
           (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ (param i32 i32) (result i32)))"#,
        r#"(data (i32.const 16) "x-answers") (data (i32.const 32) ":status") (data (i32.const 48) "said")
        (data (i32.const 64) "\30\00\00\00\04\00\00\00") (global $at (mut i32) (i32.const 0))
        (func $note (param $answer i32)
          (i32.store8 (global.get $at) (i32.add (i32.const 48) (i32.div_u (local.get $answer) (i32.const 10))))
          (i32.store8 offset=1 (global.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $answer) (i32.const 10))))
          (i32.store8 offset=2 (global.get $at) (i32.const 44))
          (global.set $at (i32.add (global.get $at) (i32.const 3))))
        (func (export "_initialize") (drop (call $random (i32.const 4096) (i32.const 8))))
        (func (export "proxy_on_context_create") (param i32 i32))
        (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
        (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 1))
        (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
          (global.set $at (i32.const 2000))
          (call $note (call $log (i32.const 2) (i32.const 48) (i32.const 4)))
          (call $note (call $now (i32.const 4096)))
          (call $note (call $get (i32.const 2) (i32.const 32) (i32.const 7) (i32.const 4096) (i32.const 4104)))
          (call $note (call $random (i32.const 4096) (i32.const 8)))
          (call $note (call $write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 4096)))
          (call $note (call $time (i32.const 0) (i64.const 0) (i32.const 4096)))
          (call $note (call $environ (i32.const 4096) (i32.const 4104)))
          (drop (call $add (i32.const 2) (i32.const 16) (i32.const 9) (i32.const 2000)
            (i32.sub (global.get $at) (i32.const 2000))))
          (i32.const 0))"#,
    )
}

/// Never comes back from a request with the header `x-trap`.
pub(crate) fn loops() -> Vec<u8> {
    module(
        r#"(import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))"#,
        r#"(data (i32.const 0) "x-trap")
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (if (i32.eqz (call $get (i32.const 0) (i32.const 0) (i32.const 6) (i32.const 4096) (i32.const 4100)))
            (then (loop $more (br $more))))
          (i32.const 0))"#,
    )
}

/// Takes memory until there is no more, and says in `x-memory` how many blocks of 8 MiB that were, in two digits of base 16 from `A`
/// on.
pub(crate) fn grows() -> Vec<u8> {
    module(
        r#"(import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))"#,
        r#"(data (i32.const 16) "x-memory") (global $blocks (mut i32) (i32.const 0))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (block $full (loop $more
            (br_if $full (i32.eq (memory.grow (i32.const 128)) (i32.const -1)))
            (global.set $blocks (i32.add (global.get $blocks) (i32.const 1)))
            (br_if $more (i32.lt_u (global.get $blocks) (i32.const 255)))))
          (i32.store8 (i32.const 32) (i32.add (i32.const 65) (i32.shr_u (global.get $blocks) (i32.const 4))))
          (i32.store8 (i32.const 33) (i32.add (i32.const 65) (i32.and (global.get $blocks) (i32.const 15))))
          (i32.const 0))
        (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
          (drop (call $add (i32.const 2) (i32.const 16) (i32.const 8) (i32.const 32) (i32.const 2)))
          (i32.const 0))"#,
    )
}
