//! What Istio's control plane says of an endpoint's workload, for peers that do not speak for themselves.

use super::Peer;

impl Peer {
    /// Reads `workload;namespace;canonical-name;canonical-revision;cluster-id`, which stands in an endpoint's metadata
    /// `istio` under `workload`; `None` where parts are missing. Further parts are passed over.
    #[must_use]
    pub fn from_endpoint(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::to_owned);
        Some(Self {
            workload: parts.next()?,
            namespace: parts.next()?,
            canonical_service: parts.next()?,
            canonical_revision: parts.next()?,
            cluster: parts.next()?,
            ..Self::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_has_five_parts() {
        let peer = Peer::from_endpoint("ratings-v1;default;ratings;version-1;server-cluster").unwrap();
        let parts =
            [peer.workload, peer.namespace, peer.canonical_service, peer.canonical_revision, peer.cluster].join(" ");
        assert_eq!(parts, "ratings-v1 default ratings version-1 server-cluster");
        assert!(Peer::from_endpoint("a;b;c;d").is_none());
        assert_eq!(Peer::from_endpoint("a;b;c;;e;f").map(|peer| peer.cluster).as_deref(), Some("e"));
    }
}
