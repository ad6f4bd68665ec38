//! The address of a module, pinned: whoever moves a tag later changes nothing.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use wasmplugin_deploy::image::digest::Digest;
use wasmplugin_deploy::image::reference::Reference;
use wasmplugin_deploy::source::{Remote, Source};
use wasmplugin_host::module::Module;

use crate::registry::{self, RegistryArguments};

/// The largest module that Istio's agent takes.
const LARGEST: u64 = 256 << 20;

/// A pinned address.
#[derive(Debug)]
pub(super) struct Pinned {
    /// The `url`.
    pub(super) url: String,
    /// The `sha256`; empty where the url says it all.
    pub(super) sha256: String,
    /// The registry, if it is an image.
    pub(super) registry: Option<String>,
    /// The module itself, if it was at hand.
    pub(super) module: Option<Module>,
}

/// What is known beside the address.
#[derive(Debug)]
pub(super) struct Known<'a> {
    /// The digest of an image's manifest or of a module.
    pub(super) digest: Option<&'a str>,
    /// The module as a file.
    pub(super) module: Option<&'a Path>,
    /// Whether the registry may be asked.
    pub(super) online: bool,
}

/// Pins an address; asks the registry for the digest, unless it is known.
pub(super) fn pin(url: &str, known: &Known<'_>, registries: &RegistryArguments) -> Result<Pinned> {
    let module = known.module.map(Module::read).transpose()?;
    match Source::resolve(with_scheme(url).as_str()).with_context(|| format!("`{url}` cannot be deployed"))? {
        Source::Local { .. } => Ok(Pinned { url: url.to_owned(), sha256: String::new(), registry: None, module }),
        Source::Remote(remote) if remote.is_image() => image(&remote, known, registries, module),
        Source::Remote(remote) if remote.is_fetchable() => {
            let own =
                known.module.map(|path| fs::read(path).map(|bytes| Digest::of(&bytes).hex().to_owned())).transpose()?;
            let given = known.digest.map(hex);
            let Some(sha256) = given.or(own) else {
                bail!("`{url}` must be pinned: give the module as `--module FILE`, or its checksum as `--digest`")
            };
            Ok(Pinned { url: remote.uri, sha256, registry: None, module })
        }
        Source::Remote(_) => bail!("`{url}` cannot be deployed: use `oci://`, `https://` or `file://`"),
    }
}

fn image(remote: &Remote, known: &Known<'_>, registries: &RegistryArguments, module: Option<Module>) -> Result<Pinned> {
    let reference: Reference = remote.reference.parse()?;
    let given = known.digest.map(|digest| Digest::from_hex(&hex(digest))).transpose()?;
    let (digest, module) = match given {
        Some(digest) => (digest, module),
        None if known.online => ask(&reference, registries, module)?,
        None => match reference.digest() {
            Some(digest) => (digest.clone(), module),
            None => bail!("`{reference}` must be pinned: leave `--offline` out, or give the digest as `--digest`"),
        },
    };
    let registry = Some(reference.registry().to_owned());
    Ok(Pinned { url: format!("oci://{}", reference.at(&digest)), sha256: String::new(), registry, module })
}

/// The digest that Istio will compare (of an index that of its child for linux/amd64), and the module.
fn ask(
    reference: &Reference,
    registries: &RegistryArguments,
    module: Option<Module>,
) -> Result<(Digest, Option<Module>)> {
    let client = registries.registry()?;
    registry::wait(async {
        let resolved = client.manifest(reference).await?;
        if let Some(index) = &resolved.index {
            eprintln!(
                "`{reference}` is an index (`{index}`): pinned is its image for linux/amd64, which proxies run on every machine"
            );
        }
        let module = match module {
            Some(module) => module,
            None => {
                let extracted = client.extract(reference, &resolved.manifest, false, LARGEST, &|_| ()).await?;
                Module::from_bytes(reference.to_string(), extracted.module)?
            }
        };
        Ok((resolved.digest, Some(module)))
    })
}

/// The address as people type it, with the scheme that `registry:5000/image` lacks.
fn with_scheme(url: &str) -> String {
    if url.contains("://") { url.to_owned() } else { format!("oci://{url}") }
}

fn hex(digest: &str) -> String {
    digest.strip_prefix("sha256:").unwrap_or(digest).to_owned()
}
