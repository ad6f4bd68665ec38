//! What an engine needs to start a proxy: the plugins, the upstream, the clusters, the options.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::cluster::Cluster;
use super::surroundings::Surroundings;
use super::tcp::TcpServer;
use super::{FailPolicy, Faults};
#[cfg(feature = "native")]
use crate::native::Linked;
use crate::prometheus::StatsTag;
use crate::sandbox::Capabilities;

/// The name of the cluster that requests go to.
pub(super) const UPSTREAM: &str = "upstream";

/// What runs the plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Engine {
    /// The test's own process: fastest, and a debugger works.
    Native,
    /// The module, in Wasmtime.
    Wasm,
    /// The module, in a real Envoy.
    Envoy,
}

impl Engine {
    /// The engines that this build can run.
    pub fn all() -> &'static [Self] {
        &[
            #[cfg(feature = "native")]
            Self::Native,
            #[cfg(feature = "wasm")]
            Self::Wasm,
            #[cfg(feature = "envoy")]
            Self::Envoy,
        ]
    }

    /// Such as `native`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Wasm => "wasm",
            Self::Envoy => "envoy",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Everything that an engine needs to start.
#[derive(Debug, Clone)]
pub struct Setup {
    /// What runs the plugins; every plugin has code for it.
    pub engine: Engine,
    /// The chain, in the order in which a request meets it; never empty.
    pub plugins: Vec<PluginSetup>,
    /// The plugins that run once beside the workers, on the proxy's main thread, and meet no request.
    pub singletons: Vec<PluginSetup>,
    /// Where requests go that no plugin answers.
    pub upstream: Cluster,
    /// Where TCP connections go; with it, the proxy is one for TCP and takes no requests.
    pub tcp: Option<TcpServer>,
    /// Where the upstream listens if the test does not play it; engines over sockets only.
    pub upstream_at: Option<SocketAddr>,
    /// What plugins can call; their names differ.
    pub clusters: Vec<Cluster>,
    /// Number of workers; exchanges are spread over them.
    pub workers: usize,
    /// Whether the client speaks HTTP/2 in place of HTTP/1.1.
    pub http2: bool,
    /// How much of a body the proxy buffers; Envoy's own 1 MiB if nothing is said.
    pub buffer_limit: Option<usize>,
    /// Envoy's own HTTP filters before the plugins, in their order; a real Envoy only.
    pub envoy_filters: Vec<Value>,
    /// What becomes a label of the plugins' metrics.
    pub stats_tags: Vec<StatsTag>,
    /// Whether the calls between proxy and plugins are recorded.
    pub trace: bool,
    /// How long (in real time) an engine over sockets waits before it calls an exchange hung.
    pub patience: Duration,
    /// What goes wrong on purpose; engines in memory only.
    pub faults: Option<Faults>,
    /// What properties tell.
    pub surroundings: Surroundings,
}

/// One plugin of the chain.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the names are those of Envoy's plugin configuration")]
pub struct PluginSetup {
    pub name: String,
    pub root_id: String,
    pub vm_id: String,
    pub code: Code,
    pub configuration: Bytes,
    pub vm_configuration: Bytes,
    pub capabilities: Capabilities,
    pub fail: FailPolicy,
    pub allow_on_headers_stop_iteration: bool,
}

/// Where a plugin's code is.
#[derive(Debug, Clone)]
pub enum Code {
    /// In this process: the function registers the plugin.
    #[cfg(feature = "native")]
    Native(Linked),
    /// In a module file.
    Wasm(PathBuf),
}
