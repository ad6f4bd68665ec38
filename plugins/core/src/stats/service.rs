//! Which service a request was for.

use super::facts::{Facts, Protocol, Role, UNKNOWN};

/// A destination as the labels name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Destination<'a> {
    pub(super) host: &'a str,
    pub(super) name: &'a str,
}

/// Clusters for what the mesh does not know.
const UNKNOWN_CLUSTERS: [&str; 5] = [
    "BlackHoleCluster",
    "PassthroughCluster",
    "InboundPassthroughCluster",
    "InboundPassthroughClusterIpv4",
    "InboundPassthroughClusterIpv6",
];

/// The service: by its route or cluster where these are Istio's for unknown destinations, by the cluster's metadata,
/// by the host that was asked for, or not at all.
pub(super) fn destination<'a>(facts: &'a Facts<'_>) -> Destination<'a> {
    let host = asked_host(facts);
    let service = &facts.service;
    match facts.route {
        "block_all" => return Destination { host, name: "BlackHoleCluster" },
        "allow_any" => return Destination { host, name: "PassthroughCluster" },
        _ => {}
    }
    if UNKNOWN_CLUSTERS.contains(&facts.cluster) {
        return Destination { host, name: facts.cluster };
    }
    let known_host = if service.host.is_empty() { host } else { service.host };
    if !service.name.is_empty() {
        return Destination { host: known_host, name: service.name };
    }
    if service.host.is_empty() {
        return Destination { host, name: host };
    }
    Destination { host: service.host, name: service.host.split('.').next().unwrap_or_default() }
}

/// The host of a service that nothing else tells.
fn asked_host<'a>(facts: &'a Facts<'_>) -> &'a str {
    let own = &facts.local.canonical_service;
    if facts.protocol != Protocol::Tcp && !facts.host.is_empty() {
        facts.host
    } else if facts.role == Role::Destination && !own.is_empty() {
        own
    } else {
        UNKNOWN
    }
}
