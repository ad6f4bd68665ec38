//! Tests of the whole engine.

mod cases;
mod equal;
mod expressions;
mod names;
mod normal;
mod pace;
mod random;
mod refused;
