//! Tests of the whole engine.

mod cases;
mod equal;
mod expressions;
mod names;
mod normal;
#[cfg(not(target_arch = "wasm32"))] // It reads a clock, which a browser engine does not have.
mod pace;
mod random;
mod refused;
mod sets;
