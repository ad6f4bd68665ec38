//! What the index says: one small file per module, and one per URL that a module was asked for under.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::image::digest::Digest;

/// A module in the cache. The file's time of modification is the time of its last use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleRecord {
    /// Where it is from: a URL, or for images `oci://` and the repository.
    pub name: String,
    /// Its version there: the digest of the image's manifest, or of the module itself.
    pub checksum: Digest,
    /// The digest of its bytes.
    pub content: Digest,
    /// The length of its bytes.
    pub size: u64,
}

/// What a URL stood for when it was last asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UrlRecord {
    /// The URL.
    pub url: String,
    /// The module's name.
    pub name: String,
    /// The module's checksum.
    pub checksum: Digest,
    /// The version of each resource that asked.
    pub versions: BTreeMap<String, String>,
}

impl UrlRecord {
    /// Resources that are remembered per URL.
    const MOST: usize = 1024;

    /// Remembers a resource's version; says whether that is news.
    pub(super) fn note(&mut self, resource: &str, version: &str) -> bool {
        if self.versions.get(resource).is_some_and(|known| known == version) {
            return false;
        }
        if self.versions.len() >= Self::MOST {
            // Forgetting one means no more than that it is fetched again.
            self.versions.pop_first();
        }
        self.versions.insert(resource.to_owned(), version.to_owned());
        true
    }
}
