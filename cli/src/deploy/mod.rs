//! The verb `deploy`: the resource that brings a module into a mesh, pinned, checked, and applied where asked for.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use wasmplugin_deploy::admission;
use wasmplugin_deploy::document;
use wasmplugin_deploy::envoy_filter::{self, Knobs};
use wasmplugin_deploy::finding::{Finding, Severity};
use wasmplugin_deploy::lint::{self, Surroundings, config};
use wasmplugin_deploy::pull_secret;
use wasmplugin_deploy::render::{self, Resource, Secret};
use wasmplugin_deploy::resource::{Extension, Metadata, Program};
use wasmplugin_deploy::version::IstioVersion;
use wasmplugin_deploy::yaml::{Location, Node, Value};

use crate::exit::{self, Exit};
use crate::output;
use crate::registry::RegistryArguments;

mod kubectl;
mod pin;
mod settings;
mod singleton;

use settings::{Origin, Settings};

/// Render the resource that brings a module into a mesh.
///
/// Pins the module by digest, holds the configuration against the JSON Schema that the module carries, checks the result
/// as the API server and istiod would, and prints it; `--diff` and `--apply` hand it to `kubectl`. Settings may come
/// from a WasmPlugin or TrafficExtension (`--from`), and options override what is there.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo wasmplugin deploy registry.example/hello:1.0.0 --namespace apps --label app=web
  cargo wasmplugin deploy --from deploy.yaml --istio 1.28 --diff
  cargo wasmplugin deploy registry.example/auth:2 --phase AUTHN --config config.yaml --apply
  cargo wasmplugin deploy registry.example/hello:1 --pull-secret-name regcred --with-secret ~/.docker/config.json
  cargo wasmplugin deploy --singleton --name keys --module target/modules/keys.wasm --workload deployment/web")]
pub(crate) struct Arguments {
    /// The module: an image, or an address that begins with `https://` or `file://`; with `--from` the one there.
    #[arg(value_name = "MODULE")]
    module_url: Option<String>,
    /// A WasmPlugin or TrafficExtension to take settings from; `-` for the standard input.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// The version of Istio.
    #[arg(long, default_value_t = IstioVersion::LATEST, value_name = "VERSION")]
    istio: IstioVersion,
    /// The kind of resource; `auto` takes the one that the version prefers.
    #[arg(long, value_enum, default_value_t, value_name = "KIND")]
    kind: Form,
    /// Run it once per proxy, outside of any chain: an EnvoyFilter that changes the bootstrap, with the mount it needs.
    #[arg(long, conflicts_with_all = ["kind", "from"])]
    singleton: bool,
    /// The digest to pin, where the registry is not to be asked.
    #[arg(long, value_name = "SHA256")]
    digest: Option<String>,
    /// The module as a file, to check the configuration by.
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
    /// Ask no registry.
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    mount: singleton::MountArguments,
    /// A Docker configuration whose credentials for this registry become the Secret that `--pull-secret-name` names.
    #[arg(long, value_name = "FILE", requires = "pull_secret_name")]
    with_secret: Option<PathBuf>,
    #[command(flatten)]
    registries: RegistryArguments,
    /// Show what applying would change, through `kubectl diff`; ends with 1 if anything would.
    #[arg(long, conflicts_with = "apply")]
    diff: bool,
    /// Apply the result through `kubectl`.
    #[arg(long)]
    apply: bool,
    /// The context of `kubectl`.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// The kind of resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    /// TrafficExtension from Istio 1.30 on, WasmPlugin before; EnvoyFilter if an option asks for what both lack.
    #[default]
    Auto,
    /// Istio 1.12 and later.
    WasmPlugin,
    /// Istio 1.30 and later.
    TrafficExtension,
    /// For what the others lack.
    EnvoyFilter,
}

/// Renders, and prints or applies the result.
pub(crate) fn deploy(arguments: &Arguments) -> Result<Exit> {
    let resources = if arguments.singleton { singleton::resources(arguments)? } else { resources(arguments)? };
    let text = render::yaml(&resources)?;
    check(&text, arguments.istio)?;
    let context = arguments.context.as_deref();
    if arguments.diff {
        return kubectl::diff(&text, context);
    }
    if arguments.apply {
        return kubectl::apply(&text, context);
    }
    output::print(&text)?;
    Ok(Exit::Success)
}

fn resources(arguments: &Arguments) -> Result<Vec<Resource>> {
    let (mut extension, configured) = start(arguments)?;
    let mut configuration = configured;
    if let Some(own) = arguments.settings.apply(&mut extension)? {
        configuration = Some(own);
    }
    let Program::Wasm(wasm) = &mut extension.spec.program else {
        bail!("a Lua script has no module to deploy; apply the TrafficExtension as it is");
    };
    let known = pin::Known {
        digest: arguments.digest.as_deref(),
        module: arguments.module.as_deref(),
        online: !arguments.offline,
    };
    let pinned = pin::pin(&wasm.url, &known, &arguments.registries)?;
    wasm.url = pinned.url;
    wasm.sha256 = pinned.sha256;
    let schema = pinned.module.as_ref().and_then(|module| module.info().schema_of(&wasm.plugin_name));
    if let Some(schema) = schema {
        fits(configuration.as_ref(), schema)?;
    }
    let mut resources = Vec::new();
    if let Some(file) = &arguments.with_secret {
        let Some(registry) = &pinned.registry else { exit::usage("`--with-secret` is for images in a registry") };
        resources.push(secret(file, registry, &extension)?);
    }
    resources.push(arguments.render(extension)?);
    Ok(resources)
}

