//! From one kind to another, with a note of everything that does not come along.

use serde_json::{Map, Value};

use crate::envoy::{HTTP_WASM, NETWORK_WASM, PULL_POLICY, RESERVED_ENV};
use crate::envoy_filter::{ConfigPatch, EnvoyFilter};
use crate::resource::{
    EnvSource, EnvVar, Extension, FailStrategy, Metadata, Phase, PluginKind, Port, Program, PullPolicy, Selector,
    TrafficExtensionSpec, TrafficMode, TrafficSelector, VmConfig, Wasm,
};

#[cfg(test)]
mod tests;

/// What becomes of an EnvoyFilter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// The plugins in it.
    pub extensions: Vec<Extension>,
    /// What stays behind, a sentence each.
    pub notes: Vec<String>,
    /// What is left of the EnvoyFilter; nothing if every patch became part of a plugin.
    pub rest: Option<EnvoyFilter>,
}

/// Metadata without what only a cluster sets, so that the result can be applied anew.
#[must_use]
pub fn fresh(metadata: &Metadata) -> Metadata {
    let mut fresh = Metadata { resource_version: None, creation_timestamp: None, ..metadata.clone() };
    fresh.annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    fresh
}

/// Takes the Wasm plugins out of an EnvoyFilter: filters with a module in themselves, and those that are discovered,
/// with the patch that configures them.
#[must_use]
pub fn from_envoy_filter(filter: &EnvoyFilter) -> Migrated {
    let mut migration = Migration { filter, notes: Vec::new(), extensions: Vec::new() };
    let patches = &filter.spec.config_patches;
    let mut used = vec![false; patches.len()];
    for (place, patch) in patches.iter().enumerate() {
        let Some(name) = patch.name().filter(|_| patch.is_insertion()) else { continue };
        let configured = match patch.typed_config() {
            Some(typed) => Some((typed, place)),
            None => patches.iter().enumerate().find_map(|(other, patch)| {
                let same = patch.apply_to == "EXTENSION_CONFIG" && patch.name() == Some(name);
                Some((patch.typed_config().filter(|_| same)?, other))
            }),
        };
        let Some((typed, configuration)) = configured else { continue };
        if migration.plugin(name, patch, typed) {
            for place in [place, configuration] {
                if let Some(used) = used.get_mut(place) {
                    *used = true;
                }
            }
        }
    }
    let left: Vec<_> = patches.iter().zip(used).filter(|(_, used)| !used).map(|(patch, _)| patch.clone()).collect();
    let Migration { notes, extensions, .. } = migration;
    let rest = (!left.is_empty()).then(|| {
        let mut rest = filter.clone();
        rest.metadata = fresh(&filter.metadata);
        rest.spec.config_patches = left;
        rest
    });
    Migrated { extensions, notes, rest }
}

impl ConfigPatch {
    fn name(&self) -> Option<&str> {
        self.patch.value.get("name")?.as_str()
    }

    fn is_insertion(&self) -> bool {
        matches!(self.apply_to.as_str(), "HTTP_FILTER" | "NETWORK_FILTER")
            && (self.patch.operation.starts_with("INSERT") || self.patch.operation == "ADD")
    }

    /// The configuration, if it is that of a Wasm filter.
    fn typed_config(&self) -> Option<&Value> {
        let typed = self.patch.value.get("typed_config")?;
        let kind = typed.get("@type")?.as_str()?;
        (kind == HTTP_WASM || kind == NETWORK_WASM).then_some(typed)
    }
}

struct Migration<'a> {
    filter: &'a EnvoyFilter,
    notes: Vec<String>,
    extensions: Vec<Extension>,
}

impl Migration<'_> {
    /// Adds a plugin, or another place of one that is known; false if it cannot be one.
    fn plugin(&mut self, name: &str, patch: &ConfigPatch, typed: &Value) -> bool {
        let Some(config) = typed.get("config") else { return false };
        let kind = if patch.apply_to == "NETWORK_FILTER" { PluginKind::Network } else { PluginKind::Http };
        let wasm = match wasm(config, kind) {
            Ok(wasm) => wasm,
            Err(reason) => {
                self.notes.push(format!("the filter `{name}` stays: {reason}"));
                return false;
            }
        };
        self.lost(name, config);
        let traffic = traffic(patch);
        let phase = if patch.patch.operation == "INSERT_FIRST" { Phase::Authn } else { Phase::Unspecified };
        let known = self.extensions.iter_mut().find(|other| other.wasm() == Some(&wasm) && other.spec.phase == phase);
        if let Some(known) = known {
            widen(&mut known.spec.traffic, traffic);
            return true;
        }
        let place = match phase {
            Phase::Authn => {
                "phase AUTHN stands after Istio's metadata exchange and external authorization, not first of all"
            }
            _ => {
                "no phase stands right before the router: the plugin now comes before Istio's faults, CORS and \
                    telemetry"
            }
        };
        self.notes.push(format!("the filter `{name}` moves: {place}"));
        let mut metadata = fresh(&self.filter.metadata);
        if !self.extensions.is_empty() {
            metadata.name = format!("{}-{}", metadata.name, self.extensions.len() + 1);
        }
        let selector = self.filter.spec.workload_selector.as_ref();
        self.extensions.push(Extension {
            metadata,
            spec: TrafficExtensionSpec {
                selector: selector.map(|selector| Selector { match_labels: selector.labels.clone() }),
                target_refs: self.filter.spec.target_refs.clone(),
                phase,
                priority: Some(
                    self.filter.spec.priority.map_or(0, |priority| priority.checked_neg().unwrap_or(i32::MAX)),
                ),
                traffic,
                program: Program::Wasm(wasm),
            },
            from_wasm_plugin: false,
        });
        true
    }

    /// Notes what has no field in a TrafficExtension.
    fn lost(&mut self, name: &str, config: &Value) {
        let knobs = ["capability_restriction_config", "reload_config", "allow_on_headers_stop_iteration"];
        let vm_knobs =
            ["vm_id", "configuration", "allow_precompiled", "nack_on_code_cache_miss", "capability_restriction_config"];
        let has = |value: &Value, name: &&&str| value.get(**name).is_some_and(|value| !value.is_null());
        let vm = config.get("vm_config").unwrap_or(&Value::Null);
        let lost = knobs.iter().filter(|name| has(config, name)).chain(vm_knobs.iter().filter(|name| has(vm, name)));
        for field in lost {
            self.notes.push(format!("the filter `{name}` loses `{field}`: a TrafficExtension has no such field"));
        }
    }
}

