//! The two headers in which HTTP proxies tell each other who they are.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::Peer;
use super::metadata::Metadata;
use super::structure::Struct;

/// The header with the id of the proxy's node, as it is.
pub const ID: &str = "x-envoy-peer-metadata-id";

/// The header with the metadata of the proxy's node: a `google.protobuf.Struct` in base 64.
pub const METADATA: &str = "x-envoy-peer-metadata";

/// How long an id may be; Istio's are `sidecar~10.0.0.1~pod.namespace~namespace.svc.cluster.local`.
pub const MAX_ID_BYTES: usize = 1024;

/// How long the metadata may be in base 64. Istio's own have about 500 bytes, those of old proxies about 1000;
/// Envoy itself sets no limit but that of all headers together.
pub const MAX_METADATA_BYTES: usize = 16 * 1024;

impl Peer {
    /// The header's value.
    #[must_use]
    pub fn to_header(&self) -> String {
        STANDARD.encode(self.metadata().write().encode())
    }

    /// Reads a header's value; `None` where it is too long or no metadata, so that garbage is no peer.
    ///
    /// Padding may be missing, as in Envoy, but bits that belong to no byte must be zero. (For Envoy's filters garbage is
    /// a peer of which nothing is known.) Of the labels that mean nothing by themselves those named in
    /// `additional_labels` are kept.
    #[must_use]
    pub fn from_header(value: &[u8], additional_labels: &BTreeSet<String>) -> Option<Self> {
        if value.len() > MAX_METADATA_BYTES {
            return None;
        }
        let unpadded = [&b"=="[..], b"="].into_iter().find_map(|padding| value.strip_suffix(padding)).unwrap_or(value);
        let message = STANDARD_NO_PAD.decode(unpadded).ok().filter(|message| !message.is_empty())?;
        let metadata = Metadata::read(&Struct::decode(&message)?);
        Some(Self::new(&metadata, additional_labels))
    }
}
