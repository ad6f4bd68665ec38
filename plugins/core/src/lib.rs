//! What Istio's extensions think, as plain functions: facts in, decisions out.
//!
//! No host calls, no clock (time is an argument), no I/O and no statics live here; the modules beside this crate
//! carry facts in and decisions out.

// Inside V8, `#[test]` is another attribute.
#[cfg(all(test, target_family = "wasm", target_os = "unknown"))]
#[macro_use]
extern crate v8_test;

mod duration;
mod finding;
mod json;
mod key;
mod order;
mod target;

pub mod access_log_policy;
pub mod attribute_gen;
pub mod basic_auth;
pub mod jwt;
pub mod peer;
pub mod rate_limit;
pub mod rbac;
pub mod stats;
pub mod wire;

pub use finding::Finding;
