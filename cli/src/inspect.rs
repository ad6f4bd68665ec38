//! The verb `inspect`: what an image or a module is, and who accepts it.

use std::path::Path;

use anyhow::Result;
use bytes::Bytes;
use serde_json::{Value, json};
use wasmplugin_deploy::image::acceptance::{self, Consumer, Verdict};
use wasmplugin_deploy::image::digest::Digest;
use wasmplugin_deploy::image::extract::{Extracted, Plan, Refusal};
use wasmplugin_deploy::image::manifest::{BadManifest, Resolved};
use wasmplugin_deploy::registry::RegistryError;
use wasmplugin_host::module::{LoadError, Module, ModuleInfo};

use crate::exit::Exit;
use crate::image::{Blobs, Source};
use crate::output::{self, Format};
use crate::registry::{self, Meter, RegistryArguments};
use crate::table::Table;

/// Show what an image or a module is, and whether Istio, Envoy Gateway and Higress accept it.
///
/// Succeeds as long as there is something to show, accepted or not.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo wasmplugin inspect ghcr.io/me/hello:1.0.0
  cargo wasmplugin inspect ./layout                     an OCI layout folder
  cargo wasmplugin inspect hello.tar --tag v1           a tarball of one
  cargo wasmplugin inspect target/modules/hello.wasm
  cargo wasmplugin inspect ghcr.io/me/hello:1.0.0 --output json | jq .accepted.istio")]
pub(crate) struct Arguments {
    /// `registry/repository:tag`, an OCI layout folder, a tarball of one, or a `.wasm` file.
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The image in an OCI layout, by its tag.
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    registry: RegistryArguments,
}

/// What was found.
struct Found {
    /// The image, unless it is a bare module.
    image: Option<Resolved>,
    /// How the module is packed.
    form: &'static str,
    /// The module, if one could be taken out.
    module: Option<Bytes>,
    /// What the three make of it.
    verdict: Verdict,
}

/// Looks, and prints.
pub(crate) fn inspect(arguments: &Arguments) -> Result<Exit> {
    let found = registry::wait(look(arguments))?;
    let loaded = found.module.clone().map(|bytes| Module::from_bytes(arguments.image.as_str(), bytes));
    let verdict = refine(&found.verdict, loaded.as_ref());
    output::print(&match arguments.output {
        Format::Text => text(arguments, &found, loaded.as_ref(), &verdict),
        Format::Json => format!("{:#}\n", json_of(arguments, &found, loaded.as_ref(), &verdict)),
    })?;
    Ok(Exit::Success)
}

async fn look(arguments: &Arguments) -> Result<Found> {
    match Source::parse(&arguments.image)? {
        Source::Module(path) => bare(&path),
        Source::Layout(layout) => packed(&Blobs::Layout(&layout), arguments).await,
        Source::Registry(reference) => {
            let registry = arguments.registry.registry()?;
            packed(&Blobs::Registry(&registry, &reference), arguments).await
        }
    }
}

fn bare(path: &Path) -> Result<Found> {
    let module = Module::read(path)?;
    let reason = "a bare module: put it on an https server or into a volume (`file://`), or make it an image with \
                  `cargo wasmplugin push`";
    Ok(Found {
        image: None,
        form: "bare module",
        module: Some(module.bytes().clone()),
        verdict: Verdict { ok: true, reason: reason.to_owned() },
    })
}

async fn packed(blobs: &Blobs<'_>, arguments: &Arguments) -> Result<Found> {
    let resolved = match blobs.manifest(arguments.tag.as_deref()).await {
        Ok(resolved) => resolved,
        // An index without the right child is an answer, too.
        Err(error) => {
            let Some(reason) = no_child(&error) else { return Err(error) };
            let verdict = Verdict { ok: false, reason };
            return Ok(Found { image: None, form: "index without linux/amd64", module: None, verdict });
        }
    };
    let meter = Meter::new("reading");
    let progress = |done| meter.show(done, None);
    let strict = match Plan::of(&resolved.manifest) {
        Ok(plan) => blobs.module(&resolved, plan, &progress).await?,
        Err(refusal) => Err(refusal),
    };
    let verdict = acceptance::of(&resolved.manifest, strict.as_ref().map(|extracted| extracted.module.as_ref()));
    let extracted = match strict {
        Ok(extracted) => Some(extracted),
        Err(_) => lenient(blobs, &resolved, &progress).await?,
    };
    meter.clear();
    let form = extracted.as_ref().map_or("no form that holds a module", |extracted| extracted.form.describe());
    Ok(Found { form, module: extracted.map(|extracted| extracted.module), verdict, image: Some(resolved) })
}

/// What Istio refuses may still be shown.
async fn lenient(blobs: &Blobs<'_>, resolved: &Resolved, progress: &(dyn Fn(u64) + Sync)) -> Result<Option<Extracted>> {
    let found: Result<Extracted, Refusal> = match Plan::lenient(&resolved.manifest) {
        Ok(plan) => blobs.module(resolved, plan, progress).await?,
        Err(refusal) => Err(refusal),
    };
    Ok(found.ok())
}

fn no_child(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        let direct = cause.downcast_ref::<BadManifest>();
        let registry = match cause.downcast_ref::<RegistryError>() {
            Some(RegistryError::Manifest(problem)) => Some(problem),
            _ => None,
        };
        let layout = match cause.downcast_ref::<wasmplugin_deploy::image::layout::LayoutError>() {
            Some(wasmplugin_deploy::image::layout::LayoutError::Manifest { problem, .. }) => Some(problem),
            _ => None,
        };
        let problem = direct.or(registry).or(layout)?;
        matches!(problem, BadManifest::NoChild(_)).then(|| problem.to_string())
    })
}

