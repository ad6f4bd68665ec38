#![doc = include_str!("../README.md")]
//!
//! # Layout
//!
//! * [`Proxy`] starts one front thread, which accepts connections and serves the admin port, and one thread per
//!   worker. A worker's thread has a runtime of its own, and nothing in it is shared (`thread_state`).
//! * A thread has one `wasmplugin_host` worker, whose decisions are carried out in one place (`hub`), with one chain of
//!   plugins per listener (`chain`). An update adds another chain for new exchanges; the old one ends with its last.
//! * An exchange is a future that hyper polls: it asks the upstream, feeds the worker, and takes out what the worker
//!   lets pass (`service`, `exchange`, `upload`, `lane`). A TCP connection has a reader and a writer per side (`tcp`,
//!   `tcp_lane`).
//! * Everything else is about one noun each: `connection`, `client`, `upstream`, `callout`, `timer`, `tls`, `identity`;
//!   the admin port's pages are `prometheus`, `listings`, `levels`, `config_dump`, on what `stats` counts; and `page`,
//!   `exchanges` and `replay`, which `visitor` guards, on what the host has recorded.

mod activity;
mod admin;
mod answer;
mod board;
mod bodies;
mod callout;
mod chain;
mod client;
mod config_dump;
mod connection;
mod date;
mod error;
mod exchange;
mod exchanges;
mod front;
mod grpc;
mod headers;
mod hub;
mod identity;
mod lane;
mod levels;
mod listener;
mod listings;
mod numbers;
mod page;
mod path;
mod plugin_log;
mod prometheus;
mod proxy;
mod query;
mod refusal;
mod replay;
mod request_head;
mod request_ids;
mod routes;
mod service;
mod settings;
mod socket;
mod stats;
mod tasks;
mod tcp;
mod tcp_lane;
mod thread_state;
mod timer;
mod tls;
mod trial;
mod upload;
mod upstream;
mod visitor;
mod worker_thread;

pub use activity::Activity;
pub use error::StartError;
pub use identity::{Authority, Identity, IdentityError};
pub use path::PathNormalization;
pub use proxy::Proxy;
pub use routes::{Routes, VirtualHost};
pub use settings::{Cluster, Listener, Refused, Serves, Settings, Timeouts};
pub use tls::{ClientCertificates, ClientTls, ServerTls};
pub use trial::Rejection;
pub use wasmplugin_host::limits::Limits;
pub use wasmplugin_host::sandbox::{Capabilities, Sandbox};
pub use wasmplugin_host::worker::{Code, FailPolicy, Plugin};
