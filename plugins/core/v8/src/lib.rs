//! The attribute `test` for a Wasm engine in JavaScript: with `#[macro_use]`, a crate's `#[test]`s mean this one.

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
pub use wasm_bindgen_test::wasm_bindgen_test as test;
