//! The test facade: one way to put a plugin into a proxy, send it requests and look at what happened.
//!
//! [`Proxy`] is the front door, with an example. Which of the three engines runs the plugin is chosen by the
//! constructor, or at run time by [`Builder::engine`]; everything after that is the same for all of them.

mod answer;
mod builder;
mod cluster;
mod driver;
mod failure;
mod grpc_answer;
mod message;
mod proxy;
mod request;
mod setup;
mod surroundings;
mod tcp;
mod tcp_client;

#[cfg(any(feature = "native", feature = "wasm"))]
mod memory;
#[cfg(feature = "wasm")]
mod modules;

pub use crate::abi::LogLevel;
pub use crate::fault::Faults;
pub use crate::lint::Finding;
pub use crate::trace::TraceLine;
pub use crate::worker::FailPolicy;

pub use crate::prometheus::StatsTag;
pub use crate::surroundings::{Locality, Node, TrafficDirection};
pub use crate::worker::Tls;
pub use answer::{Answer, Ending};
pub use builder::Builder;
pub use cluster::{Arrival, Cluster};
pub use driver::{Driver, Leaks, LogLine, Samples};
pub use failure::{Failure, StartError};
pub use grpc_answer::GrpcAnswer;
#[cfg(feature = "envoy")]
pub(crate) use grpc_answer::GrpcPart;
pub use message::{Headers, Request, Response};
pub use proxy::{Exchange, Proxy};
pub use request::RequestBuilder;
pub use setup::{Code, Engine, PluginSetup, Setup};
pub use surroundings::{Route, Surroundings};
pub use tcp::{TcpAction, TcpEnding, TcpEvent, TcpRead, TcpSeen, TcpServer, TcpTurn, TcpWait};
pub use tcp_client::TcpClient;
