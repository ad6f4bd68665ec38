//! The verb `pull`: the module of an image, or the image itself, becomes a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;
use wasmplugin_deploy::cache::PullPolicy;
use wasmplugin_deploy::fetch::{Fetcher, Location, Module, ModuleRequest};
use wasmplugin_deploy::image::digest::Digest;
use wasmplugin_deploy::image::layout;

use crate::exit::Exit;
use crate::image::{self, Blobs};
use crate::output::{self, Format};
use crate::registry::{self, Meter, RegistryArguments};

/// Pull a module by the rules of Istio's agent, through the same kind of cache.
///
/// Takes what an Istio resource has as its `url`: an image, or an `https://`, `http://` or `file://` URL.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo wasmplugin pull ghcr.io/me/hello:1.0.0                        into hello.wasm
  cargo wasmplugin pull ghcr.io/me/hello@sha256:<digest> -o plugin.wasm
  cargo wasmplugin pull https://example.test/hello.tar.gz --sha256 <of the module in it>
  cargo wasmplugin pull ghcr.io/me/hello:1.0.0 --image -o hello.tar   the whole image, as an OCI layout
  cargo wasmplugin pull ghcr.io/me/hello:1.0.0 --any-form             also from images that Istio refuses")]
pub(crate) struct Arguments {
    /// The image, or a URL.
    #[arg(value_name = "URL")]
    url: String,
    /// The file to write, `-` for the standard output; unless given it is named after the image.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The digest that is wanted: of the manifest of an image, of the module from a web server.
    #[arg(long, value_name = "DIGEST", value_parser = digest)]
    sha256: Option<Digest>,
    /// Asks again, although there is a module for the URL in the cache.
    #[arg(long)]
    refresh: bool,
    /// Takes the module out of images that Istio refuses, too.
    #[arg(long)]
    any_form: bool,
    /// Pulls the whole image, into an OCI layout folder or a tarball (`.tar`) of one.
    #[arg(long, conflicts_with_all = ["any_form", "refresh", "sha256"], requires = "out")]
    image: bool,
    /// The most time for everything, in seconds; Istio's agent gives itself 30.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// The folder of the cache; `$WASMPLUGIN_CACHE` or `~/.cache/wasmplugin` unless given.
    #[arg(long, value_name = "FOLDER")]
    cache: Option<PathBuf>,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    registry: RegistryArguments,
}

/// Digests are written with and without `sha256:`.
pub(crate) fn digest(text: &str) -> Result<Digest, String> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    Digest::from_hex(hex).map_err(|error| error.to_string())
}

/// Pulls, and writes the file.
pub(crate) fn pull(arguments: &Arguments) -> Result<Exit> {
    if let (true, Some(out)) = (arguments.image, &arguments.out) {
        return whole(arguments, out);
    }
    let location = Location::parse(&arguments.url)?;
    let out = match &arguments.out {
        Some(out) => out.clone(),
        None => default_name(&location)?,
    };
    let module = registry::wait(fetch(arguments))?;
    let pinned = match &location {
        Location::Image { reference, .. } => Some(format!("oci://{}", reference.at(&module.checksum))),
        Location::Http(_) | Location::File(_) => None,
    };
    if out == Path::new("-") {
        output::print_bytes(&module.bytes)?;
        return Ok(Exit::Success);
    }
    output::write_file(&out, &module.bytes)?;
    let (file, size) = (out.display().to_string(), module.bytes.len() as u64);
    output::print(&match arguments.output {
        Format::Text => {
            let from = if module.cached { ", from the cache" } else { "" };
            let pin = pinned.map(|pinned| format!("url     {pinned}\n")).unwrap_or_default();
            format!("pulled  {file} ({}{from})\ndigest  {}\n{pin}", registry::size(size), module.checksum)
        }
        Format::Json => {
            let value = json!({
                "file": file,
                "digest": module.checksum,
                "size": size,
                "cached": module.cached,
                "url": pinned,
            });
            format!("{value:#}\n")
        }
    })?;
    Ok(Exit::Success)
}

async fn fetch(arguments: &Arguments) -> Result<Module> {
    let meter = Arc::new(Meter::new("pulling"));
    let shown = Arc::clone(&meter);
    let mut options = arguments.registry.fetch_options()?;
    options.lenient = arguments.any_form;
    options.progress = Some(Arc::new(move |done| shown.show(done, None)));
    let fetcher = Fetcher::new(registry::cache(arguments.cache.as_ref())?, arguments.registry.keychain()?, options)?;
    let mut request = ModuleRequest {
        sha256: arguments.sha256.clone(),
        timeout: Duration::from_secs(arguments.timeout),
        ..ModuleRequest::of(&arguments.url)
    };
    if arguments.refresh {
        // Another version of whoever asks is what makes the policy heed changes.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        request.pull_policy = PullPolicy::Always;
        request.resource_version = now.as_nanos().to_string();
    }
    let module = fetcher.module(&request).await;
    meter.clear();
    Ok(module?)
}

fn whole(arguments: &Arguments, out: &Path) -> Result<Exit> {
    let reference = image::reference(&arguments.url)?;
    let registry = arguments.registry.registry()?;
    let (image, digest) = registry::wait(async {
        let blobs = Blobs::Registry(&registry, &reference);
        let resolved = blobs.manifest(None).await?;
        let meter = Meter::new("pulling");
        let image = blobs.image(&resolved, &|done| meter.show(done, None)).await;
        meter.clear();
        Ok((image?, resolved.digest))
    })?;
    let tag = reference.tag().unwrap_or("latest");
    if out.extension().is_some_and(|extension| extension == "tar") {
        let mut bytes = Vec::new();
        layout::write_archive(&mut bytes, &image, tag)?;
        output::write_file(out, &bytes)?;
    } else {
        layout::write_folder(out, &image, tag)?;
    }
    let out = out.display().to_string();
    output::print(&match arguments.output {
        Format::Text => format!("pulled  {out}\ndigest  {digest}\n"),
        Format::Json => format!("{:#}\n", json!({ "file": out, "digest": digest })),
    })?;
    Ok(Exit::Success)
}

/// The file's name where none is given: the last part of what is pulled.
fn default_name(location: &Location) -> Result<PathBuf> {
    let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let name = match location {
        Location::Image { reference, .. } => last(reference.repository()),
        Location::Http(url) => last(url.path()).split('.').next().unwrap_or_default().to_owned(),
        Location::File(path) => bail!("`{}` is a file already; name another one with `--out`", path.display()),
    };
    let name = Some(name).filter(|name| !name.is_empty()).context("name the file to write with `--out`")?;
    Ok(PathBuf::from(format!("{name}.wasm")))
}
