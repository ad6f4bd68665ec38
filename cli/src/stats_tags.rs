//! The verb `stats-tags`: what a proxy has to be told so that the labels of a module's metrics are seen as labels.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use wasmplugin_deploy::envoy_filter::EnvoyFilter;
use wasmplugin_deploy::render::{self, Resource};
use wasmplugin_deploy::stats_tags::{self, StatsTag};
use wasmplugin_host::module::Module;

use crate::exit::Exit;
use crate::output;
use crate::pair::pair;

/// Print what makes labels of the metrics of a module.
///
/// A plugin's metric carries its labels in its name. A proxy takes them out by expressions, which the module brings along, and
/// reads them once, when it starts.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo wasmplugin stats-tags stats.wasm | kubectl apply -f -                for the whole mesh
  cargo wasmplugin stats-tags stats.wasm --namespace shop --label app=cart   for some pods
  cargo wasmplugin stats-tags stats.wasm --form annotation                   for the annotations of a pod
  cargo wasmplugin stats-tags stats.wasm --form bootstrap                    for an Envoy without Istio")]
pub(crate) struct Arguments {
    /// The modules.
    #[arg(value_name = "MODULE", required = true)]
    modules: Vec<PathBuf>,
    /// Where it is for.
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    form: Form,
    /// The name of the EnvoyFilter.
    #[arg(long, value_name = "NAME", default_value = "stats-tags")]
    name: String,
    /// Its namespace; in Istio's root namespace it is for the whole mesh.
    #[arg(long, value_name = "NAMESPACE", default_value = "istio-system")]
    namespace: String,
    /// A label of the pods that it is for; all unless given. May be repeated.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
}

/// Where it is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    /// An EnvoyFilter that adds to the bootstraps of proxies.
    #[default]
    EnvoyFilter,
    /// The annotation `proxy.istio.io/config`; its value may also stand in `meshConfig.defaultConfig`. Istio makes the expressions
    /// itself, of the names alone.
    Annotation,
    /// A part of a bootstrap, in JSON.
    Bootstrap,
}

/// Prints it.
pub(crate) fn stats_tags(arguments: &Arguments) -> Result<Exit> {
    let tags = tags(&arguments.modules)?;
    let text = match arguments.form {
        Form::EnvoyFilter => envoy_filter(arguments, &tags)?,
        Form::Annotation => annotation(&tags),
        Form::Bootstrap => format!("{:#}\n", stats_tags::bootstrap(&tags)),
    };
    output::print(&text)?;
    Ok(Exit::Success)
}

/// Those of all modules, each once.
fn tags(modules: &[PathBuf]) -> Result<Vec<StatsTag>> {
    let mut all: Vec<StatsTag> = Vec::new();
    for file in modules {
        let module = Module::read(file)?;
        let Some(tags) = module.info().stats_tags().filter(|tags| !tags.is_empty()) else {
            bail!(
                "`{}` names no labels: either its metrics have none, or it is not from `cargo wasmplugin build`",
                file.display()
            );
        };
        for (name, regex) in tags {
            match all.iter().find(|known| known.name == name) {
                Some(known) if known.regex != regex => {
                    bail!("`{}` finds the label `{name}` otherwise than a module before it", file.display())
                }
                Some(_) => {}
                None => all.push(StatsTag { name, regex }),
            }
        }
    }
    Ok(all)
}

fn envoy_filter(arguments: &Arguments, tags: &[StatsTag]) -> Result<String> {
    let labels: Vec<_> = arguments.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let filter = stats_tags::envoy_filter(&arguments.name, &arguments.namespace, &labels, tags);
    let filter: EnvoyFilter = serde_json::from_value(filter).context("the EnvoyFilter cannot be rendered")?;
    Ok(render::yaml(&[Resource::EnvoyFilter(filter)])?)
}

fn annotation(tags: &[StatsTag]) -> String {
    for tag in tags {
        if let Some(other) = stats_tags::found_in(&tag.name, tags) {
            eprintln!(
                "warning: Istio's own expression for `{}` takes `{other}` for it; the form `envoy-filter` does not",
                tag.name
            );
        }
    }
    let lines = stats_tags::proxy_config(tags).lines().map(|line| format!("  {line}\n")).collect::<String>();
    format!("proxy.istio.io/config: |\n{lines}")
}
