//! Where in Istio's chains of filters plugins stand.

use crate::resource::Phase;

/// A place in a chain, for the filters that Istio puts there and for plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    /// Exchange of peer metadata.
    PeerMetadata,
    /// External authorization: policies with `action: CUSTOM`.
    ExternalAuthorization,
    /// Plugins of that phase.
    Plugins(Phase),
    /// Authentication: JWT.
    Authentication,
    /// Authorization: RBAC.
    Authorization,
    /// Everything of Istio's own that neither authenticates nor counts: inference, gRPC, ALPN, faults, CORS.
    Traffic,
    /// The upstream's peer metadata.
    UpstreamPeerMetadata,
    /// Istio's metrics.
    Telemetry,
    /// The router, or the TCP proxy.
    Terminal,
}

/// The chain for requests of sidecars and gateways. Responses run the other way.
pub const HTTP: [Slot; 11] = [
    Slot::PeerMetadata,
    Slot::ExternalAuthorization,
    Slot::Plugins(Phase::Authn),
    Slot::Authentication,
    Slot::Plugins(Phase::Authz),
    Slot::Authorization,
    Slot::Plugins(Phase::Stats),
    Slot::Plugins(Phase::Unspecified),
    Slot::Traffic,
    Slot::Telemetry,
    Slot::Terminal,
];

/// The chain for requests of waypoints.
pub const WAYPOINT: [Slot; 11] = [
    Slot::ExternalAuthorization,
    Slot::Plugins(Phase::Authn),
    Slot::Authentication,
    Slot::Plugins(Phase::Authz),
    Slot::Authorization,
    Slot::Traffic,
    Slot::Plugins(Phase::Stats),
    Slot::Plugins(Phase::Unspecified),
    Slot::UpstreamPeerMetadata,
    Slot::Telemetry,
    Slot::Terminal,
];

/// The chain for connections. In front of an HTTP connection manager, the plugins of all phases stand right before it.
pub const TCP: [Slot; 9] = [
    Slot::PeerMetadata,
    Slot::ExternalAuthorization,
    Slot::Plugins(Phase::Authn),
    Slot::Plugins(Phase::Authz),
    Slot::Authorization,
    Slot::Plugins(Phase::Stats),
    Slot::Plugins(Phase::Unspecified),
    Slot::Telemetry,
    Slot::Terminal,
];
