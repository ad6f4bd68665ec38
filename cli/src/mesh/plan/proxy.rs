//! A proxy as it is planned: whoever starts one reads this.

use std::net::SocketAddr;

use serde_json::{Map, Value};
use wasmplugin_proxy::Identity;

use crate::mesh::description::Normalization;
use crate::mesh::plugin_config::Plugin;

/// One proxy.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    /// Its workload, `name.namespace`.
    pub(crate) workload: String,
    /// Who it is in the mesh.
    pub(crate) identity: Identity,
    /// What plugins read as `xds.node`.
    pub(crate) node: Node,
    /// Where its admin port listens.
    pub(crate) admin: SocketAddr,
    /// Its threads.
    pub(crate) workers: usize,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) clusters: Vec<Cluster>,
    pub(crate) singletons: Vec<Plugin>,
    /// What becomes a label of a plugin's metric, besides what modules ask for: name and expression.
    pub(crate) stats_tags: Vec<(String, String)>,
}

impl Proxy {
    /// All plugins of all listeners.
    pub(crate) fn plugins(&self) -> impl Iterator<Item = &Plugin> {
        self.listeners.iter().flat_map(|listener| &listener.plugins).chain(&self.singletons)
    }

    /// Where clients reach a side of it on that port.
    pub(crate) fn address(&self, side: Side, port: u16) -> Option<SocketAddr> {
        self.listeners.iter().find(|listener| listener.side == side && listener.port == port).map(|found| found.address)
    }
}

/// A proxy's identity as plugins read it.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) cluster: String,
    pub(crate) metadata: Map<String, Value>,
}

/// A place where clients come in.
#[derive(Debug, Clone)]
pub(crate) struct Listener {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) stat_prefix: String,
    pub(crate) side: Side,
    /// The port that resources speak of.
    pub(crate) port: u16,
    pub(crate) tls: Tls,
    pub(crate) path_normalization: Normalization,
    pub(crate) serves: Serves,
    /// In the order in which a request meets them.
    pub(crate) plugins: Vec<Plugin>,
}

/// Which way a listener's traffic goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Inbound,
    Outbound,
    Gateway,
}

/// What a listener's clients have to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tls {
    Plain,
    /// Mutual TLS of the mesh.
    Mutual,
    /// Mutual TLS, or none.
    Permissive,
}

/// What is behind a chain.
#[derive(Debug, Clone)]
pub(crate) enum Serves {
    Http(Vec<VirtualHost>),
    Tcp(String),
}

/// Hosts that share a cluster.
#[derive(Debug, Clone)]
pub(crate) struct VirtualHost {
    pub(crate) name: String,
    pub(crate) domains: Vec<String>,
    pub(crate) route: String,
    pub(crate) cluster: String,
}

/// Servers behind one name.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    pub(crate) name: String,
    pub(crate) endpoints: Vec<SocketAddr>,
    pub(crate) http2: bool,
    /// The name that is asked for in TLS, and the identities that are believed; plain without.
    pub(crate) tls: Option<(String, Vec<String>)>,
    pub(crate) metadata: Map<String, Value>,
    pub(crate) host_metadata: Map<String, Value>,
}