/// An image may be fine, and Envoy refuse the module in it.
fn refine(verdict: &Verdict, loaded: Option<&Result<Module, LoadError>>) -> Verdict {
    match loaded {
        Some(Err(error)) if verdict.ok => {
            Verdict { ok: false, reason: format!("Envoy refuses the module: {}", error.problem()) }
        }
        _ => verdict.clone(),
    }
}

fn root_ids(found: &Found) -> Option<&str> {
    found.image.as_ref()?.manifest.annotations.get("module.wasm.runtime/root_ids").map(String::as_str)
}

fn text(arguments: &Arguments, found: &Found, loaded: Option<&Result<Module, LoadError>>, verdict: &Verdict) -> String {
    let mut out = format!("{}: {}\n", arguments.image, found.form);
    let mut line = |name: &str, value: String| out.push_str(&format!("  {name:<10}{value}\n"));
    if let Some(image) = &found.image {
        line("digest", image.digest.to_string());
        if let Some(index) = &image.index {
            line("index", format!("{index} (do not pin this one: Istio compares the digest above)"));
        }
        for layer in &image.manifest.layers {
            line("layer", format!("{} {}, {}", layer.digest, layer.media_type, registry::size(layer.size)));
        }
        for (key, value) in &image.manifest.annotations {
            line("note", format!("{key}={value}"));
        }
    }
    if let Some(module) = &found.module {
        line("module", format!("{}, {}", Digest::of(module), registry::size(module.len() as u64)));
    }
    match loaded {
        Some(Ok(module)) => facts(module.info(), root_ids(found), &mut line),
        Some(Err(error)) => line("problem", error.problem().to_string()),
        None => {}
    }
    out.push('\n');
    let mut table = Table::new(["accepted by", "", "because"]);
    for consumer in Consumer::ALL {
        let cells = [consumer.to_string(), if verdict.ok { "yes" } else { "no" }.to_owned(), verdict.reason.clone()];
        table.row(cells, Vec::new());
    }
    out + &table.render("  ")
}

fn facts(info: &ModuleInfo, root_ids: Option<&str>, line: &mut impl FnMut(&str, String)) {
    line("abi", info.abi.to_string());
    let said = |name: &str| info.metadata.as_ref()?.get(name)?.as_str().map(str::to_owned);
    if let Some(name) = said("name") {
        line("plugin", format!("{name} {}", said("version").unwrap_or_default()));
    }
    line("root ids", root_ids.unwrap_or("not told").to_owned());
    let callbacks: Vec<_> = info.callbacks.iter().map(|name| name.trim_start_matches("proxy_")).collect();
    line("callbacks", callbacks.join(" "));
    let imports: Vec<_> = info.imports.iter().map(|import| import.name.trim_start_matches("proxy_")).collect();
    line("imports", imports.join(" "));
    line("schema", if info.schema.is_some() { "yes (`--output json` shows it)" } else { "none" }.to_owned());
}

fn json_of(
    arguments: &Arguments,
    found: &Found,
    loaded: Option<&Result<Module, LoadError>>,
    verdict: &Verdict,
) -> Value {
    let module_digest = found.module.as_ref().map(|module| Digest::of(module));
    let verdict = json!({ "ok": verdict.ok, "reason": verdict.reason });
    let accepted: serde_json::Map<_, _> =
        Consumer::ALL.iter().map(|consumer| (consumer.key().to_owned(), verdict.clone())).collect();
    let image = found.image.as_ref();
    json!({
        "image": arguments.image,
        "form": found.form,
        // What to pin: of a bare module its own.
        "digest": image.map_or_else(|| module_digest.clone(), |image| Some(image.digest.clone())),
        "index": image.and_then(|image| image.index.clone()),
        "mediaType": image.map(Resolved::media_type),
        "layers": image.map(|image| &image.manifest.layers),
        "annotations": image.map(|image| &image.manifest.annotations),
        "module": found.module.as_ref().map(|module| json!({ "digest": module_digest, "size": module.len() })),
        "problem": loaded.and_then(|loaded| loaded.as_ref().err()).map(|error| error.problem().to_string()),
        "abi": loaded.and_then(|loaded| loaded.as_ref().ok()).map(|module| module.abi().to_string()),
        "rootIds": root_ids(found).map(|ids| ids.split(',').collect::<Vec<_>>()),
        "imports": loaded.and_then(|loaded| loaded.as_ref().ok()).map(|module| imports(module.info())),
        "exports": loaded.and_then(|loaded| loaded.as_ref().ok()).map(|module| exports(module.info())),
        "schema": loaded.and_then(|loaded| loaded.as_ref().ok()).and_then(|module| module.info().schema.clone()),
        "metadata": loaded.and_then(|loaded| loaded.as_ref().ok()).and_then(|module| module.info().metadata.clone()),
        "accepted": accepted,
    })
}

fn imports(info: &ModuleInfo) -> Value {
    info.imports
        .iter()
        .map(|import| json!({ "module": import.module, "name": import.name, "type": import.ty.to_string() }))
        .collect()
}

fn exports(info: &ModuleInfo) -> Value {
    info.exports.iter().map(|export| json!({ "name": export.name, "type": export.ty.to_string() })).collect()
}
