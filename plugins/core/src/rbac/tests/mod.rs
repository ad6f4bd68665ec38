//! Tests of the whole engine.

mod cases;
mod equal;
mod expressions;
mod hostile;
mod names;
mod normal;
#[cfg(not(target_arch = "wasm32"))] // It reads a clock, which a browser engine does not have.
mod pace;
mod random;
mod refused;
mod sets;

use super::Engine;
use super::config::Config;
use crate::finding::Finding;

/// Compiles a configuration given as JSON.
fn engine(config: &serde_json::Value) -> Result<Engine, Finding> {
    let text = config.to_string();
    Engine::new(&Config::read(text.as_bytes())?)
}
