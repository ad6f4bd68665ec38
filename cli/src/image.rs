//! What a user names as an image: in a registry, in an OCI layout, in a tarball of one, or a bare module.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use wasmplugin_deploy::fetch::Location;
use wasmplugin_deploy::image::archive::MAX_MODULE_SIZE;
use wasmplugin_deploy::image::build::Image;
use wasmplugin_deploy::image::extract::{Extracted, Opened, Plan, Refusal};
use wasmplugin_deploy::image::layout::Layout;
use wasmplugin_deploy::image::manifest::{Descriptor, Resolved};
use wasmplugin_deploy::image::reference::Reference;
use wasmplugin_deploy::registry::Registry;

/// Where an image or a module is.
#[derive(Debug)]
pub(crate) enum Source {
    /// In a registry.
    Registry(Reference),
    /// In a layout.
    Layout(Layout),
    /// A file that is a module, or at least no layout.
    Module(PathBuf),
}

impl Source {
    /// What the text names: what is there as a file or a folder, or else an image in a registry. skopeo's `oci:` and
    /// `oci-archive:` are understood.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if let Some(path) = layout_path(text) {
            return Ok(Self::Layout(Layout::open(path)?));
        }
        let path = PathBuf::from(text.strip_prefix("file://").unwrap_or(text));
        if path.is_dir() {
            return Ok(Self::Layout(Layout::open(path)?));
        }
        if path.is_file() {
            return match is_tar(&path)? {
                true => Ok(Self::Layout(Layout::open(path)?)),
                false => Ok(Self::Module(path)),
            };
        }
        if text.starts_with(['/', '.'])
            || text.starts_with("file://")
            || text.ends_with(".wasm")
            || text.ends_with(".tar")
        {
            bail!("there is no file or folder `{}`", path.display());
        }
        Ok(Self::Registry(reference(text)?))
    }
}

/// An image in a registry.
pub(crate) fn reference(text: &str) -> Result<Reference> {
    match Location::parse(text)? {
        Location::Image { reference, .. } => Ok(reference),
        Location::Http(_) | Location::File(_) => {
            bail!("`{text}` names no image; write `registry.example/repository:tag`")
        }
    }
}

/// The path of a layout that is to be written: one that is written like a path.
pub(crate) fn target_path(text: &str) -> Option<PathBuf> {
    layout_path(text).or_else(|| {
        let path = text.starts_with(['/', '.']) || text.ends_with(".tar");
        path.then(|| PathBuf::from(text))
    })
}

fn layout_path(text: &str) -> Option<PathBuf> {
    let path = text.strip_prefix("oci:").or_else(|| text.strip_prefix("oci-archive:"))?;
    (!path.starts_with("//")).then(|| PathBuf::from(path))
}

fn is_tar(path: &Path) -> Result<bool> {
    use std::io::Read;
    let mut start = Vec::new();
    let file = fs::File::open(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    file.take(512).read_to_end(&mut start).with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(start.get(257..262) == Some(b"ustar"))
}

/// A source of which manifest and blobs can be asked.
pub(crate) enum Blobs<'a> {
    /// A registry.
    Registry(&'a Registry, &'a Reference),
    /// A layout.
    Layout(&'a Layout),
}

impl Blobs<'_> {
    /// The manifest of the image, resolved for linux/amd64.
    pub(crate) async fn manifest(&self, tag: Option<&str>) -> Result<Resolved> {
        match self {
            Self::Registry(registry, image) => Ok(registry.manifest(image).await?),
            Self::Layout(layout) => Ok(layout.manifest(tag)?),
        }
    }

    /// A blob.
    pub(crate) async fn blob(&self, blob: &Descriptor, progress: &(dyn Fn(u64) + Sync)) -> Result<Bytes> {
        // A layer may hold more than the module.
        let limit = 2 * MAX_MODULE_SIZE;
        match self {
            Self::Registry(registry, image) => Ok(registry.blob(image, blob, limit, progress).await?),
            Self::Layout(layout) => Ok(layout.blob(blob, limit)?),
        }
    }

    /// The module in an image, as a plan finds it; a refusal is a result, too.
    pub(crate) async fn module(
        &self,
        resolved: &Resolved,
        mut plan: Plan,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Result<Extracted, Refusal>> {
        loop {
            let layer = self.blob(&plan.layer, progress).await?;
            match plan.open(&resolved.manifest, &layer, MAX_MODULE_SIZE) {
                Ok(Opened::Module(extracted)) => return Ok(Ok(extracted)),
                Ok(Opened::Elsewhere(next)) => plan = next,
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
    }

    /// Everything of an image.
    pub(crate) async fn image(&self, resolved: &Resolved, progress: &(dyn Fn(u64) + Sync)) -> Result<Image> {
        let manifest = &resolved.manifest;
        let mut blobs = Vec::new();
        for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
            blobs.push((blob.clone(), self.blob(blob, progress).await?));
        }
        Ok(Image { manifest: resolved.bytes.clone(), media_type: resolved.media_type().to_owned(), blobs })
    }
}
