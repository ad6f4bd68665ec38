//! The shared facts about Istio's resources, images, web servers and the cache, and real tools.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod cases;
mod credentials;
mod envoy;
mod fetching;
mod matching;
mod oracle;
mod peer;
mod registries;
mod registry;
mod tokens;
mod urls;
mod validation;
