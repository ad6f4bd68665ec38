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
