#![doc = include_str!("../README.md")]

pub mod attributes;
pub mod background;
pub mod body;
pub mod callout;
pub mod cel;
pub mod compression;
pub mod config;
pub mod error;
pub mod filter_state;
pub mod foreign;
pub mod future;
#[cfg(feature = "grpc")]
pub mod grpc;
pub mod head;
pub mod headers;
pub mod metrics;
pub mod observer;
pub mod once;
pub mod request;
pub mod response;
#[cfg(feature = "json")]
pub mod routes;
pub mod shared;
pub mod shielded;
pub mod signature;
pub mod sse;
pub mod sys;
pub mod tcp;
pub mod time;
pub mod watch;

#[cfg(not(target_arch = "wasm32"))]
mod describe;
mod dispatch;
mod done;
mod exchange;
mod exports;
mod flow;
mod id_map;
mod last_words;
mod log_entry;
mod logger;
mod machinery;
mod notice;
mod phase;
mod plugin;
mod policy;
mod registration;
mod reply;
mod resets;
mod runtime;
#[cfg(all(feature = "json", not(target_arch = "wasm32")))]
mod schema;
mod shown;
mod stream;
mod trace_context;
mod visible;
mod waiters;

pub use callout::Cluster;
pub use done::Done;
pub use error::{Error, Result};
pub use flow::Flow;
pub use head::{RequestHead, ResponseHead};
pub use log_entry::LogEntry;
pub use plugin::Http;
pub use reply::Reply;
pub use request::Request;
pub use response::Response;
pub use tcp::Tcp;

/// What the macros need; not an interface.
#[doc(hidden)]
pub mod __private {
    #[cfg(not(target_arch = "wasm32"))]
    pub use crate::describe::{
        About, ExportsOf, ExportsOfHttp, ExportsOfOthers, UNUSED_BUT_FOR_HTTP, UNUSED_BY_OBSERVERS, description,
        schemas, unused_by_all,
    };
    pub use crate::dispatch::census;
    pub use crate::plugin::Configured;
    pub use crate::registration::{
        chosen, http, http_and_tcp_plugin, observer, parsed, register, singleton, tcp_plugin,
    };
    #[cfg(all(feature = "json", not(target_arch = "wasm32")))]
    pub use crate::schema::{SchemaOf, WithSchema, WithoutSchema};
    pub use crate::tcp::callbacks as tcp;
}

#[cfg(test)]
use wasmplugin_host as _;

/// The examples of the repository's first page, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct RepositoryReadme;
