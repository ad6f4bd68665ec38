//! A proxy in memory that runs and tests Proxy-Wasm plugins as Envoy 1.40 would.
//!
//! # Layout
//!
//! * [`worker`] is the proxy without sockets: messages go in, [`worker::Effect`]s come out. It carries requests and
//!   responses (`exchange`) through the chain of filters; [`services`] is what workers share.
//! * [`imports`] is the table of host calls; their bodies work over [`memory::Memory`], so that they are written
//!   once for both doors: `native` (the plugin is linked in) and `wasm` (the plugin is a module in Wasmtime).
//! * [`mod@test`] is the facade that tests use, the same for both doors and for a real Envoy.

pub mod abi;
pub mod callback;
mod callout;
mod calls;
pub mod clock;
mod connection;
mod date;
mod effect;
pub mod entrance;
#[cfg(feature = "envoy")]
pub mod envoy;
mod exchange;
#[cfg(feature = "foreign")]
mod expressions;
pub mod fault;
mod filter;
mod filter_state;
mod finding;
mod foreign;
mod grpc;
mod grpc_service;
pub mod guest;
pub mod headers;
pub mod id_map;
mod ids;
pub mod imports;
mod length;
pub mod limits;
pub mod lint;
pub mod memory;
pub mod metrics;
#[cfg(feature = "wasm")]
pub mod module;
#[cfg(feature = "native")]
pub mod native;
mod options;
pub mod pairs;
mod percent;
pub mod prometheus;
mod properties;
mod protobuf;
pub mod recording;
pub mod sandbox;
pub mod services;
pub mod shared;
pub mod stand_in;
pub mod surroundings;
mod tcp;
pub mod test;
pub mod trace;
mod trace_line;
pub mod vm;
#[cfg(feature = "wasm")]
pub mod wasm;
mod witness;
pub mod worker;

#[cfg(test)]
mod scripted;

#[cfg(all(test, feature = "native"))]
use proxy_wasm as _;
