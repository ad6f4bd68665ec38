//! The built command, as a user runs it.

mod command;
mod demo;
mod modules;
mod run;
