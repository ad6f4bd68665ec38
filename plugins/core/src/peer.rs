//! Peers: what a proxy tells others of the workload behind it, and what it learns of theirs.
//!
//! ```
//! # use std::collections::BTreeSet;
//! use istio_core::peer::{Metadata, Peer};
//!
//! let mut node = Metadata::default();
//! node.set("WORKLOAD_NAME", "ratings-v1");
//! node.labels.insert("app".to_owned(), "ratings".to_owned());
//! node.labels.insert("role".to_owned(), "server".to_owned());
//!
//! let labels = BTreeSet::from(["role".to_owned()]);
//! let sent = Peer::new(&node, &labels).to_header();
//! let peer = Peer::from_header(sent.as_bytes(), &labels).expect("metadata");
//! assert_eq!((peer.workload.as_str(), peer.app.as_str()), ("ratings-v1", "ratings"));
//! assert_eq!(peer.labels["role"], "server");
//! assert_eq!(Peer::from_state(&peer.to_state()), Some(peer));
//! ```
//!
//! Keys, encodings and rules are those of Istio's native `peer_metadata` filter, byte by byte. What it reads is stricter:
//! too long or malformed metadata is no peer, where Envoy takes it for a peer of which nothing is known.

mod cache;
mod endpoint;
pub mod exchange;
pub mod header;
mod kind;
mod metadata;
pub mod preface;
mod protobuf;
mod state;
mod structure;

use std::collections::{BTreeMap, BTreeSet};

pub use self::cache::Peers;
pub use self::kind::WorkloadKind;
pub use self::metadata::Metadata;
pub use self::structure::{Struct, Value};

#[cfg(test)]
mod tests;

/// The label with the name of the service that a workload is, whatever services select it.
pub const CANONICAL_NAME: &str = "service.istio.io/canonical-name";

/// The label with the revision of that service.
pub const CANONICAL_REVISION: &str = "service.istio.io/canonical-revision";

const APP: &str = "app";
const VERSION: &str = "version";
const QUALIFIED_APP: &str = "app.kubernetes.io/name";
const QUALIFIED_VERSION: &str = "app.kubernetes.io/version";

/// A workload as its peers know it; what is not known is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Of the pod.
    pub name: String,
    /// Of the pod.
    pub namespace: String,
    /// The deployment, job or the like.
    pub workload: String,
    /// What the workload is.
    pub kind: Option<WorkloadKind>,
    /// The cluster's id.
    pub cluster: String,
    /// The SPIFFE URI that the peer claims; what its certificate says counts more.
    pub identity: String,
    /// The label `service.istio.io/canonical-name`.
    pub canonical_service: String,
    /// The label `service.istio.io/canonical-revision`.
    pub canonical_revision: String,
    /// The label `app.kubernetes.io/name`, else `app`.
    pub app: String,
    /// The label `app.kubernetes.io/version`, else `version`.
    pub version: String,
    /// Where it runs.
    pub region: String,
    /// Where in the region it runs.
    pub availability_zone: String,
    /// Further labels that the configuration asks for.
    pub labels: BTreeMap<String, String>,
}

impl Peer {
    /// The workload that the metadata tells of; of its other labels those named in `additional_labels` are kept.
    #[must_use]
    pub fn new(metadata: &Metadata, additional_labels: &BTreeSet<String>) -> Self {
        let label = |name: &str| metadata.labels.get(name).filter(|value| !value.is_empty());
        let first = |names: [&str; 2]| names.into_iter().find_map(label).cloned().unwrap_or_default();
        let known = [CANONICAL_NAME, CANONICAL_REVISION, APP, VERSION, QUALIFIED_APP, QUALIFIED_VERSION];
        let more = metadata.labels.iter().filter(|(name, _)| {
            let name = name.as_str();
            additional_labels.contains(name) && !known.contains(&name)
        });
        Self {
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            workload: metadata.workload_name.clone(),
            kind: WorkloadKind::of_owner(&metadata.owner, &metadata.workload_name),
            cluster: metadata.cluster_id.clone(),
            identity: metadata.identity.clone(),
            canonical_service: label(CANONICAL_NAME).cloned().unwrap_or_default(),
            canonical_revision: label(CANONICAL_REVISION).cloned().unwrap_or_default(),
            app: first([QUALIFIED_APP, APP]),
            version: first([QUALIFIED_VERSION, VERSION]),
            region: metadata.region.clone(),
            availability_zone: metadata.availability_zone.clone(),
            labels: more.map(|(name, value)| (name.clone(), value.clone())).collect(),
        }
    }

    /// What is told to others: the owner only for the kinds that have a name, `app` and `version` under their short names.
    #[must_use]
    pub fn metadata(&self) -> Metadata {
        let mut labels = self.labels.clone();
        let known = [
            (CANONICAL_NAME, &self.canonical_service),
            (CANONICAL_REVISION, &self.canonical_revision),
            (APP, &self.app),
            (VERSION, &self.version),
        ];
        let told = known.into_iter().filter(|(_, value)| !value.is_empty());
        labels.extend(told.map(|(name, value)| (name.to_owned(), value.clone())));
        Metadata {
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            workload_name: self.workload.clone(),
            cluster_id: self.cluster.clone(),
            owner: self.kind.map(|kind| kind.owner(&self.namespace, &self.workload)).unwrap_or_default(),
            identity: self.identity.clone(),
            region: self.region.clone(),
            availability_zone: self.availability_zone.clone(),
            labels,
        }
    }
}
