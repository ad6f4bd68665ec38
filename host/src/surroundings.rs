//! What the proxy's configuration says around an exchange: its listener, its route, the cluster and the host behind it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::connection::Tls;
use crate::headers::HeaderMap;

/// The fields of a `google.protobuf.Struct`.
pub type Struct = serde_json::Map<String, serde_json::Value>;

/// Metadata as Envoy's configuration has it: a `Struct` per namespace, which is `filter_metadata` of the message.
pub type Metadata = Struct;

/// The proxy's own identity, as `xds.node` tells it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Node {
    /// The node's id.
    pub id: String,
    /// The cluster that the node is part of.
    pub cluster: String,
    /// The node's metadata.
    pub metadata: Struct,
    /// Where the node runs.
    pub locality: Locality,
}

/// A place in the world, as coarse or fine as its three names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Locality {
    /// The region.
    pub region: String,
    /// The zone in the region.
    pub zone: String,
    /// The part of the zone.
    pub sub_zone: String,
}

/// What is known of the listener that the exchange came in through.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Listener {
    /// Its name, for recordings; plugins do not learn it, as in Envoy.
    pub name: Arc<str>,
    /// Whether its traffic comes to the workload or leaves it.
    pub direction: TrafficDirection,
    /// Its metadata.
    pub metadata: Metadata,
    /// The name of its filter chain.
    pub filter_chain: String,
}

/// Where a listener's traffic goes, in the numbers of `xds.listener_direction`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TrafficDirection {
    /// Nothing is said.
    #[default]
    Unspecified = 0,
    /// To the workload beside the proxy.
    Inbound = 1,
    /// From the workload to others.
    Outbound = 2,
}

/// A group of routes that share their domains.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VirtualHost {
    /// Its name.
    pub name: String,
    /// Its metadata.
    pub metadata: Metadata,
}

/// What a route says about the requests that match it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Route {
    /// Its name; mostly empty.
    pub name: String,
    /// Its metadata.
    pub metadata: Metadata,
    /// The cluster that the requests go to; none where the proxy answers itself.
    pub cluster: Option<Arc<Cluster>>,
}

/// What is known of a cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Its metadata.
    pub metadata: Metadata,
    /// How many endpoints it has.
    pub endpoints: u64,
}

/// The host that a request is sent to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UpstreamHost {
    /// Its address.
    pub address: Option<SocketAddr>,
    /// The proxy's own end of the connection.
    pub local_address: Option<SocketAddr>,
    /// Its metadata.
    pub metadata: Metadata,
    /// Where it is.
    pub locality: Locality,
    /// The metadata of its locality.
    pub locality_metadata: Metadata,
    /// What the TLS handshake told, if there was one.
    pub tls: Option<Tls>,
}

/// What a look into the route table brings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Routing {
    /// The virtual host whose domains match.
    pub virtual_host: Option<Arc<VirtualHost>>,
    /// The route that matches.
    pub route: Option<Arc<Route>>,
}

/// The route table, as a function of the request's headers.
#[derive(Clone)]
pub(crate) struct Router(Arc<Look>);

type Look = dyn Fn(&HeaderMap) -> Routing + Send + Sync;

impl Router {
    pub(crate) fn new(look: impl Fn(&HeaderMap) -> Routing + Send + Sync + 'static) -> Self {
        Self(Arc::new(look))
    }

    pub(crate) fn look(&self, headers: &HeaderMap) -> Routing {
        (self.0)(headers)
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Router")
    }
}
