//! Images made from modules: the same module always becomes the same bytes.

use std::collections::BTreeMap;
use std::io::{self, Write};

use bytes::Bytes;
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};

use super::digest::Digest;
use super::manifest::{Descriptor, Manifest, media_type};

/// The form of the image to make.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// OCI's, which Istio, Envoy Gateway and Higress accept.
    #[default]
    Oci,
    /// Docker's, for registries that know no other.
    Docker,
    /// Solo's two layers.
    Solo,
    /// CNCF's Wasm artifact, which Istio, Envoy Gateway and Higress refuse.
    Cncf,
}

/// What goes into an image.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// The module, word for word.
    pub module: Bytes,
    /// Further files, by name, such as a schema or an SBOM. Forms without an archive leave them out.
    pub files: BTreeMap<String, Bytes>,
    /// The root ids that the module registers, where they are known.
    pub root_ids: Vec<String>,
    /// The ABI that the module speaks, such as `0.2.1`.
    pub abi: Option<String>,
    /// Notes for readers, such as `org.opencontainers.image.version`.
    pub annotations: BTreeMap<String, String>,
}

/// A finished image: a manifest and the blobs that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The manifest's bytes.
    pub manifest: Bytes,
    /// What the manifest is.
    pub media_type: String,
    /// Configuration and layers, in the order of the manifest.
    pub blobs: Vec<(Descriptor, Bytes)>,
}

impl Image {
    /// The digest of the manifest: what Istio compares, and what to pin.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// An image of a configuration and layers.
    pub(crate) fn assemble(
        media: &str,
        config: (Descriptor, Bytes),
        layers: Vec<(Descriptor, Bytes)>,
        annotations: BTreeMap<String, String>,
    ) -> Result<Self, serde_json::Error> {
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media.to_owned()),
            config: config.0.clone(),
            layers: layers.iter().map(|(descriptor, _)| descriptor.clone()).collect(),
            annotations,
        };
        Ok(Self {
            manifest: serde_json::to_vec(&manifest)?.into(),
            media_type: media.to_owned(),
            blobs: std::iter::once(config).chain(layers).collect(),
        })
    }
}

/// Makes an image. Nothing of the machine, the time or the builder goes into it.
///
/// # Errors
///
/// If a file's name does not fit into a tar archive.
pub fn build(contents: &Contents, format: Format) -> io::Result<Image> {
    match format {
        Format::Oci => archive(contents, media_type::OCI_MANIFEST, media_type::OCI_CONFIG, media_type::OCI_LAYER),
        Format::Docker => {
            archive(contents, media_type::DOCKER_MANIFEST, media_type::DOCKER_CONFIG, media_type::DOCKER_LAYER)
        }
        Format::Solo => solo(contents),
        Format::Cncf => cncf(contents),
    }
}

fn archive(contents: &Contents, manifest: &str, config: &str, layer: &str) -> io::Result<Image> {
    let tar = tar(contents)?;
    let image_config = json!({
        "architecture": "amd64",
        "config": {},
        "history": [{ "created_by": "cargo wasmplugin push" }],
        "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(&tar).to_string()] },
    });
    let mut annotations = contents.annotations.clone();
    annotations.insert("module.wasm.image/variant".to_owned(), "compat".to_owned());
    describe(contents, &mut annotations);
    let layers = vec![blob(layer, gzip(&tar)?.into())];
    Ok(Image::assemble(manifest, blob(config, image_config.to_string().into()), layers, annotations)?)
}

fn solo(contents: &Contents) -> io::Result<Image> {
    let config: Bytes = runtime_config(contents).to_string().into();
    let mut annotations = contents.annotations.clone();
    describe(contents, &mut annotations);
    let layers = vec![
        titled(blob(media_type::SOLO_CONFIG, config.clone()), "runtime-config.json"),
        titled(blob(media_type::SOLO_LAYER, contents.module.clone()), "plugin.wasm"),
    ];
    Ok(Image::assemble(media_type::OCI_MANIFEST, blob(media_type::SOLO_CONFIG, config), layers, annotations)?)
}

fn cncf(contents: &Contents) -> io::Result<Image> {
    let layer = blob(media_type::CNCF_LAYER, contents.module.clone());
    let config = json!({
        "architecture": "wasm",
        "created": "1970-01-01T00:00:00Z",
        "layerDigests": [layer.0.digest.to_string()],
        "os": "wasip1",
    });
    let config = blob(media_type::CNCF_CONFIG, config.to_string().into());
    let mut annotations = contents.annotations.clone();
    describe(contents, &mut annotations);
    Ok(Image::assemble(media_type::OCI_MANIFEST, config, vec![layer], annotations)?)
}

fn blob(media: &str, bytes: Bytes) -> (Descriptor, Bytes) {
    (Descriptor::of(media, &bytes), bytes)
}

fn titled((mut descriptor, bytes): (Descriptor, Bytes), title: &str) -> (Descriptor, Bytes) {
    descriptor.annotations.insert("org.opencontainers.image.title".to_owned(), title.to_owned());
    (descriptor, bytes)
}

/// The annotations of the Wasm image specification.
fn describe(contents: &Contents, annotations: &mut BTreeMap<String, String>) {
    annotations.insert("module.wasm.runtime/type".to_owned(), "envoy_proxy".to_owned());
    if let Some(abi) = &contents.abi {
        annotations.insert("module.wasm.runtime/abi_version".to_owned(), abi.clone());
    }
    if !contents.root_ids.is_empty() {
        annotations.insert("module.wasm.runtime/root_ids".to_owned(), contents.root_ids.join(","));
    }
}

fn runtime_config(contents: &Contents) -> Value {
    json!({
        "abiVersions": contents.abi.iter().collect::<Vec<_>>(),
        "config": { "rootIds": contents.root_ids },
        "type": "envoy_proxy",
    })
}

/// `plugin.wasm` first, so that a reader need not look further; then what describes it.
fn tar(contents: &Contents) -> io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    let config = runtime_config(contents).to_string();
    append(&mut builder, "plugin.wasm", &contents.module)?;
    append(&mut builder, "runtime-config.json", config.as_bytes())?;
    for (name, bytes) in &contents.files {
        append(&mut builder, name, bytes)?;
    }
    builder.into_inner()
}

/// Adds a file to an archive, without a trace of the machine or the time.
pub(crate) fn append(builder: &mut tar::Builder<impl Write>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    builder.append_data(&mut header, name, bytes)
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    // Neither time, name nor operating system (255: unknown).
    let mut encoder = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::new(6));
    encoder.write_all(bytes)?;
    encoder.finish()
}
