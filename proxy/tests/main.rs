//! The proxy over real sockets: one binary, one folder of subjects.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails, also in its helpers"
)]

mod admin;
mod bodies;
mod browser;
mod callouts;
mod clients;
mod elders;
mod exchanges;
mod frames;
mod grpc;
mod http2;
mod lifecycle;
mod load;
mod malformed;
mod mesh;
mod modules;
mod page;
mod plain;
mod plugins;
mod servers;
mod stalls;
mod updates;
mod upstreams;
mod wire;
