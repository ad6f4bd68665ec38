//! The built command, as a user runs it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod bench;
mod check;
mod command;
mod compare;
mod completions;
mod demo;
mod deploy;
mod doctor;
mod guests;
mod images;
mod limits;
mod lint;
mod migrate;
mod modules;
mod new;
mod parity;
mod refusals;
#[path = "../../deploy/tests/registry.rs"]
#[expect(dead_code, reason = "the tests of `deploy` use more of it")]
mod registry;
mod run;
mod shipping;
mod stats_tags;
mod token;
mod watch;
