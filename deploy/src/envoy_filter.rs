//! EnvoyFilters that bring a plugin in where WasmPlugin and TrafficExtension lack something: knobs of the VM, and
//! singletons.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::envoy::{self, Dropped};
use crate::resource::{Extension, Metadata, Phase, PluginKind, Program, TrafficMode};
use crate::version::IstioVersion;

mod singleton;
#[cfg(test)]
mod tests;

pub use singleton::{Mount, Singleton, singleton};

/// The group and version of the kind.
pub const API_VERSION: &str = "networking.istio.io/v1alpha3";

/// An EnvoyFilter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvoyFilter {
    /// Who it is.
    #[serde(default)]
    pub metadata: Metadata,
    /// What it changes.
    pub spec: EnvoyFilterSpec,
}

/// What an EnvoyFilter changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvoyFilterSpec {
    /// The pods whose proxies it changes; every one of the namespace if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_selector: Option<WorkloadSelector>,
    /// The gateways and services that it is for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub target_refs: Vec<crate::resource::TargetRef>,
    /// The changes, in their order.
    #[serde(default)]
    pub config_patches: Vec<ConfigPatch>,
    /// Lower ones are applied first; 0 if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
}

/// Pods by their labels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadSelector {
    /// Labels that a pod must have.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigPatch {
    /// What kind of thing is changed, e.g. `HTTP_FILTER`.
    pub apply_to: String,
    /// Which ones.
    #[serde(default, rename = "match", skip_serializing_if = "Value::is_null")]
    pub matches: Value,
    /// How.
    pub patch: Patch,
}

/// How something is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patch {
    /// E.g. `INSERT_BEFORE`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub operation: String,
    /// What comes in.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub value: Value,
}

/// What Envoy can do and Istio's resources do not show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Knobs {
    /// Plugins share a VM only with those that have the same one.
    pub vm_id: Option<String>,
    /// The only host calls, callbacks and WASI functions that the module has; all of them if empty.
    pub capabilities: Vec<String>,
    /// How long a failed VM waits before `FAIL_RELOAD` starts it again, at least 1 ms; 1 s if not given.
    pub reload_backoff: Option<Duration>,
    /// Whether a filter that stops at the headers gets the body all the same; Envoy's default if not given.
    pub allow_on_headers_stop_iteration: Option<bool>,
}

impl Knobs {
    /// Whether none was turned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Why a plugin cannot be an EnvoyFilter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Impossible {
    /// It has a phase in the middle of the chain.
    #[error(
        "an EnvoyFilter cannot put a plugin between Istio's authentication and authorization; use the phase AUTHN, \
            which \
         comes first of all, or STATS, which comes last"
    )]
    Phase,
    /// It is for gateways by name, of which EnvoyFilter knows none that a chain could be picked by.
    #[error("plugins for connections have no place in an EnvoyFilter here; use a WasmPlugin with `type: NETWORK`")]
    Network,
    /// It needs credentials.
    #[error("an EnvoyFilter has no `imagePullSecret`; give the agent a Docker configuration instead, and leave it out")]
    Secret,
    /// It is a script.
    #[error("a Lua script needs no EnvoyFilter of ours")]
    Lua,
    /// Its url cannot be read.
    #[error(transparent)]
    Url(#[from] Dropped),
}

/// The same plugin as an EnvoyFilter. Modules from elsewhere come in over the extension discovery service, so that
/// the agent fetches them as it does for a WasmPlugin.
pub fn from_extension(extension: &Extension, istio: IstioVersion, knobs: &Knobs) -> Result<EnvoyFilter, Impossible> {
    let Program::Wasm(wasm) = &extension.spec.program else { return Err(Impossible::Lua) };
    if wasm.kind == PluginKind::Network {
        return Err(Impossible::Network);
    }
    if wasm.image_pull_secret.is_some() {
        return Err(Impossible::Secret);
    }
    let name = format!("{}.{}", extension.metadata.namespace(), extension.metadata.name);
    let plain = Extension { from_wasm_plugin: false, ..extension.clone() };
    let sent = envoy::configuration(&plain, istio, None)?.resource.unwrap_or_default();
    let mut typed = sent.get("typed_config").cloned().unwrap_or_default();
    if let Some(config) = typed.get_mut("config") {
        envoy::without_version(config);
        turn(config, knobs);
    }
    let is_local = typed.pointer("/config/vm_config/code/local").is_some();
    let insert = insertion(extension.spec.phase)?;
    let filter = if is_local {
        json!({ "name": name, "typed_config": typed })
    } else {
        envoy::discovered(&name, PluginKind::Http)
    };
    let mut patches: Vec<_> = places(extension).into_iter().map(|place| insert.at(&place, &filter)).collect();
    if !is_local {
        patches.push(ConfigPatch {
            apply_to: "EXTENSION_CONFIG".to_owned(),
            matches: json!({ "context": "ANY" }),
            patch: Patch { operation: "ADD".to_owned(), value: json!({ "name": name, "typed_config": typed }) },
        });
    }
    let labels =
        extension.spec.selector.as_ref().map(|selector| WorkloadSelector { labels: selector.match_labels.clone() });
    Ok(EnvoyFilter {
        metadata: extension.metadata.clone(),
        spec: EnvoyFilterSpec {
            workload_selector: labels.filter(|selector| !selector.labels.is_empty()),
            target_refs: extension.spec.target_refs.clone(),
            config_patches: patches,
            // Filters of lower priority are inserted first, so that in front of the router the last one stands last.
            priority: extension
                .spec
                .priority
                .filter(|priority| *priority != 0)
                .map(|priority| -priority.max(-i32::MAX)),
        },
    })
}

