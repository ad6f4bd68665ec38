//! Every reason for which a file is refused, and the facts of one that is not.

use super::*;

const MARKER: &str = r#"(func (export "proxy_abi_version_0_2_1"))"#;
const ALLOCATOR: &str = r#"(func (export "malloc") (param i32) (result i32) i32.const 0)"#;
const MEMORY: &str = r#"(memory (export "memory") 1)"#;

fn load(wat: &str) -> Result<Module, LoadError> {
    Module::from_bytes("plugin.wasm", wat::parse_str(wat).unwrap())
}

fn plugin(rest: &str) -> Result<Module, LoadError> {
    load(&format!("(module {rest} {MARKER} {ALLOCATOR} {MEMORY})"))
}

fn refusal(result: Result<Module, LoadError>) -> String {
    result.unwrap_err().to_string()
}

#[track_caller]
fn says(message: &str, parts: &[&str]) {
    assert!(message.starts_with("cannot load `plugin.wasm`: "), "{message}");
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn files_that_are_no_files() {
    let missing = Module::read("/nowhere/plugin.wasm").unwrap_err();
    assert!(matches!(missing.problem(), Problem::NoSuchFile));
    assert!(missing.to_string().contains("`/nowhere/plugin.wasm`"), "{missing}");
    assert!(matches!(Module::read("/").unwrap_err().problem(), Problem::Directory));
}

#[test]
fn files_that_are_something_else() {
    let refused = |bytes: &'static [u8]| refusal(Module::from_bytes("plugin.wasm", bytes));
    says(&refused(b""), &["empty", "cargo build --release --target wasm32-wasip1"]);
    says(&refused(b"\x1f\x8b\x08\x00abc"), &["gzip", "1f 8b", "unpack"]);
    says(&refused(b"<!DOCTYPE html><html>"), &["HTML", "<!DOCTYPE"]);
    says(&refused(b"\n<HTML>"), &["HTML"]);
    says(&refused(b"(module)"), &["Wasm text"]);
    says(&refused(b"version https://git-lfs.github.com/spec/v1"), &["Git LFS", "git lfs pull"]);
    says(&refused(b"\x7fELF\x02\x01"), &["native program"]);
    says(&refused(b"\xff\xfe\x00\x01"), &["not a Wasm module", "`ff fe 00 01`"]);
    says(&refused(b"\0as"), &["cut short", "has 3 bytes", "5 more"]);
    says(&refused(b"\0asm\x0d\0\x01\0"), &["component", "wasm32-wasip1"]);
    says(&refused(b"\0asm\x02\0\0\0"), &["version 2"]);
    let mut tar = vec![b'p'; 512];
    tar.splice(257..262, *b"ustar");
    says(&refusal(Module::from_bytes("plugin.wasm", tar)), &["tar archive"]);
}

#[test]
fn a_cut_module() {
    let whole = wat::parse_str(format!("(module {MARKER} {ALLOCATOR} {MEMORY})")).unwrap();
    for length in 9..whole.len() {
        let result = Module::from_bytes("plugin.wasm", whole[..length].to_vec());
        let problem = result.unwrap_err();
        let boundary =
            matches!(problem.problem(), Problem::Truncated { .. } | Problem::NoAbi { .. } | Problem::Invalid { .. });
        assert!(boundary, "at {length}: {problem}");
    }
    let message = refusal(Module::from_bytes("plugin.wasm", whole[..whole.len() - 1].to_vec()));
    says(&message, &["cut short", "section", "1 more"]);
}

#[test]
fn invalid_modules() {
    let mut bytes = wat::parse_str(r#"(module (func (result i32) i32.const 1))"#).unwrap();
    let last = bytes.len() - 3;
    bytes[last] = 0x42; // `i64.const` in place of `i32.const`
    says(&refusal(Module::from_bytes("plugin.wasm", bytes)), &["not valid Wasm", "type mismatch", "offset 0x"]);
}

#[test]
fn modules_that_are_no_plugins() {
    says(&refusal(load("(module)")), &["exports no `proxy_abi_version_0_1_0`", "crate-type"]);
    says(&refusal(load(r#"(module (func (export "proxy_abi_version_0_3_0")))"#)), &["only `proxy_abi_version_0_3_0`"]);
    says(&refusal(plugin(r#"(func (export "proxy_abi_version_0_1_0"))"#)), &["several ABI versions"]);
    says(&refusal(load(&format!("(module {MARKER} {MEMORY})"))), &["neither `malloc` nor `proxy_on_memory_allocate`"]);
    says(&refusal(load(&format!("(module {MARKER} {ALLOCATOR})"))), &["no memory"]);
}

#[test]
fn imports_that_nobody_offers() {
    let import = |module: &str, name: &str| plugin(&format!(r#"(import "{module}" "{name}" (func))"#));
    says(
        &refusal(import("__wbindgen_placeholder__", "__wbindgen_throw")),
        &["`__wbindgen_placeholder__.__wbindgen_throw`", "wasm-bindgen"],
    );
    says(&refusal(import("wasi:cli/stdout@0.2.0", "get-stdout")), &["component model"]);
    says(
        &refusal(import("wasi_snapshot_preview1", "proc_raise")),
        &["`wasi_snapshot_preview1.proc_raise`", "leaves these WASI"],
    );
    says(&refusal(import("env", "proxy_redis_call")), &["`env.proxy_redis_call`", "another version"]);
    says(&refusal(import("env", "proxy_continue_request")), &["ABI 0.2.1"]);
    says(&refusal(import("env", "proxy_log")), &["imports `env.proxy_log` as `()`", "`(i32, i32, i32) -> i32`"]);
    says(&refusal(plugin(r#"(import "env" "stack" (global i32))"#)), &["global `env.stack`"]);
    // Envoy registers it with one parameter too few.
    let link =
        r#"(import "wasi_snapshot_preview1" "path_link" (func (param i32 i32 i32 i32 i32 i32 i32) (result i32)))"#;
    says(&refusal(plugin(link)), &["path_link"]);
}

#[test]
fn callbacks_of_another_shape() {
    let message =
        refusal(plugin(r#"(func (export "proxy_on_request_headers") (param i32 i32) (result i32) i32.const 0)"#));
    says(&message, &["`proxy_on_request_headers`", "`(i32, i32) -> i32`", "`(i32, i32, i32) -> i32`"]);
    let old = format!(
        r#"(module (func (export "proxy_abi_version_0_1_0")) {ALLOCATOR} {MEMORY}
        (func (export "proxy_on_request_headers") (param i32 i32) (result i32) i32.const 0))"#
    );
    assert_eq!(load(&old).unwrap().info().callbacks, ["proxy_on_request_headers"]);
    says(&refusal(plugin(r#"(func (export "_initialize") (param i32))"#)), &["`_initialize`"]);
}

#[test]
fn memories_of_another_kind() {
    let refused = |memory: &str| refusal(load(&format!("(module {MARKER} {ALLOCATOR} {memory})")));
    says(&refused(r#"(memory (export "memory") 16385)"#), &["1024 MiB", "initial memory"]);
    says(&refused(r#"(memory (export "memory") i64 1)"#), &["64-bit"]);
    says(&refused(r#"(memory (export "memory") 1 2 shared)"#), &["shared"]);
    says(&refused(r#"(memory (export "memory") 1) (memory 1)"#), &["several"]);
    let imported = load(&format!(r#"(module (import "env" "memory" (memory 2)) {MARKER} {ALLOCATOR})"#)).unwrap();
    assert_eq!(imported.info().memory, MemoryFacts { initial: 131_072, maximum: None, imported: true });
}

#[test]
fn facts() {
    let module = plugin(
        r#"(import "env" "proxy_log" (func (param i32 i32 i32) (result i32)))
        (import "wasi_unstable" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
        (func (export "_initialize"))
        (func $tick (export "proxy_on_tick") (param i32))
        (func (export "own"))
        (func (export "proxy_on_memory_allocate") (param i32) (result i32) i32.const 0)
        (data (i32.const 8) "abc")
        (@custom "producers" "\00")"#,
    )
    .unwrap();
    let info = module.info();
    assert_eq!(module.name(), "plugin.wasm");
    assert_eq!(info.abi, AbiVersion::V0_2_1);
    assert_eq!(info.entry, Entry::Initialize);
    assert_eq!(info.allocator, Allocator::Malloc);
    assert_eq!(info.callbacks, ["proxy_on_tick"]);
    assert_eq!(info.imports.len(), 2);
    assert_eq!(info.imports[0].ty.to_string(), "(i32, i32, i32) -> i32");
    assert_eq!(info.functions, 6);
    assert_eq!(info.size, module.bytes().len());
    assert!(info.data_size > 3 && info.code_size > 6, "{info:?}");
    assert!(info.custom_sections.iter().any(|(name, _)| name == "producers"));
    assert!(info.has_names);
}
