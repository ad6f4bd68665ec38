//! Finds out whether this toolchain defines a module's entry point itself (Rust 1.100 and later).

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(crt1_reactor)");
    println!("cargo::rerun-if-env-changed=WASMPLUGIN_CRT1_REACTOR");
    // The variable is for tests, which link `crt1-reactor.o` by hand.
    if env::var_os("WASMPLUGIN_CRT1_REACTOR").is_some() || rustc_minor().is_some_and(|minor| minor >= 100) {
        println!("cargo::rustc-cfg=crt1_reactor");
    }
}

/// The 95 in `rustc 1.95.0 (…)`.
fn rustc_minor() -> Option<u32> {
    let output = Command::new(env::var_os("RUSTC")?).arg("--version").output().ok()?;
    let version = String::from_utf8(output.stdout).ok()?;
    version.split(' ').nth(1)?.split('.').nth(1)?.parse().ok()
}