/// Where in the chain a filter is put.
struct Insertion {
    operation: &'static str,
    before: Option<&'static str>,
}

fn insertion(phase: Phase) -> Result<Insertion, Impossible> {
    match phase {
        Phase::Authn => Ok(Insertion { operation: "INSERT_FIRST", before: None }),
        Phase::Authz => Err(Impossible::Phase),
        Phase::Stats | Phase::Unspecified => {
            Ok(Insertion { operation: "INSERT_BEFORE", before: Some("envoy.filters.http.router") })
        }
    }
}

impl Insertion {
    fn at(&self, place: &Place, filter: &Value) -> ConfigPatch {
        let mut manager = json!({ "name": "envoy.filters.network.http_connection_manager" });
        if let (Some(fields), Some(before)) = (manager.as_object_mut(), self.before) {
            fields.insert("subFilter".into(), json!({ "name": before }));
        }
        let mut listener = json!({ "filterChain": { "filter": manager } });
        if let (Some(fields), Some(port)) = (listener.as_object_mut(), place.port) {
            fields.insert("portNumber".into(), port.into());
        }
        ConfigPatch {
            apply_to: "HTTP_FILTER".to_owned(),
            matches: json!({ "context": place.context, "listener": listener }),
            patch: Patch { operation: self.operation.to_owned(), value: filter.clone() },
        }
    }
}

/// Listeners that a patch is for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    context: &'static str,
    port: Option<u16>,
}

/// The listeners that a plugin sees, in the words of EnvoyFilter.
fn places(extension: &Extension) -> Vec<Place> {
    let mut places = Vec::new();
    let mut add = |mode, port| {
        let contexts: &[&'static str] = match mode {
            TrafficMode::ClientAndServer => &["ANY"],
            TrafficMode::Client => &["SIDECAR_OUTBOUND", "GATEWAY"],
            TrafficMode::Server => &["SIDECAR_INBOUND"],
        };
        places.extend(contexts.iter().map(|context| Place { context, port }));
    };
    if extension.spec.traffic.is_empty() {
        add(TrafficMode::ClientAndServer, None);
    }
    for selector in &extension.spec.traffic {
        if selector.ports.is_empty() {
            add(selector.mode, None);
        }
        for port in &selector.ports {
            add(selector.mode, Some(port.number));
        }
    }
    places
}

fn turn(config: &mut Value, knobs: &Knobs) {
    let Some(fields) = config.as_object_mut() else { return };
    if !knobs.capabilities.is_empty() {
        let allowed: Value = knobs.capabilities.iter().map(|name| (name.clone(), json!({}))).collect();
        fields.insert("capability_restriction_config".into(), json!({ "allowed_capabilities": allowed }));
    }
    if let Some(backoff) = knobs.reload_backoff {
        let base = format!("{}s", backoff.as_secs_f64());
        fields.insert("reload_config".into(), json!({ "backoff": { "base_interval": base } }));
    }
    if let Some(allow) = knobs.allow_on_headers_stop_iteration {
        fields.insert("allow_on_headers_stop_iteration".into(), allow.into());
    }
    if let (Some(id), Some(vm)) = (&knobs.vm_id, fields.get_mut("vm_config").and_then(Value::as_object_mut)) {
        vm.insert("vm_id".into(), id.clone().into());
    }
}