/// The module of Envoy's `PluginConfig`.
fn wasm(config: &Value, kind: PluginKind) -> Result<Wasm, String> {
    let text = |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let vm = config.get("vm_config").unwrap_or(&Value::Null);
    let url = match (text(vm, "/code/local/filename"), text(vm, "/code/remote/http_uri/uri")) {
        (Some(file), _) if file.starts_with('/') => format!("file://{file}"),
        (Some(file), _) => return Err(format!("its file `{file}` is relative")),
        (None, Some(uri)) => uri,
        (None, None) => return Err("its module is neither a file nor an address".to_owned()),
    };
    let open = config.get("fail_open").and_then(Value::as_bool).unwrap_or_default();
    let fail_strategy = match config.get("failure_policy").and_then(Value::as_str) {
        Some("FAIL_OPEN") => FailStrategy::FailOpen,
        Some("FAIL_RELOAD") => FailStrategy::FailReload,
        _ if open => FailStrategy::FailOpen,
        _ => FailStrategy::FailClose,
    };
    let variables = vm.get("environment_variables").unwrap_or(&Value::Null);
    let env = environment(variables);
    let policy = variables.get("key_values").and_then(|values| values.get(PULL_POLICY)).and_then(Value::as_str);
    let image_pull_policy = [PullPolicy::IfNotPresent, PullPolicy::Always].into_iter().find(|one| one.word() == policy);
    Ok(Wasm {
        url,
        sha256: text(vm, "/code/remote/sha256").unwrap_or_default(),
        image_pull_policy: image_pull_policy.unwrap_or_default(),
        plugin_config: configuration(config.get("configuration").unwrap_or(&Value::Null))?,
        plugin_name: text(config, "/root_id").unwrap_or_default(),
        fail_strategy,
        vm_config: (!env.is_empty()).then_some(VmConfig { env }),
        kind,
        ..Wasm::default()
    })
}

/// The configuration, which must be a JSON object to be one in a TrafficExtension.
fn configuration(any: &Value) -> Result<Option<Map<String, Value>>, String> {
    let kind = any.get("@type").and_then(Value::as_str).unwrap_or_default();
    let value = any.get("value");
    match (kind.rsplit('.').next().unwrap_or_default(), value) {
        ("StringValue", Some(Value::String(text))) if text.trim().is_empty() => Ok(None),
        ("StringValue", Some(Value::String(text))) => serde_json::from_str(text)
            .map(Some)
            .map_err(|_| "its configuration is no JSON object, and `pluginConfig` can be nothing else".to_owned()),
        ("Struct", Some(Value::Object(fields))) => Ok(Some(fields.clone())),
        (_, None) if kind.is_empty() => Ok(None),
        _ => Err(format!("its configuration has the type `{kind}`")),
    }
}

fn environment(variables: &Value) -> Vec<EnvVar> {
    let own = variables.get("key_values").and_then(Value::as_object).into_iter().flatten();
    // What begins so is for the agent, not for the plugin.
    let own = own.filter(|(name, _)| !name.starts_with(RESERVED_ENV)).map(|(name, value)| EnvVar {
        name: name.clone(),
        value_from: EnvSource::Inline,
        value: Some(value.as_str().unwrap_or_default().to_owned()),
    });
    let host = variables.get("host_env_keys").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let host = host.map(|name| EnvVar { name: name.to_owned(), value_from: EnvSource::Host, value: None });
    own.chain(host).collect()
}

/// What a patch matches, as `match`; nothing if it is everything.
fn traffic(patch: &ConfigPatch) -> Vec<TrafficSelector> {
    let mode = match patch.matches.get("context").and_then(Value::as_str) {
        Some("SIDECAR_INBOUND") => TrafficMode::Server,
        Some("SIDECAR_OUTBOUND" | "GATEWAY") => TrafficMode::Client,
        _ => TrafficMode::ClientAndServer,
    };
    let port = patch.matches.pointer("/listener/portNumber").and_then(Value::as_u64);
    let ports: Vec<_> =
        port.and_then(|port| u16::try_from(port).ok()).map(|number| Port { number }).into_iter().collect();
    if mode == TrafficMode::ClientAndServer && ports.is_empty() {
        return Vec::new();
    }
    vec![TrafficSelector { mode, ports }]
}

/// Adds places where the same plugin stands; no entry at all is everywhere.
fn widen(known: &mut Vec<TrafficSelector>, more: Vec<TrafficSelector>) {
    if known.is_empty() || more.is_empty() {
        known.clear();
        return;
    }
    for selector in more {
        if !known.contains(&selector) {
            known.push(selector);
        }
    }
}
