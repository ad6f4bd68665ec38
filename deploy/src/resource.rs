//! WasmPlugin and TrafficExtension as types, and the one form that istiod brings both into.
//!
//! Words that mean "not given" (`UNSPECIFIED_PHASE`, `UNDEFINED`, `""`) are read as their default and never written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

mod extension;
#[cfg(test)]
mod tests;

pub use extension::{Extension, TRANSLATED};

/// The group and version of both kinds.
pub const API_VERSION: &str = "extensions.istio.io/v1alpha1";

/// The namespace of a resource that names none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// What every Kubernetes object says about itself; fields that only the API server sets are left out, but for those
/// that decide about order and reload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its namespace; `default` if it says none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Labels.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Changes with every edit of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
    /// When it was created, as RFC 3339 in UTC; such texts sort by time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<String>,
}

impl Metadata {
    /// The namespace that it lives in; one without a name is none.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().filter(|name| !name.is_empty()).unwrap_or(DEFAULT_NAMESPACE)
    }
}

/// A WasmPlugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WasmPlugin {
    /// Who it is.
    #[serde(default)]
    pub metadata: Metadata,
    /// What it wants.
    pub spec: WasmPluginSpec,
}

/// What a WasmPlugin wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WasmPluginSpec {
    /// The pods that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// The deprecated form of one target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
    /// The gateways and services that it is for.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Vec::is_empty")]
    pub target_refs: Vec<TargetRef>,
    /// Where in the chain it stands.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "is_default")]
    pub phase: Phase,
    /// Higher ones come first within a phase; none at all comes last of all, after negative ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// The traffic that it sees; all of it if empty.
    #[serde(default, rename = "match", deserialize_with = "given", skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<TrafficSelector>,
    /// The module.
    #[serde(flatten)]
    pub wasm: Wasm,
}

/// A TrafficExtension (Istio 1.30 or later).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficExtension {
    /// Who it is.
    #[serde(default)]
    pub metadata: Metadata,
    /// What it wants.
    pub spec: TrafficExtensionSpec,
}

/// What a TrafficExtension wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficExtensionSpec {
    /// The pods that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// The gateways and services that it is for.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Vec::is_empty")]
    pub target_refs: Vec<TargetRef>,
    /// Where in the chain it stands.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "is_default")]
    pub phase: Phase,
    /// Higher ones come first within a phase; none at all comes last of all, after negative ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// The traffic that it sees; all of it if empty.
    #[serde(default, rename = "match", deserialize_with = "given", skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<TrafficSelector>,
    /// What runs.
    #[serde(flatten)]
    pub program: Program,
}

/// What a TrafficExtension runs: one of the two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Program {
    /// A Wasm module.
    Wasm(Wasm),
    /// A Lua script.
    Lua(Lua),
}

/// A Lua script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lua {
    /// The script, 1 to 65536 bytes.
    pub inline_code: String,
}

/// A Wasm module and how it is run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wasm {
    /// Where it comes from; see [`Source`](crate::source::Source).
    pub url: String,
    /// Hexadecimal digits: of an image the digest of its manifest, of an HTTP source that of the module.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "String::is_empty")]
    pub sha256: String,
    /// When a proxy asks for it again.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "is_default")]
    pub image_pull_policy: PullPolicy,
    /// The Secret with the registry's credentials, in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_secret: Option<String>,
    /// Accepted and never read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification_key: Option<String>,
    /// What the plugin is configured with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_config: Option<Map<String, Value>>,
    /// Envoy's `root_id`: which plugin of the module is meant.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "String::is_empty")]
    pub plugin_name: String,
    /// What becomes of requests when it fails.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "is_default")]
    pub fail_strategy: FailStrategy,
    /// Its environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_config: Option<VmConfig>,
    /// Which kind of filter it is.
    #[serde(default, rename = "type", deserialize_with = "given", skip_serializing_if = "is_default")]
    pub kind: PluginKind,
}

impl Wasm {
    /// Its environment variables.
    #[must_use]
    pub fn env(&self) -> &[EnvVar] {
        self.vm_config.as_ref().map(|config| config.env.as_slice()).unwrap_or_default()
    }
}

/// Pods by their labels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// Labels that a pod must have; every pod if empty.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
}

/// A gateway or service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetRef {
    /// The API group; empty or `core` for a Service.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// `Gateway`, `GatewayClass`, `Service` or `ServiceEntry`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// Traffic by direction and port; what is not given holds for all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficSelector {
    /// The direction.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "is_default")]
    pub mode: TrafficMode,
    /// One of these ports.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
}

/// A port, 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Its number.
    pub number: u16,
}

/// Which side of a connection the proxy stands on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TrafficMode {
    /// Both.
    #[default]
    #[serde(alias = "UNDEFINED")]
    ClientAndServer,
    /// Outbound, and gateways.
    Client,
    /// Inbound, and waypoints.
    Server,
}

/// Where in the chain of filters a plugin stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Phase {
    /// Before Istio's authentication, after an external authorizer.
    Authn,
    /// Between Istio's authentication and authorization.
    Authz,
    /// After Istio's authorization, before its telemetry.
    Stats,
    /// Right after `STATS`.
    #[default]
    #[serde(alias = "UNSPECIFIED_PHASE")]
    Unspecified,
}

impl Phase {
    /// All of them, in the order of a request.
    pub const ALL: [Self; 4] = [Self::Authn, Self::Authz, Self::Stats, Self::Unspecified];
}

/// When a proxy asks for a module again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PullPolicy {
    /// `Always` for images whose address ends with `:latest`, else `IfNotPresent`.
    #[default]
    #[serde(rename = "UNSPECIFIED_POLICY")]
    Unspecified,
    /// Only if it is not in the cache.
    IfNotPresent,
    /// At each change of the resource.
    Always,
}

impl PullPolicy {
    /// The word of the API; nothing if it was not given.
    #[must_use]
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Unspecified => None,
            Self::IfNotPresent => Some("IfNotPresent"),
            Self::Always => Some("Always"),
        }
    }
}

/// What becomes of requests when a plugin fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FailStrategy {
    /// They are refused.
    #[default]
    FailClose,
    /// They pass without the plugin.
    FailOpen,
    /// The plugin is started again (Istio 1.27 or later).
    FailReload,
}

impl FailStrategy {
    /// Envoy's `failure_policy`.
    #[must_use]
    pub fn policy(self) -> &'static str {
        match self {
            Self::FailClose => "FAIL_CLOSED",
            Self::FailOpen => "FAIL_OPEN",
            Self::FailReload => "FAIL_RELOAD",
        }
    }
}

/// Which kind of filter a plugin is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum PluginKind {
    /// For requests.
    #[default]
    #[serde(alias = "UNSPECIFIED_PLUGIN_TYPE")]
    Http,
    /// For connections.
    Network,
}

/// How the module's VM is set up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmConfig {
    /// Environment variables.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
}

/// An environment variable of a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvVar {
    /// Its name.
    pub name: String,
    /// Where its value comes from.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "is_default")]
    pub value_from: EnvSource,
    /// The value, if it is given here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// Where the value of an environment variable comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum EnvSource {
    /// The resource.
    #[default]
    Inline,
    /// The environment of the proxy.
    Host,
}

/// Reads `null` as the default, as Kubernetes does where a field was left empty.
fn given<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
