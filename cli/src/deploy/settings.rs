//! What options and files say about a plugin.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use wasmplugin_deploy::document::Kind;
use wasmplugin_deploy::envoy_filter::Knobs;
use wasmplugin_deploy::migrate;
use wasmplugin_deploy::resource::{
    EnvSource, EnvVar, Extension, FailStrategy, Phase, PluginKind, Port, Program, Selector, TargetRef, TrafficMode,
    TrafficSelector, Wasm,
};
use wasmplugin_deploy::yaml::Node;

use crate::configuration::Placed;
use crate::documents;
use crate::duration;
use crate::exit;

/// What a plugin is configured with and where it runs.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Settings")]
pub(super) struct Settings {
    /// The name of the resource; that of the image unless given.
    #[arg(long)]
    pub(super) name: Option<String>,
    /// The namespace of the resource.
    #[arg(long, short)]
    pub(super) namespace: Option<String>,
    /// A label of the pods that it is for. May be repeated.
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub(super) labels: Vec<String>,
    /// A gateway or service that it is for: `Gateway/name`, `Service/name`, `ServiceEntry/name`. May be repeated.
    #[arg(long = "target", value_name = "KIND/NAME")]
    targets: Vec<String>,
    /// Traffic that it sees: `server`, `client`, or ports behind a colon: `server:8080,8081`. May be repeated.
    #[arg(long = "match", value_name = "MODE[:PORTS]")]
    traffic: Vec<String>,
    /// Where in the chain it stands.
    #[arg(long, value_enum, ignore_case = true)]
    phase: Option<PhaseWord>,
    /// Higher ones come first within a phase; 0 unless given.
    #[arg(long, allow_negative_numbers = true)]
    priority: Option<i32>,
    /// What becomes of requests when it fails.
    #[arg(long, value_enum, ignore_case = true)]
    fail_strategy: Option<FailWord>,
    /// It is for connections, not for requests.
    #[arg(long)]
    tcp: bool,
    /// Which plugin of the module is meant: Envoy's root id.
    #[arg(long, value_name = "NAME")]
    pub(super) plugin_name: Option<String>,
    /// An environment variable: `NAME=VALUE`, or `NAME` alone for that of the proxy. May be repeated.
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// The configuration: a file of YAML or JSON, or JSON itself.
    #[arg(long, value_name = "FILE|JSON")]
    config: Option<String>,
    /// The Secret with the registry's credentials.
    #[arg(long, value_name = "NAME")]
    pull_secret_name: Option<String>,
    /// Share a VM only with plugins of the same id.
    #[arg(long, value_name = "ID")]
    pub(super) vm_id: Option<String>,
    /// A function that the module has: a host call (`proxy_log`), a callback (`proxy_on_request_headers`), or one of WASI
    /// (`fd_write`). With one, it has no others: other calls fail, and other callbacks are never called. May be repeated.
    #[arg(long = "capability", value_name = "FUNCTION")]
    capabilities: Vec<String>,
    /// How long a failed VM waits before it is started again, e.g. `5s`.
    #[arg(long, value_name = "DURATION", value_parser = duration::argument)]
    reload_backoff: Option<Duration>,
    /// Whether a filter that stops at the headers gets the body all the same.
    #[arg(long, value_name = "BOOL")]
    stop_iteration: Option<bool>,
}

/// Where in the chain of filters.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum PhaseWord {
    /// Before Istio's authentication.
    Authn,
    /// Between Istio's authentication and authorization.
    Authz,
    /// After Istio's authorization.
    Stats,
}

/// What becomes of requests.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[expect(clippy::enum_variant_names, reason = "the words of the command line, which are Istio's")]
enum FailWord {
    /// They are refused.
    FailClose,
    /// They pass.
    FailOpen,
    /// The plugin is started again.
    FailReload,
}

/// Where a configuration stands.
#[derive(Debug, Clone, Default)]
pub(super) struct Origin {
    /// The file; empty for an option.
    pub(super) file: String,
    /// The path of the configuration in it.
    pub(super) path: String,
}

/// A plugin from a file, with the place of its configuration.
pub(super) fn read(file: &Path) -> Result<(Extension, Option<(Node, Origin)>)> {
    let mut plugins = Vec::new();
    for found in documents::read(&[file.to_owned()])? {
        let document = found.document.with_context(|| format!("`{}` is not YAML", found.file))?;
        let Some(extension) = document.extension().with_context(|| format!("`{}`", found.file))? else { continue };
        let path = if document.kind() == Some(Kind::TrafficExtension) { "spec.wasm" } else { "spec" };
        let node = document.spec().and_then(|spec| if path == "spec" { Some(spec) } else { spec.get("wasm") });
        let node = node.and_then(|node| node.get("pluginConfig")).cloned();
        let origin = Origin { file: found.file, path: format!("{path}.pluginConfig") };
        plugins.push((extension, node.map(|node| (node, origin))));
    }
    match (plugins.pop(), plugins.is_empty()) {
        (Some((mut extension, node)), true) => {
            extension.metadata = migrate::fresh(&extension.metadata);
            Ok((extension, node))
        }
        (None, _) => bail!("`{}` holds no WasmPlugin and no TrafficExtension", file.display()),
        (Some(_), false) => bail!("`{}` holds several plugins; deploy them one by one", file.display()),
    }
}

