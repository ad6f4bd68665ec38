//! Modules of toolchains that link `crt1-reactor.o`, as Rust 1.100 does: it defines `_initialize`, and so must not we.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use wasmplugin_host::test::Proxy;

/// Builds `hello` as such a toolchain would.
fn hello_with_crt1_reactor() -> PathBuf {
    let rustc = Command::new("rustc").args(["--print", "sysroot"]).output().unwrap();
    let sysroot = String::from_utf8(rustc.stdout).unwrap();
    let object = format!("{}/lib/rustlib/wasm32-wasip1/lib/self-contained/crt1-reactor.o", sysroot.trim());
    // Beside the other guests, for which the target was installed.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("crt1-reactor");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--profile", "wasm", "--target", "wasm32-wasip1", "--package", "hello"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .env("WASMPLUGIN_CRT1_REACTOR", "1")
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_ENCODED_RUSTFLAGS", format!("-Clink-arg={object}"))
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .status()
        .unwrap();
    assert!(built.success(), "cargo builds `hello` with `crt1-reactor.o`");
    target.join("wasm32-wasip1/wasm/hello.wasm")
}

#[test]
fn a_module_with_a_crt1_reactor_starts_and_works() {
    // Building the other modules first has made sure that the target is there.
    crate::hello::module();
    let mut proxy = Proxy::wasm(hello_with_crt1_reactor()).start().unwrap();
    assert_eq!(proxy.get("/").send().unwrap().header("x-hello"), Some("wasm"));
}
