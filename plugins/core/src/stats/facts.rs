//! The facts that labels are made of.

use crate::peer::Peer;

/// What stands where nothing is known.
pub const UNKNOWN: &str = "unknown";

/// Whose view is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The client's: a sidecar's outbound listener, a gateway.
    Source,
    /// The server's: a sidecar's inbound listener.
    Destination,
    /// A waypoint's, which is neither.
    Waypoint,
}

impl Role {
    /// The label `reporter`.
    #[must_use]
    pub const fn reporter(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Waypoint => "waypoint",
        }
    }
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP that is not gRPC.
    Http,
    /// gRPC.
    Grpc,
    /// Anything else.
    Tcp,
}

impl Protocol {
    /// The label `request_protocol`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
        }
    }

    /// What a request with this `content-type` speaks, by Envoy's own test.
    #[must_use]
    pub fn of_content_type(content_type: &[u8]) -> Self {
        match content_type.strip_prefix(b"application/grpc") {
            Some([] | [b'+', ..]) => Self::Grpc,
            _ => Self::Http,
        }
    }
}

/// The workload behind this proxy, as its bootstrap tells it; what it does not say is empty, and so are the labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Local {
    /// `WORKLOAD_NAME`.
    pub workload: String,
    /// `NAMESPACE`.
    pub namespace: String,
    /// `CLUSTER_ID`.
    pub cluster: String,
    /// The label `app`.
    pub app: String,
    /// The label `version`.
    pub version: String,
    /// The label `service.istio.io/canonical-name`.
    pub canonical_service: String,
    /// The label `service.istio.io/canonical-revision`.
    pub canonical_revision: String,
}

/// The first URI in the certificates of a connection's two ends; empty where there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Principals<'a> {
    /// This proxy's.
    pub local: &'a str,
    /// The other end's.
    pub peer: &'a str,
}

impl Principals<'_> {
    /// Whether both ends have shown who they are.
    #[must_use]
    pub const fn mutual(&self) -> bool {
        !self.local.is_empty() && !self.peer.is_empty()
    }
}

/// The service that a cluster's metadata names; empty where it does not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Service<'a> {
    /// Its host.
    pub host: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
}

/// One stream.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// Whose view it is.
    pub role: Role,
    /// What is spoken.
    pub protocol: Protocol,
    /// The workload behind this proxy.
    pub local: &'a Local,
    /// Who has sent the request; not looked at by a client.
    pub downstream_peer: Option<Peer>,
    /// Who has got it; not looked at by a server.
    pub upstream_peer: Option<Peer>,
    /// Of the connection to the client.
    pub downstream: Principals<'a>,
    /// Of the connection to the server.
    pub upstream: Principals<'a>,
    /// The route's name.
    pub route: &'a str,
    /// The cluster's name.
    pub cluster: &'a str,
    /// The cluster's service.
    pub service: Service<'a>,
    /// The host that the client has asked for; empty where it must not be shown.
    pub host: &'a str,
    /// The status; 0 where there was no response.
    pub code: u64,
    /// The bits of Envoy's response flags.
    pub flags: u64,
    /// The status of gRPC.
    pub grpc_status: Option<u64>,
    /// Whether a client says if its connection is mutual TLS.
    pub client_security_policy: bool,
}

/// The namespace in a SPIFFE identity.
#[must_use]
pub fn namespace(principal: &str) -> Option<&str> {
    let (_, rest) = principal.split_once("/ns/")?;
    let namespace = rest.split('/').next().unwrap_or_default();
    (!namespace.is_empty()).then_some(namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_told_by_its_content_type() {
        for (content_type, protocol) in [
            ("application/grpc", Protocol::Grpc),
            ("application/grpc+json", Protocol::Grpc),
            ("application/grpc-web", Protocol::Http),
            ("application/grpcx", Protocol::Http),
            ("text/plain", Protocol::Http),
            ("", Protocol::Http),
        ] {
            assert_eq!(Protocol::of_content_type(content_type.as_bytes()), protocol, "{content_type}");
        }
    }

    #[test]
    fn identities_name_their_namespace() {
        assert_eq!(namespace("spiffe://cluster.local/ns/default/sa/client"), Some("default"));
        assert_eq!(namespace("spiffe://td/ns/a"), Some("a"));
        for none in ["", "spiffe://td/sa/x", "spiffe://td/ns/", "spiffe://td/ns//sa/x"] {
            assert_eq!(namespace(none), None, "{none}");
        }
    }
}
