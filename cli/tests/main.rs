//! The built command, as a user runs it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod command;
mod demo;
mod modules;
mod run;