impl Settings {
    /// Overrides what is there; returns the configuration, if there is one.
    pub(super) fn apply(&self, extension: &mut Extension) -> Result<Option<(Node, Origin)>> {
        let spec = &mut extension.spec;
        if !self.labels.is_empty() {
            spec.selector = Some(Selector { match_labels: self.labels.iter().map(|text| pair(text)).collect() });
        }
        if !self.targets.is_empty() {
            spec.target_refs = self.targets.iter().map(|text| target(text)).collect();
        }
        if !self.traffic.is_empty() {
            spec.traffic = self.traffic.iter().map(|text| traffic(text)).collect();
        }
        if let Some(phase) = self.phase {
            spec.phase = match phase {
                PhaseWord::Authn => Phase::Authn,
                PhaseWord::Authz => Phase::Authz,
                PhaseWord::Stats => Phase::Stats,
            };
        }
        // One that is not given would come last of all, after negative ones.
        spec.priority = self.priority.or(spec.priority).or(Some(0));
        let configuration = self.configuration()?;
        let Program::Wasm(wasm) = &mut spec.program else { return Ok(configuration) };
        self.wasm(wasm);
        if let Some((node, _)) = &configuration {
            wasm.plugin_config =
                Some(node.to_json().as_object().cloned().context("the configuration must be a mapping")?);
        }
        let image = wasm.url.rsplit('/').next().unwrap_or_default().split(['@', ':', '?']).next().unwrap_or_default();
        let metadata = &mut extension.metadata;
        if let Some(name) = self.name.clone().or_else(|| metadata.name.is_empty().then(|| resource_name(image))) {
            metadata.name = name;
        }
        if self.namespace.is_some() {
            metadata.namespace.clone_from(&self.namespace);
        }
        Ok(configuration)
    }

    fn wasm(&self, wasm: &mut Wasm) {
        if let Some(word) = self.fail_strategy {
            wasm.fail_strategy = match word {
                FailWord::FailClose => FailStrategy::FailClose,
                FailWord::FailOpen => FailStrategy::FailOpen,
                FailWord::FailReload => FailStrategy::FailReload,
            };
        }
        if self.tcp {
            wasm.kind = PluginKind::Network;
        }
        if let Some(name) = &self.plugin_name {
            wasm.plugin_name.clone_from(name);
        }
        if self.pull_secret_name.is_some() {
            wasm.image_pull_secret.clone_from(&self.pull_secret_name);
        }
        if !self.env.is_empty() {
            wasm.vm_config.get_or_insert_default().env = self.environment();
        }
    }

    /// The variables among the options.
    pub(super) fn environment(&self) -> Vec<EnvVar> {
        let variable = |text: &String| match text.split_once('=') {
            Some((name, value)) => {
                EnvVar { name: name.to_owned(), value_from: EnvSource::Inline, value: Some(value.to_owned()) }
            }
            None => EnvVar { name: text.clone(), value_from: EnvSource::Host, value: None },
        };
        self.env.iter().map(variable).collect()
    }

    /// The configuration among the options, and where it stands.
    pub(super) fn configuration(&self) -> Result<Option<(Node, Origin)>> {
        let Some(given) = &self.config else { return Ok(None) };
        let Placed { node, file } = Placed::read(given)?;
        Ok(Some((node, Origin { file, path: "pluginConfig".to_owned() })))
    }

    /// What only an EnvoyFilter can say.
    pub(super) fn knobs(&self) -> Knobs {
        Knobs {
            vm_id: self.vm_id.clone(),
            capabilities: self.capabilities.clone(),
            reload_backoff: self.reload_backoff,
            allow_on_headers_stop_iteration: self.stop_iteration,
        }
    }
}

/// `name=value`
pub(super) fn pair(text: &str) -> (String, String) {
    match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => exit::usage(format_args!("`--label {text}` must be written as NAME=VALUE")),
    }
}

fn target(text: &str) -> TargetRef {
    let group = |kind: &str| match kind {
        "Service" => Some(""),
        "ServiceEntry" => Some("networking.istio.io"),
        "Gateway" | "GatewayClass" => Some("gateway.networking.k8s.io"),
        _ => None,
    };
    match text.split_once('/').and_then(|(kind, name)| Some((group(kind)?, kind, name))) {
        Some((group, kind, name)) => {
            TargetRef { group: group.to_owned(), kind: kind.to_owned(), name: name.to_owned() }
        }
        None => exit::usage(format_args!(
            "`--target {text}` must be one of Gateway/NAME, GatewayClass/NAME, Service/NAME, ServiceEntry/NAME"
        )),
    }
}

fn traffic(text: &str) -> TrafficSelector {
    let (mode, ports) = text.split_once(':').unwrap_or((text, ""));
    let mode = match mode.to_ascii_lowercase().as_str() {
        "server" => TrafficMode::Server,
        "client" => TrafficMode::Client,
        "any" | "" => TrafficMode::ClientAndServer,
        _ => exit::usage(format_args!("`--match {text}` must begin with `server`, `client` or `any`")),
    };
    let port = |text: &str| match text.parse() {
        Ok(number) if number > 0 => Port { number },
        _ => exit::usage(format_args!("`{text}` is no port")),
    };
    TrafficSelector { mode, ports: ports.split(',').filter(|port| !port.is_empty()).map(port).collect() }
}

/// A name for the resource, made of that of the image.
fn resource_name(image: &str) -> String {
    let image = Path::new(image).file_stem().map(|stem| stem.to_string_lossy().to_lowercase()).unwrap_or_default();
    let name: String = image.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    match name.trim_matches('-') {
        "" => exit::usage("name the resource: `--name NAME`"),
        name => name.to_owned(),
    }
}
