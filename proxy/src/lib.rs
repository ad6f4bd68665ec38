#![doc = include_str!("../README.md")]
//!
//! # Layout
//!
//! * [`Proxy`] starts one front thread, which accepts connections and serves the admin port, and one thread per
//!   worker. A worker's thread has a runtime of its own and a `wasmplugin_host` worker, and nothing in it is shared.
//! * An exchange is a future that hyper polls: it asks the upstream, feeds the worker, and takes out what the worker
//!   lets pass (`service`, `exchange`, `upload`, `lane`). The worker's decisions are carried out in one place (`hub`).
//! * Everything else is about one noun each: `connection`, `client`, `upstream`, `callout`, `timer`, `admin`, `stats`.

mod activity;
mod admin;
mod board;
mod bodies;
mod callout;
mod client;
mod connection;
mod date;
mod error;
mod exchange;
mod front;
mod grpc;
mod headers;
mod hub;
mod lane;
mod plugin_log;
mod prometheus;
mod proxy;
mod request_ids;
mod service;
mod settings;
mod stats;
mod tasks;
mod timer;
mod upload;
mod upstream;
mod worker_thread;

pub use activity::Activity;
pub use error::StartError;
pub use proxy::Proxy;
pub use settings::{Cluster, Settings, Timeouts};
pub use wasmplugin_host::worker::{Code, FailPolicy, Plugin};
