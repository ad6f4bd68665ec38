//! A cluster with one server, which never gives up for being asked too much.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::message::{address, limit, metadata, typed};
use crate::test::Surroundings;

/// No cluster gives up because of too many of anything: a test may open thousands of exchanges at once.
const PLENTY: u32 = 1_000_000;

/// Connections per cluster and worker; further requests wait for a free one, so that a test with thousands of
/// exchanges does not run out of file descriptors.
const CONNECTIONS: u32 = 256;

/// A cluster with one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// What routes and plugins call it.
    pub name: String,
    /// Where its server listens.
    pub address: SocketAddr,
    /// Whether its server speaks HTTP/2, as gRPC needs it.
    pub http2: bool,
}

impl Cluster {
    pub(super) fn render(&self, buffer_limit: Option<usize>, surroundings: &Surroundings) -> Value {
        let protocol = if self.http2 {
            // Our servers keep no table of headers, and Envoy would use one before it knows.
            json!({"http2_protocol_options": {"hpack_table_size": 0}})
        } else {
            json!({"http_protocol_options": {"enable_trailers": true}})
        };
        let host = metadata(&surroundings.host_metadata(&self.name));
        let mut cluster = json!({
            "name": self.name,
            "metadata": metadata(&surroundings.cluster_metadata(&self.name)),
            "type": "STATIC",
            "load_assignment": {
                "cluster_name": self.name,
                "endpoints": [{"lb_endpoints": [{"metadata": host, "endpoint": {"address": address(self.address)}}]}],
            },
            "circuit_breakers": {"thresholds": [{
                "max_connections": CONNECTIONS,
                "max_pending_requests": PLENTY,
                "max_requests": PLENTY,
                "max_retries": PLENTY,
            }]},
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    json!({"explicit_http_config": protocol}),
                ),
            },
        });
        limit(&mut cluster, buffer_limit);
        cluster
    }
}