/// What there is before options are looked at, with the configuration in it.
fn start(arguments: &Arguments) -> Result<(Extension, Option<(Node, Origin)>)> {
    let (mut extension, configuration) = match &arguments.from {
        Some(file) => settings::read(file)?,
        None => (Extension::new(Metadata::default(), String::new()), None),
    };
    if let (Some(url), Program::Wasm(wasm)) = (&arguments.module_url, &mut extension.spec.program) {
        wasm.url.clone_from(url);
    }
    if extension.wasm().is_some_and(|wasm| wasm.url.is_empty()) {
        exit::usage("name a module, e.g. `registry.example/hello:1.0.0`, or a resource with one: `--from FILE`");
    }
    Ok((extension, configuration))
}

/// Refuses a configuration that the module would refuse, with the place of each mistake.
fn fits(configuration: Option<&(Node, Origin)>, schema: &serde_json::Value) -> Result<()> {
    let nothing = (Node { value: Value::Map(Vec::new()), at: Location { line: 1, column: 1 } }, Origin::default());
    let (node, origin) = configuration.unwrap_or(&nothing);
    let findings = config::check(node, schema, &origin.path);
    if findings.is_empty() {
        return Ok(());
    }
    for finding in &findings {
        tell(&origin.file, finding);
    }
    bail!("the configuration does not fit the module's schema, so nothing was rendered")
}

/// Holds what was rendered against both validators and the rules; tells what they find.
fn check(text: &str, istio: IstioVersion) -> Result<()> {
    let documents: Vec<_> = document::read(text).into_iter().collect::<Result<_, _>>()?;
    let documents: Vec<_> = documents.iter().collect();
    let surroundings = Surroundings { istio, ..Surroundings::default() };
    let reports = lint::lint(&documents, &surroundings);
    let findings: Vec<_> = reports.iter().flatten().flat_map(|report| &report.findings).collect();
    for finding in &findings {
        if finding.severity < Severity::Info {
            tell("", finding);
        }
    }
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        bail!("the cluster would not take this, or it would not work there: nothing was rendered");
    }
    debug_assert!(documents.iter().all(|one| one.kind().is_none_or(|kind| admission::check(one, kind).is_admitted())));
    Ok(())
}

/// Tells a finding on the standard error; with its place if it is in a file of the user's.
fn tell(file: &str, finding: &Finding) {
    let Finding { severity, code, path, at, message, help } = finding;
    let place = if file.is_empty() { String::new() } else { format!("{file}:{at}: ") };
    eprintln!("{place}{severity}[{code}]: {path}: {message}");
    if !help.is_empty() {
        eprintln!("  help: {help}");
    }
}

fn secret(file: &Path, registry: &str, extension: &Extension) -> Result<Resource> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let docker_config = pull_secret::for_registry(&text, registry).with_context(|| format!("`{}`", file.display()))?;
    let name = extension.wasm().and_then(|wasm| wasm.image_pull_secret.clone()).unwrap_or_default();
    let metadata = Metadata { name, namespace: extension.metadata.namespace.clone(), ..Metadata::default() };
    Ok(Resource::Secret(Secret { metadata, docker_config }))
}

impl Arguments {
    fn render(&self, extension: Extension) -> Result<Resource> {
        let knobs = self.settings.knobs();
        let form = match self.kind {
            Form::Auto if !knobs.is_empty() => Form::EnvoyFilter,
            Form::Auto if self.istio.has_traffic_extension() => Form::TrafficExtension,
            Form::Auto => Form::WasmPlugin,
            form => form,
        };
        if form != Form::EnvoyFilter && knobs != Knobs::default() {
            exit::usage(
                "`--vm-id`, `--capability`, `--reload-backoff` and `--stop-iteration` need `--kind envoy-filter`",
            );
        }
        if !knobs.capabilities.is_empty() && !knobs.capabilities.iter().any(|name| name.starts_with("proxy_on_")) {
            exit::usage(
                "no `--capability` is a callback, so the plugin would never be called, and requests would pass without it; \
                 name its callbacks as well, e.g. `proxy_on_context_create` and `proxy_on_request_headers`",
            );
        }
        Ok(match form {
            Form::EnvoyFilter => Resource::EnvoyFilter(envoy_filter::from_extension(&extension, self.istio, &knobs)?),
            Form::WasmPlugin => extension.into_wasm_plugin()?,
            _ => extension.into_traffic_extension(),
        })
    }
}
