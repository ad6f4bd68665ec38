//! The verb `doctor`: what is missing or ill, on this machine, at registries and in running proxies, and what to type.

use anyhow::Result;
use serde_json::{Value, json};

use crate::address::Address;
use crate::exit::Exit;
use crate::output::{self, Format};
use crate::registry::RegistryArguments;

mod diagnosis;
mod image;
mod proxy;
mod tools;

use diagnosis::{Diagnosis, State};

/// Look for what is missing or ill, and tell what to type.
///
/// Looks at the tools of this machine; with `--image` at whether an image can be pulled, with the credentials of this
/// machine or with the very Secret that the cluster has; with `--envoy` and `--agent` at a proxy that runs: whether its VMs
/// live and its modules were fetched. Ends with 1 if something that is needed is missing or ill.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo wasmplugin doctor
  cargo wasmplugin doctor --image registry.example/hello:1.0.0
  cargo wasmplugin doctor --image registry.example/hello:1.0.0 --secret apps/regcred
  kubectl port-forward deployment/web 15000 15020 &
  cargo wasmplugin doctor --envoy http://127.0.0.1:15000 --agent http://127.0.0.1:15020
  cargo wasmplugin doctor --output json | jq '.checks[] | select(.state != \"ok\")'")]
pub(crate) struct Arguments {
    /// An image to pull, by Istio's rules and past the cache. May be repeated.
    #[arg(long = "image", value_name = "IMAGE")]
    images: Vec<String>,
    /// Pull with this Secret of the cluster, which `kubectl` reads.
    #[arg(long, value_name = "NAMESPACE/NAME", conflicts_with = "pull_secret", requires = "images")]
    secret: Option<String>,
    /// The context of `kubectl`.
    #[arg(long, value_name = "NAME", requires = "secret")]
    context: Option<String>,
    /// The admin interface of a running Envoy, in a sidecar on port 15000. May be repeated.
    #[arg(long = "envoy", value_name = "URL")]
    envoys: Vec<Address>,
    /// The metrics of a running Istio agent, on port 15020. May be repeated.
    #[arg(long = "agent", value_name = "URL")]
    agents: Vec<Address>,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    registries: RegistryArguments,
}

/// Looks, and tells what was found.
pub(crate) fn doctor(arguments: &Arguments) -> Result<Exit> {
    let mut found = tools::all();
    let secret = arguments.secret.as_deref().map(|name| image::Secret { name, context: arguments.context.as_deref() });
    found.extend(arguments.images.iter().map(|name| image::pull(name, secret.as_ref(), &arguments.registries)));
    found.extend(arguments.envoys.iter().flat_map(|address| proxy::envoy(address.socket())));
    found.extend(arguments.agents.iter().map(|address| proxy::agent(address.socket())));
    let ill = found.iter().any(|one| one.state == State::Fail);
    output::print(&match arguments.output {
        Format::Text => text(&found),
        Format::Json => format!("{:#}\n", json(&found, !ill)),
    })?;
    Ok(if ill { Exit::Failure } else { Exit::Success })
}

fn text(found: &[Diagnosis]) -> String {
    let width = found.iter().map(|one| one.name.chars().count()).max().unwrap_or_default();
    let line = |one: &Diagnosis| {
        let help = if one.help.is_empty() { String::new() } else { format!("      {}\n", one.help) };
        format!("{:<4}  {:width$}  {}\n{help}", one.state.word(), one.name, one.said)
    };
    found.iter().map(line).collect()
}

fn json(found: &[Diagnosis], ok: bool) -> Value {
    let check =
        |one: &Diagnosis| json!({"name": one.name, "state": one.state.word(), "message": one.said, "help": one.help});
    json!({"ok": ok, "checks": found.iter().map(check).collect::<Value>()})
}
