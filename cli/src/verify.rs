//! The verb `verify`: whether an image is the one that was meant, and signed by whom it should be.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::json;
use wasmplugin_deploy::image::digest::Digest;
use wasmplugin_deploy::image::extract::Plan;
use wasmplugin_deploy::image::reference::Reference;
use wasmplugin_deploy::image::signature::{self, BadSignature, MAX_STATEMENT, PublicKey, SIMPLE_SIGNING, Signature};
use wasmplugin_deploy::registry::{Registry, RegistryError};
use wasmplugin_host::module::Module;

use crate::exit::{self, Exit};
use crate::image::{Blobs, Source};
use crate::output::{self, Format};
use crate::pull::digest;
use crate::registry::{self, Meter, RegistryArguments};

/// Verify an image: its digests, its signature by a key, and that Envoy would load the module.
///
/// Everything is read anew and compared: manifest, layer, module. Ends with 1 if anything does not hold.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo wasmplugin verify ghcr.io/me/hello:1.0.0 --key cosign.pub
  cargo wasmplugin verify ghcr.io/me/hello:1.0.0 --digest sha256:<digest>
  cargo wasmplugin verify ghcr.io/me/hello@sha256:<digest>
  cargo wasmplugin verify hello.wasm --digest sha256:<digest>

Istio verifies no signature itself (its field `verificationKey` is not read): verify before you deploy, and pin the digest.")]
pub(crate) struct Arguments {
    /// `registry/repository:tag`, an OCI layout folder, a tarball of one, or a `.wasm` file.
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The digest that it must have: of the image's manifest, or of the `.wasm` file.
    #[arg(long, value_name = "DIGEST", value_parser = digest)]
    digest: Option<Digest>,
    /// A public key in PEM, such as `cosign.pub`, that must have signed it.
    #[arg(long, value_name = "KEY")]
    key: Option<PathBuf>,
    /// The image in an OCI layout, by its tag.
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    registry: RegistryArguments,
}

/// Verifies, and says so.
pub(crate) fn verify(arguments: &Arguments) -> Result<Exit> {
    let key = arguments.key.as_deref().map(public_key).transpose()?;
    let found = registry::wait(check(arguments, key.as_ref()))?;
    output::print(&match arguments.output {
        Format::Text => {
            let signed = if key.is_some() { "signed    by the key\n" } else { "signed    not asked (`--key`)\n" };
            format!("verified  {}\ndigest    {found}\n{signed}", arguments.image)
        }
        Format::Json => {
            format!("{:#}\n", json!({ "image": arguments.image, "digest": found, "ok": true, "signed": key.is_some() }))
        }
    })?;
    Ok(Exit::Success)
}

async fn check(arguments: &Arguments, key: Option<&PublicKey>) -> Result<Digest> {
    match Source::parse(&arguments.image)? {
        Source::Module(path) => {
            if key.is_some() {
                exit::usage("a `.wasm` file has no signature beside it: verify the image in its registry");
            }
            let module = Module::read(path)?;
            let found = Digest::of(module.bytes());
            same(arguments, &found)?;
            Ok(found)
        }
        Source::Layout(layout) => {
            if key.is_some() {
                exit::usage("signatures are kept in registries, not in layouts: verify the image there");
            }
            image(&Blobs::Layout(&layout), arguments).await
        }
        Source::Registry(reference) => {
            let registry = arguments.registry.registry()?;
            let found = image(&Blobs::Registry(&registry, &reference), arguments).await?;
            if let Some(key) = key {
                signed(&registry, &reference, &found, key).await?;
            }
            Ok(found)
        }
    }
}

/// Reads everything of an image; reading compares digests.
async fn image(blobs: &Blobs<'_>, arguments: &Arguments) -> Result<Digest> {
    let resolved = blobs.manifest(arguments.tag.as_deref()).await?;
    same(arguments, &resolved.digest)?;
    let meter = Meter::new("reading");
    let plan = Plan::of(&resolved.manifest).context("Istio refuses the image")?;
    let extracted = blobs.module(&resolved, plan, &|done| meter.show(done, None)).await;
    meter.clear();
    let extracted = extracted?.context("Istio refuses the image")?;
    Module::from_bytes(arguments.image.as_str(), extracted.module)?;
    Ok(resolved.digest)
}

fn same(arguments: &Arguments, found: &Digest) -> Result<()> {
    match &arguments.digest {
        Some(wanted) if wanted != found => {
            bail!("checksum mismatch: `{}` has digest `{found}`, and `{wanted}` was asked for", arguments.image)
        }
        _ => Ok(()),
    }
}

/// That one of the image's signatures is by the key.
async fn signed(registry: &Registry, image: &Reference, digest: &Digest, key: &PublicKey) -> Result<()> {
    let place = image.tagged(signature::tag(digest));
    let unsigned = || {
        format!(
            "`{image}` is not signed: there is no `{place}`; sign it with `cargo wasmplugin push --sign` or `cosign sign --key`"
        )
    };
    let signatures = match registry.manifest(&place).await {
        Ok(signatures) => signatures,
        Err(RegistryError::NotFound { .. }) => bail!(unsigned()),
        Err(error) => return Err(error).with_context(|| format!("cannot read the signatures of `{image}`")),
    };
    let mut why = None;
    for layer in signatures.manifest.layers.into_iter().filter(|layer| layer.media_type == SIMPLE_SIGNING) {
        let statement = registry.blob(&place, &layer, MAX_STATEMENT, &|_| ()).await?;
        match signature::verify(&Signature { layer, statement }, digest, key) {
            Ok(()) => return Ok(()),
            Err(problem) => why = why.or(Some(problem)),
        }
    }
    let why = why.unwrap_or(BadSignature::Unreadable);
    bail!("no signature of `{image}` holds for this key: {why}")
}

fn public_key(path: &Path) -> Result<PublicKey> {
    let pem = fs::read_to_string(path).with_context(|| format!("cannot read the key `{}`", path.display()))?;
    PublicKey::from_pem(&pem).with_context(|| format!("cannot use the key `{}`", path.display()))
}
