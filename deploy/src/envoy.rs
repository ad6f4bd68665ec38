//! The Envoy configuration that istiod makes of a plugin, and what the agent makes of that before Envoy sees it.

use serde_json::{Map, Value, json};

use crate::go_url::NotUrl;
use crate::resource::{EnvSource, Extension, FailStrategy, PluginKind, Program, Wasm};
use crate::source::Source;
use crate::version::IstioVersion;

#[cfg(test)]
mod tests;

/// What begins the names of variables that istiod and the agent exchange.
pub const RESERVED_ENV: &str = "ISTIO_META_";

const PULL_SECRET: &str = "ISTIO_META_WASM_IMAGE_PULL_SECRET";
pub(crate) const PULL_POLICY: &str = "ISTIO_META_WASM_IMAGE_PULL_POLICY";
const RESOURCE_VERSION: &str = "ISTIO_META_WASM_PLUGIN_RESOURCE_VERSION";

/// The type of configurations of Wasm filters for requests.
pub const HTTP_WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
/// The type of configurations of Wasm filters for connections.
pub const NETWORK_WASM: &str = "type.googleapis.com/envoy.extensions.filters.network.wasm.v3.Wasm";
pub(crate) const HTTP_RBAC: &str = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC";
const NETWORK_RBAC: &str = "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC";
const LUA: &str = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua";
const STRING_VALUE: &str = "type.googleapis.com/google.protobuf.StringValue";

/// Why istiod sends nothing for a plugin. It says so in its log alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("istiod cannot read the url when it builds the configuration, and drops the plugin: {0}")]
pub struct Dropped(#[from] pub NotUrl);

/// What istiod sends for a plugin.
#[derive(Debug, Clone, PartialEq)]
pub struct Configuration {
    /// The filter in the listener.
    pub filter: Value,
    /// The resource of the extension discovery service (ECDS) that the filter asks for; a Lua script has none.
    pub resource: Option<Value>,
}

/// What istiod sends for a plugin. `pull_secret` is the Docker configuration in the Secret that the plugin names; none
/// if that is missing, of another type, or out of istiod's reach.
pub fn configuration(
    extension: &Extension,
    istio: IstioVersion,
    pull_secret: Option<&str>,
) -> Result<Configuration, Dropped> {
    let name = extension.resource_name(istio);
    let wasm = match &extension.spec.program {
        Program::Wasm(wasm) => wasm,
        Program::Lua(lua) => {
            let typed = json!({ "@type": LUA, "default_source_code": { "inline_string": lua.inline_code } });
            return Ok(Configuration { filter: json!({ "name": name, "typed_config": typed }), resource: None });
        }
    };
    let config = plugin(extension, wasm, istio, pull_secret)?;
    Ok(Configuration {
        filter: discovered(&name, wasm.kind),
        resource: Some(json!({ "name": name, "typed_config": { "@type": wasm_type(wasm.kind), "config": config } })),
    })
}

/// A filter whose configuration comes over ECDS: a plugin, or the fallback that the agent puts in its place.
pub(crate) fn discovered(name: &str, kind: PluginKind) -> Value {
    json!({
        "name": name,
        "config_discovery": {
            "config_source": { "ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3" },
            "type_urls": [wasm_type(kind), rbac_type(kind)],
        },
    })
}

/// Envoy's `PluginConfig`.
fn plugin(
    extension: &Extension,
    wasm: &Wasm,
    istio: IstioVersion,
    pull_secret: Option<&str>,
) -> Result<Value, Dropped> {
    let mut config = Map::new();
    config.insert("name".into(), extension.plugin_name(istio).into());
    if !wasm.plugin_name.is_empty() {
        config.insert("root_id".into(), wasm.plugin_name.clone().into());
    }
    let mut vm = Map::new();
    vm.insert("runtime".into(), "envoy.wasm.runtime.v8".into());
    vm.insert("code".into(), code(wasm)?);
    vm.insert("environment_variables".into(), environment(extension, wasm, pull_secret));
    config.insert("vm_config".into(), vm.into());
    config.insert("configuration".into(), wasm.plugin_config.as_ref().map_or_else(|| json!({}), string_value));
    config.insert("failure_policy".into(), wasm.fail_strategy.policy().into());
    Ok(config.into())
}

fn code(wasm: &Wasm) -> Result<Value, Dropped> {
    Ok(match Source::resolve(&wasm.url)? {
        Source::Local { filename } => json!({ "local": { "filename": filename } }),
        Source::Remote(remote) => {
            let mut code = json!({ "http_uri": { "uri": remote.uri, "cluster": "_", "timeout": "30s" } });
            if let Some(fields) = code.as_object_mut().filter(|_| !wasm.sha256.is_empty()) {
                fields.insert("sha256".into(), wasm.sha256.clone().into());
            }
            json!({ "remote": code })
        }
    })
}

/// What istiod tells the agent, and what the plugin asked for. The latter cannot change the former: the agent reads its
/// own names only.
fn environment(extension: &Extension, wasm: &Wasm, pull_secret: Option<&str>) -> Value {
    let mut values = Map::new();
    if wasm.image_pull_secret.is_some() {
        values.insert(PULL_SECRET.into(), pull_secret.unwrap_or_default().into());
    }
    if let Some(policy) = wasm.image_pull_policy.word() {
        values.insert(PULL_POLICY.into(), policy.into());
    }
    let version = extension.metadata.resource_version.as_deref().unwrap_or_default();
    values.insert(RESOURCE_VERSION.into(), version.into());
    let mut host = Vec::new();
    for variable in wasm.env() {
        match variable.value_from {
            EnvSource::Inline => {
                values.insert(variable.name.clone(), variable.value.clone().unwrap_or_default().into());
            }
            EnvSource::Host => host.push(Value::from(variable.name.clone())),
        }
    }
    let mut environment = json!({ "key_values": values });
    if let Some(fields) = environment.as_object_mut().filter(|_| !host.is_empty()) {
        fields.insert("host_env_keys".into(), host.into());
    }
    environment
}

/// The configuration as the plugin gets it: JSON text in a protobuf message.
fn string_value(config: &Map<String, Value>) -> Value {
    json!({ "@type": STRING_VALUE, "value": configuration_text(config) })
}

/// The text that a plugin is configured with. It went through a protobuf `Struct`, so every number is a double (whole
/// ones beyond 2^53 lose digits) and fields are sorted by name.
#[must_use]
pub fn configuration_text(config: &Map<String, Value>) -> String {
    let mut sorted: Vec<_> = config.iter().collect();
    sorted.sort_by_key(|(name, _)| name.as_str());
    Value::from_iter(sorted.into_iter().map(|(name, value)| (name.clone(), doubled(value)))).to_string()
}

fn doubled(value: &Value) -> Value {
    match value {
        Value::Number(number) => double(number),
        Value::Array(items) => items.iter().map(doubled).collect(),
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(name, _)| name.as_str());
            sorted.into_iter().map(|(name, value)| (name.clone(), doubled(value))).collect()
        }
        other => other.clone(),
    }
}

