//! The shared facts about Istio's resources, and properties that hold for all of them.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod cases;
mod envoy;
mod matching;
mod urls;
mod validation;
