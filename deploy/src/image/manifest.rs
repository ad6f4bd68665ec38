//! Manifests and indexes of images, as they stand in a registry or in a layout.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::digest::Digest;

/// The words for what a manifest, a configuration or a layer is.
pub mod media_type {
    /// An OCI manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// An OCI index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// An OCI image configuration.
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// An OCI layer, a tar archive in gzip.
    pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// An OCI layer, a bare tar archive.
    pub const OCI_LAYER_TAR: &str = "application/vnd.oci.image.layer.v1.tar";
    /// Docker's manifest.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's index.
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker's image configuration.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker's layer, a tar archive in gzip.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Solo's configuration of a Wasm filter.
    pub const SOLO_CONFIG: &str = "application/vnd.module.wasm.config.v1+json";
    /// Solo's layer, the module itself.
    pub const SOLO_LAYER: &str = "application/vnd.module.wasm.content.layer.v1+wasm";
    /// CNCF's configuration of a Wasm artifact.
    pub const CNCF_CONFIG: &str = "application/vnd.wasm.config.v0+json";
    /// CNCF's layer, the module or component itself.
    pub const CNCF_LAYER: &str = "application/wasm";
}

/// Names what another blob is, how long, and its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is, one of [`media_type`] where it is known.
    #[serde(default)]
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Notes for readers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What machine it is for, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

impl Descriptor {
    /// Describes these bytes.
    #[must_use]
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
            annotations: BTreeMap::new(),
            platform: None,
        }
    }
}

/// A kind of machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// The processor, such as `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// The operating system, such as `linux`.
    #[serde(default)]
    pub os: String,
    /// Everything else that a publisher writes.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)
    }
}

/// One image: a configuration and layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// What it says of itself; may be missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, from the bottom.
    pub layers: Vec<Descriptor>,
    /// Notes for readers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Several images, one per platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// What it says of itself; may be missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The images.
    pub manifests: Vec<Descriptor>,
    /// Notes for readers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Index {
    /// The image that Istio's agent takes on every machine: the first for linux/amd64, for which one without a platform
    /// counts as well.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn linux_amd64(&self) -> Result<&Descriptor, BadManifest> {
        let fits = |platform: &Platform| platform.os == "linux" && platform.architecture == "amd64";
        let child = self.manifests.iter().find(|child| child.platform.as_ref().is_none_or(fits));
        child.ok_or_else(|| {
            let found =
                self.manifests.iter().filter_map(|child| child.platform.as_ref()).map(|found| format!("`{found}`"));
            BadManifest::NoChild(found.collect::<Vec<_>>().join(", "))
        })
    }
}

/// What stands where a manifest is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// Several images.
    Index(Index),
}

/// Bytes that are no manifest that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadManifest {
    /// Not JSON, or not of the right shape.
    #[error("the manifest cannot be read: {0}; push the image again")]
    Unreadable(String),
    /// The form before 2016.
    #[error("the manifest is of schema {0}, and only schema 2 can be read; push the image again with a current tool")]
    Schema(u64),
    /// Nothing for linux/amd64.
    #[error(
        "no child with platform linux/amd64, which Istio takes on every machine, in an index with {0}; \
         build it with `--platform linux/amd64`, or push with `cargo wasmplugin push`"
    )]
    NoChild(String),
}

impl Document {
    /// Reads the bytes of a manifest or an index.
    ///
    /// # Errors
    ///
    /// If they are neither.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadManifest> {
        let unreadable = |error: serde_json::Error| BadManifest::Unreadable(error.to_string());
        let value: Value = serde_json::from_slice(bytes).map_err(unreadable)?;
        let schema = value.get("schemaVersion").and_then(Value::as_u64);
        if let Some(schema) = schema.filter(|schema| *schema != 2) {
            return Err(BadManifest::Schema(schema));
        }
        let said = value.get("mediaType").and_then(Value::as_str);
        let index = match said {
            Some(said) => said == media_type::OCI_INDEX || said == media_type::DOCKER_INDEX,
            None => value.get("manifests").is_some(),
        };
        if index {
            serde_json::from_value(value).map(Self::Index).map_err(unreadable)
        } else {
            serde_json::from_value(value).map(Self::Manifest).map_err(unreadable)
        }
    }
}

/// A manifest with where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The manifest.
    pub manifest: Manifest,
    /// Its bytes.
    pub bytes: bytes::Bytes,
    /// Its digest: what Istio compares, and what to pin.
    pub digest: Digest,
    /// The digest of the index that it was found in, if it was. To pin this one always ends in a mismatch.
    pub index: Option<Digest>,
}

impl Resolved {
    /// What the manifest is, in its own words or as OCI assumes.
    #[must_use]
    pub fn media_type(&self) -> &str {
        self.manifest.media_type.as_deref().unwrap_or(media_type::OCI_MANIFEST)
    }
}
