//! The third engine: a real Envoy process on loopback, with the test as its client and as its clusters.
//!
//! Most users meet it through [`Proxy::envoy`](crate::test::Proxy::envoy). The parts serve by themselves too:
//! [`binary`] finds or installs an Envoy, [`config`] writes what it is started with, [`process`] runs it, and [`race`] measures
//! what a request costs several of them.

pub mod backend;
pub mod binary;
pub mod certificates;
mod client;
mod codec;
pub mod complaints;
pub mod config;
mod connections;
mod driver;
mod files;
mod grpc_backend;
mod hpack;
mod http1;
mod http2;
pub mod log;
pub mod process;
pub mod race;
mod stream;
mod tcp;
mod tls;

pub(crate) use driver::start;
