//! The shared cases, each decided by a real Envoy, and properties of the whole engine.

mod cases;
mod engine;
mod hostile;
mod properties;
