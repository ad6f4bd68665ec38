//! Tests of the whole engine.

mod cases;
mod equal;
mod normal;
mod pace;
mod random;
mod refused;
