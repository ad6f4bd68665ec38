//! What a test says about the proxy around its plugin: who the client is, which routes there are, what metadata.

use std::net::SocketAddr;

use serde_json::Value;

use crate::surroundings::{Listener, Metadata, Node, Struct};
use crate::worker::Tls;

/// What plugins can learn about the proxy and the exchange through properties, beyond the messages themselves.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The proxy's identity.
    pub node: Node,
    /// The listener.
    pub listener: Listener,
    /// The client's address; unless said, a port of the loopback.
    pub client: Option<SocketAddr>,
    /// What the handshake with the client told.
    pub tls: Option<Tls>,
    /// What the handshake with the upstream told.
    pub upstream_tls: Option<Tls>,
    /// The routes before the one to the upstream, which takes whatever is left.
    pub routes: Vec<Route>,
    /// The name of that route to the upstream.
    pub route_name: String,
    /// The metadata of clusters.
    pub clusters: Vec<(String, Metadata)>,
    /// The metadata of the clusters' one host.
    pub hosts: Vec<(String, Metadata)>,
    /// The dynamic metadata that a filter before the plugins has set.
    pub dynamic_metadata: Metadata,
    /// The filter state that a filter before the plugins has set.
    pub filter_state: Vec<(String, String)>,
}

/// A route: which requests, and where they go.
#[derive(Debug, Clone)]
#[must_use = "a route has an effect only in `Builder::route`"]
pub struct Route {
    pub(crate) name: String,
    pub(crate) cluster: String,
    pub(crate) prefix: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) metadata: Metadata,
}

impl Route {
    /// Sends every request to that cluster; the other methods narrow it down.
    pub fn to(cluster: impl Into<String>) -> Self {
        Self {
            name: String::new(),
            cluster: cluster.into(),
            prefix: "/".to_owned(),
            headers: Vec::new(),
            metadata: Metadata::new(),
        }
    }

    /// The route's name, as `xds.route_name` tells it.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Only requests whose path begins so.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Only requests whose header has exactly this value.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into().to_ascii_lowercase(), value.into()));
        self
    }

    /// The route's metadata: an object per namespace.
    pub fn metadata(mut self, metadata: impl Into<Value>) -> Self {
        self.metadata = fields(metadata.into());
        self
    }
}

impl Default for Surroundings {
    fn default() -> Self {
        let name = "wasmplugin".to_owned();
        Self {
            node: Node { id: name.clone(), cluster: name, ..Node::default() },
            listener: Listener::default(),
            client: None,
            tls: None,
            upstream_tls: None,
            routes: Vec::new(),
            route_name: "default".to_owned(),
            clusters: Vec::new(),
            hosts: Vec::new(),
            dynamic_metadata: Metadata::new(),
            filter_state: Vec::new(),
        }
    }
}

#[cfg(any(feature = "native", feature = "wasm", feature = "envoy"))]
impl Surroundings {
    /// The route that takes what is left.
    pub(crate) fn rest(&self, upstream: &str) -> Route {
        Route::to(upstream).name(&self.route_name)
    }

    pub(crate) fn cluster_metadata(&self, name: &str) -> Metadata {
        find(&self.clusters, name)
    }

    pub(crate) fn host_metadata(&self, name: &str) -> Metadata {
        find(&self.hosts, name)
    }
}

#[cfg(any(feature = "native", feature = "wasm", feature = "envoy"))]
fn find(list: &[(String, Metadata)], name: &str) -> Metadata {
    list.iter().find(|(known, _)| known == name).map(|(_, metadata)| metadata.clone()).unwrap_or_default()
}

/// The fields of an object; none of anything else.
pub(super) fn fields(value: Value) -> Struct {
    match value {
        Value::Object(fields) => fields,
        _ => Struct::new(),
    }
}

/// Builder methods of the facade, in a block of their own to be read together.
macro_rules! surroundings_methods {
    () => {
        /// The proxy's own identity, as `xds.node` tells it.
        pub fn node(mut self, node: Node) -> Self {
            self.surroundings.node = node;
            self
        }

        /// Whether the listener's traffic comes to the workload or leaves it.
        pub fn direction(mut self, direction: TrafficDirection) -> Self {
            self.surroundings.listener.direction = direction;
            self
        }

        /// The listener's metadata: an object per namespace.
        pub fn listener_metadata(mut self, metadata: impl Into<serde_json::Value>) -> Self {
            self.surroundings.listener.metadata = fields(metadata.into());
            self
        }

        /// The client's address; a real Envoy is told through the PROXY protocol.
        pub fn client(mut self, address: SocketAddr) -> Self {
            self.surroundings.client = Some(address);
            self
        }

        /// What the TLS handshake with the client told. In front of a real Envoy the test then speaks TLS, with
        /// certificates that have these names; version and digest cannot be chosen there, and subjects are `CN=..`.
        pub fn tls(mut self, tls: Tls) -> Self {
            self.surroundings.tls = Some(tls);
            self
        }

        /// What the TLS handshake with the upstream told, which is the peer. A real Envoy then speaks TLS with it, checks its
        /// first URI name, and needs one that does so too: a second Envoy with [`tls`](Self::tls), whose authority is the
        /// same.
        pub fn upstream_tls(mut self, tls: Tls) -> Self {
            self.surroundings.upstream_tls = Some(tls);
            self
        }

        /// A route to one of the clusters; requests that match no route go to the upstream.
        pub fn route(mut self, route: Route) -> Self {
            self.surroundings.routes.push(route);
            self
        }

        /// The name of the route to the upstream, which plugins know as `xds.route_name`; unless said, `default`.
        pub fn route_name(mut self, name: impl Into<String>) -> Self {
            self.surroundings.route_name = name.into();
            self
        }

        /// The metadata of a cluster: an object per namespace.
        pub fn cluster_metadata(mut self, cluster: impl Into<String>, metadata: impl Into<serde_json::Value>) -> Self {
            self.surroundings.clusters.push((cluster.into(), fields(metadata.into())));
            self
        }

        /// The metadata of the host of a cluster: an object per namespace.
        pub fn host_metadata(mut self, cluster: impl Into<String>, metadata: impl Into<serde_json::Value>) -> Self {
            self.surroundings.hosts.push((cluster.into(), fields(metadata.into())));
            self
        }

        /// Dynamic metadata that a filter before the plugins sets: an object per namespace.
        pub fn dynamic_metadata(mut self, metadata: impl Into<serde_json::Value>) -> Self {
            self.surroundings.dynamic_metadata = fields(metadata.into());
            self
        }

        /// A text in filter state that a filter before the plugins sets.
        pub fn filter_state(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
            self.surroundings.filter_state.push((name.into(), value.into()));
            self
        }
    };
}
pub(super) use surroundings_methods;
