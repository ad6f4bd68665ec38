//! The verb `migrate`: Wasm plugins from one of Istio's kinds to another.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use wasmplugin_deploy::document::{Document, Kind};
use wasmplugin_deploy::envoy_filter::{self, EnvoyFilter, Knobs};
use wasmplugin_deploy::migrate;
use wasmplugin_deploy::render::{self, Resource};
use wasmplugin_deploy::resource::Extension;
use wasmplugin_deploy::version::IstioVersion;

use crate::documents;
use crate::exit::Exit;
use crate::output;

/// Rewrite WasmPlugins and EnvoyFilters as TrafficExtensions, or back.
///
/// Prints the new documents; what does not come along is told on the standard error. A plugin keeps its name, so apply
/// the new document first and delete the old one then: in between both run. The property `plugin_name` and the names of
/// statistics change. Documents of other kinds are left out.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo wasmplugin migrate plugin.yaml > new.yaml
  cargo wasmplugin migrate filters/ --to wasm-plugin
  kubectl get wasmplugins -A -o yaml | cargo wasmplugin migrate -")]
pub(crate) struct Arguments {
    /// Files of YAML or JSON, folders of them, or `-` for the standard input.
    #[arg(required = true, value_name = "FILE")]
    inputs: Vec<PathBuf>,
    /// The kind to write.
    #[arg(long, value_enum, default_value_t, value_name = "KIND")]
    to: Target,
    /// The version of Istio that EnvoyFilters are written for.
    #[arg(long, default_value_t = IstioVersion::LATEST, value_name = "VERSION")]
    istio: IstioVersion,
}

/// A kind to write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Target {
    /// Istio 1.30 and later.
    #[default]
    TrafficExtension,
    /// Istio 1.12 and later.
    WasmPlugin,
    /// For what the others lack.
    EnvoyFilter,
}

/// Rewrites, and prints the result.
pub(crate) fn migrate(arguments: &Arguments) -> Result<Exit> {
    let mut resources = Vec::new();
    for found in documents::read(&arguments.inputs)? {
        let document = found.document.with_context(|| format!("`{}` is not YAML", found.file))?;
        let place = || format!("{}:{}", found.file, document.at());
        let (extensions, rest) = plugins(&document, &place)?;
        for extension in extensions {
            resources.push(written(extension, arguments).with_context(place)?);
        }
        resources.extend(rest.map(Resource::EnvoyFilter));
    }
    if resources.is_empty() {
        bail!("there is no WasmPlugin, TrafficExtension or EnvoyFilter with a Wasm module to migrate");
    }
    output::print(&render::yaml(&resources)?)?;
    Ok(Exit::Success)
}

/// The plugins in a document, and what is left of it.
fn plugins(document: &Document, place: &dyn Fn() -> String) -> Result<(Vec<Extension>, Option<EnvoyFilter>)> {
    if document.kind() == Some(Kind::EnvoyFilter) {
        let filter: EnvoyFilter = serde_json::from_value(document.root.to_json())
            .with_context(|| format!("{}: the EnvoyFilter cannot be read", place()))?;
        let migrated = migrate::from_envoy_filter(&filter);
        for note in &migrated.notes {
            eprintln!("{}: {note}", place());
        }
        if migrated.extensions.is_empty() {
            eprintln!("{}: the EnvoyFilter `{}` stays: no Wasm filter in it can be migrated", place(), document.name());
            return Ok((Vec::new(), None));
        }
        return Ok((migrated.extensions, migrated.rest));
    }
    match document.extension().with_context(place)? {
        Some(mut extension) => {
            extension.metadata = migrate::fresh(&extension.metadata);
            Ok((vec![extension], None))
        }
        None => {
            eprintln!("{}: a document of another kind is left out", place());
            Ok((Vec::new(), None))
        }
    }
}

fn written(extension: Extension, arguments: &Arguments) -> Result<Resource> {
    Ok(match arguments.to {
        Target::TrafficExtension => extension.into_traffic_extension(),
        Target::WasmPlugin => extension.into_wasm_plugin()?,
        Target::EnvoyFilter => {
            Resource::EnvoyFilter(envoy_filter::from_extension(&extension, arguments.istio, &Knobs::default())?)
        }
    })
}
