//! Resources as YAML, ready to apply.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::envoy_filter::{self, EnvoyFilter};
use crate::resource::{self, Extension, Metadata, Program, TrafficExtension, WasmPlugin, WasmPluginSpec};

/// Something that can be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// A WasmPlugin.
    WasmPlugin(WasmPlugin),
    /// A TrafficExtension.
    TrafficExtension(TrafficExtension),
    /// An EnvoyFilter.
    EnvoyFilter(EnvoyFilter),
    /// The credentials of a registry.
    Secret(Secret),
    /// A module small enough for a ConfigMap.
    ConfigMap(ConfigMap),
}

/// A Secret of the type `kubernetes.io/dockerconfigjson`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// Who it is.
    pub metadata: Metadata,
    /// The Docker configuration.
    pub docker_config: String,
}

/// Credentials are not for logs.
impl std::fmt::Debug for Secret {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Secret").field("metadata", &self.metadata).finish_non_exhaustive()
    }
}

/// A ConfigMap with one file, in base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigMap {
    /// Who it is.
    pub metadata: Metadata,
    /// The name of the file.
    pub file: String,
    /// What is in it, in base64.
    pub base64: String,
}

/// Something that YAML cannot say. No resource of this crate is of that kind.
#[derive(Debug, thiserror::Error)]
#[error("the resource cannot be written as YAML: {0}")]
pub struct NotYaml(String);

/// The resources as the documents of one text, in their order.
pub fn yaml<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> Result<String, NotYaml> {
    let mut text = String::new();
    for resource in resources {
        if !text.is_empty() {
            text.push_str("---\n");
        }
        text.push_str(&resource.yaml()?);
    }
    Ok(text)
}

impl Resource {
    /// Its name and namespace.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        match self {
            Self::WasmPlugin(it) => &it.metadata,
            Self::TrafficExtension(it) => &it.metadata,
            Self::EnvoyFilter(it) => &it.metadata,
            Self::Secret(it) => &it.metadata,
            Self::ConfigMap(it) => &it.metadata,
        }
    }

    fn yaml(&self) -> Result<String, NotYaml> {
        match self {
            Self::WasmPlugin(it) => object(resource::API_VERSION, "WasmPlugin", &it.metadata, Some(&it.spec), []),
            Self::TrafficExtension(it) => {
                object(resource::API_VERSION, "TrafficExtension", &it.metadata, Some(&it.spec), [])
            }
            Self::EnvoyFilter(it) => object(envoy_filter::API_VERSION, "EnvoyFilter", &it.metadata, Some(&it.spec), []),
            Self::Secret(it) => {
                let data = Value::from_iter([(".dockerconfigjson".to_owned(), Value::from(it.docker_config.clone()))]);
                let kind = Value::from("kubernetes.io/dockerconfigjson");
                object::<()>("v1", "Secret", &it.metadata, None, [("type", kind), ("stringData", data)])
            }
            Self::ConfigMap(it) => {
                let data = Value::from_iter([(it.file.clone(), Value::from(it.base64.clone()))]);
                object::<()>("v1", "ConfigMap", &it.metadata, None, [("binaryData", data)])
            }
        }
    }
}

/// A Kubernetes object, its fields in the order that people expect.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Object<'a, S> {
    api_version: &'a str,
    kind: &'a str,
    metadata: &'a Metadata,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<&'a S>,
    #[serde(flatten)]
    more: BTreeMap<&'a str, Value>,
}

fn object<S: Serialize>(
    api_version: &str,
    kind: &str,
    metadata: &Metadata,
    spec: Option<&S>,
    more: impl IntoIterator<Item = (&'static str, Value)>,
) -> Result<String, NotYaml> {
    let object = Object { api_version, kind, metadata, spec, more: more.into_iter().collect() };
    // Folding long lines would put line breaks into urls and base64 that readers of YAML must take out again.
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(&object, options).map_err(|error| NotYaml(error.to_string()))
}

/// A plugin cannot be the other kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a WasmPlugin cannot hold a Lua script; it needs a TrafficExtension, and Istio 1.30")]
pub struct NoWasm;

impl Extension {
    /// The plugin as a TrafficExtension.
    #[must_use]
    pub fn into_traffic_extension(self) -> Resource {
        Resource::TrafficExtension(TrafficExtension { metadata: self.metadata, spec: self.spec })
    }

    /// The plugin as a WasmPlugin.
    pub fn into_wasm_plugin(self) -> Result<Resource, NoWasm> {
        let spec = self.spec;
        let Program::Wasm(wasm) = spec.program else { return Err(NoWasm) };
        let spec = WasmPluginSpec {
            selector: spec.selector,
            target_ref: None,
            target_refs: spec.target_refs,
            phase: spec.phase,
            priority: spec.priority,
            traffic: spec.traffic,
            wasm,
        };
        Ok(Resource::WasmPlugin(WasmPlugin { metadata: self.metadata, spec }))
    }
}
