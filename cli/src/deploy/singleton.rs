//! `deploy --singleton`: an EnvoyFilter for the bootstrap, the module's volume, and the annotations that mount it.

use std::fs;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use wasmplugin_deploy::envoy_filter::{self, Mount, Singleton};
use wasmplugin_deploy::render::{ConfigMap, Resource};
use wasmplugin_deploy::resource::Metadata;
use wasmplugin_host::module::Module;

use crate::exit;

/// What a ConfigMap may hold, with some room for its other fields.
const CONFIG_MAP: usize = (1 << 20) - 4096;

/// How the module gets into the proxy's container.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Singletons")]
pub(super) struct MountArguments {
    /// The source of the volume with the module, as in a pod, e.g. `{"hostPath":{"path":"/opt/wasm"}}`; a ConfigMap
    /// unless given.
    #[arg(long, value_name = "JSON", requires = "singleton")]
    volume: Option<String>,
    /// The name of the module's file in that volume.
    #[arg(long, value_name = "FILE", requires = "volume")]
    volume_file: Option<String>,
    /// The workload whose pods run it, as `kubectl` names it, e.g. `deployment/web`, for the command that is printed.
    #[arg(long, value_name = "KIND/NAME", requires = "singleton")]
    workload: Option<String>,
}

/// The resources of a singleton. What a pod needs besides is told on the standard error: only the workload's owner may
/// change it, and its pods restart.
pub(super) fn resources(arguments: &super::Arguments) -> Result<Vec<Resource>> {
    if arguments.module_url.is_some() {
        exit::usage("the bootstrap knows files only: give the module as `--module FILE`");
    }
    let Some(file) = &arguments.module else { exit::usage("`--singleton` needs the module: `--module FILE`") };
    let settings = &arguments.settings;
    let Some(name) = &settings.name else { exit::usage("`--singleton` needs a name: `--name NAME`") };
    let module = Module::read(file)?;
    let configuration = settings.configuration()?;
    if let Some(schema) = &module.info().schema {
        super::fits(configuration.as_ref(), schema)?;
    }
    let metadata = Metadata { name: name.clone(), namespace: settings.namespace.clone(), ..Metadata::default() };
    let mount = arguments.mount.mount(name)?;
    let config = configuration
        .map(|(node, _)| node.to_json().as_object().cloned().context("the configuration must be a mapping"));
    let singleton = Singleton {
        metadata: metadata.clone(),
        labels: settings.labels.iter().map(|text| super::settings::pair(text)).collect(),
        root_id: settings.plugin_name.clone().unwrap_or_default(),
        config: config.transpose()?,
        env: settings.environment(),
        vm_id: settings.vm_id.clone().unwrap_or_else(|| name.clone()),
        mount: mount.clone(),
        stats_tags: module.info().stats_tags().unwrap_or_default(),
    };
    let mut resources = Vec::new();
    if arguments.mount.volume.is_none() {
        let bytes = fs::read(file).with_context(|| format!("cannot read `{}`", file.display()))?;
        let base64 = STANDARD.encode(bytes);
        if base64.len() > CONFIG_MAP {
            bail!(
                "`{}` is too large for a ConfigMap, which holds 1 MiB in base64; put it into another volume, and name \
                 that: `--volume '{{\"persistentVolumeClaim\":{{\"claimName\":\"wasm\"}}}}' --volume-file plugin.wasm`",
                file.display()
            );
        }
        resources.push(Resource::ConfigMap(ConfigMap { metadata, file: mount.file.clone(), base64 }));
    }
    resources.push(Resource::EnvoyFilter(envoy_filter::singleton(&singleton)));
    tell(arguments, name, &mount);
    Ok(resources)
}

impl MountArguments {
    fn mount(&self, name: &str) -> Result<Mount> {
        let own = Mount::config_map(name);
        let Some(volume) = &self.volume else { return Ok(own) };
        let volume = serde_json::from_str(volume).with_context(|| format!("`--volume {volume}` is not JSON"))?;
        Ok(Mount { volume, file: self.volume_file.clone().unwrap_or(own.file), folder: own.folder })
    }
}

fn tell(arguments: &super::Arguments, name: &str, mount: &Mount) {
    let patch = json!({ "spec": { "template": { "metadata": { "annotations": mount.annotations(name) } } } });
    let workload = arguments.mount.workload.as_deref().unwrap_or("deployment/NAME");
    let namespace = arguments.settings.namespace.as_deref().map(|name| format!(" -n {name}")).unwrap_or_default();
    eprintln!("the pods need the module mounted, and read the bootstrap at their start only; after applying, run:");
    eprintln!("  kubectl patch{namespace} {workload} --patch '{patch}'");
}