/// A number as a double that prints like an integer where it is one, as Go prints it.
fn double(number: &serde_json::Number) -> Value {
    let Some(double) = number.as_f64() else { return number.clone().into() };
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and in range")]
    if double.fract() == 0.0 && double.abs() < 9e18 { Value::from(double as i64) } else { Value::from(double) }
}

/// What Envoy sees once the agent has the module at `filename`: the file instead of the address, and no variable of
/// Istio's. Files in the proxy's container pass unchanged, with Istio's variables in the plugin's sight.
#[must_use]
pub fn fetched(resource: &Value, filename: &str) -> Value {
    let mut resource = resource.clone();
    let Some(vm) = resource.pointer_mut("/typed_config/config/vm_config").and_then(Value::as_object_mut) else {
        return resource;
    };
    let remote = vm.get("code").is_some_and(|code| code.get("remote").is_some());
    if !remote {
        return resource;
    }
    vm.insert("code".into(), json!({ "local": { "filename": filename } }));
    retain_env(vm, |name| !name.starts_with(RESERVED_ENV));
    resource
}

/// Keeps the variables whose names are wanted, and no empty mapping where none is left.
fn retain_env(vm: &mut Map<String, Value>, wanted: impl Fn(&str) -> bool) {
    let Some(environment) = vm.get_mut("environment_variables").and_then(Value::as_object_mut) else { return };
    if let Some(values) = environment.get_mut("key_values").and_then(Value::as_object_mut) {
        values.retain(|name, _| wanted(name));
        if values.is_empty() {
            environment.remove("key_values");
        }
    }
    if environment.is_empty() {
        vm.remove("environment_variables");
    }
}

/// Takes out what only istiod can know, for a configuration that does not come from it.
pub(crate) fn without_version(config: &mut Value) {
    if let Some(vm) = config.get_mut("vm_config").and_then(Value::as_object_mut) {
        retain_env(vm, |name| name != RESOURCE_VERSION);
    }
}

/// What Envoy sees when the agent cannot have the module (Istio 1.25 and later): a filter that refuses every request
/// with `403 RBAC: access denied`, or for `FAIL_OPEN` one that lets every request pass.
#[must_use]
pub fn fallback(name: &str, kind: PluginKind, strategy: FailStrategy) -> Value {
    let open = strategy == FailStrategy::FailOpen;
    let prefix = if open { "wasm-default-allow" } else { "wasm-default-deny" };
    let mut typed = json!({ "@type": rbac_type(kind) });
    if let Some(fields) = typed.as_object_mut() {
        if !open {
            fields.insert("rules".into(), json!({}));
        }
        match kind {
            PluginKind::Http if open => None,
            PluginKind::Http => fields.insert("rules_stat_prefix".into(), prefix.into()),
            PluginKind::Network => fields.insert("stat_prefix".into(), prefix.into()),
        };
    }
    json!({ "name": name, "typed_config": typed })
}

fn wasm_type(kind: PluginKind) -> &'static str {
    match kind {
        PluginKind::Http => HTTP_WASM,
        PluginKind::Network => NETWORK_WASM,
    }
}

fn rbac_type(kind: PluginKind) -> &'static str {
    match kind {
        PluginKind::Http => HTTP_RBAC,
        PluginKind::Network => NETWORK_RBAC,
    }
}
