//! The form that istiod brings WasmPlugins and TrafficExtensions into before it sorts and translates them.

use super::{Metadata, Program, TargetRef, TrafficExtension, TrafficExtensionSpec, Wasm, WasmPlugin};
use crate::version::IstioVersion;

/// What istiod 1.30 and later puts behind the name of a WasmPlugin when it makes a TrafficExtension of it.
pub const TRANSLATED: &str = "~istio-translated-wasmplugin";

/// A plugin, whichever resource it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// Who it is, with the name that its author gave it.
    pub metadata: Metadata,
    /// What it wants.
    pub spec: TrafficExtensionSpec,
    /// Whether it was written as a WasmPlugin.
    pub from_wasm_plugin: bool,
}

impl From<TrafficExtension> for Extension {
    fn from(resource: TrafficExtension) -> Self {
        Self { metadata: resource.metadata, spec: resource.spec, from_wasm_plugin: false }
    }
}

impl From<WasmPlugin> for Extension {
    fn from(resource: WasmPlugin) -> Self {
        Self { metadata: resource.metadata, spec: resource.spec.into(), from_wasm_plugin: true }
    }
}

/// The single target becomes a list, unless there is one already.
impl From<super::WasmPluginSpec> for TrafficExtensionSpec {
    fn from(spec: super::WasmPluginSpec) -> Self {
        let targets =
            if spec.target_refs.is_empty() { spec.target_ref.into_iter().collect() } else { spec.target_refs };
        Self {
            selector: spec.selector,
            target_refs: targets,
            phase: spec.phase,
            priority: spec.priority,
            traffic: spec.traffic,
            program: Program::Wasm(spec.wasm),
        }
    }
}

impl Extension {
    /// A plugin from that address, with nothing else said.
    #[must_use]
    pub fn new(metadata: Metadata, url: impl Into<String>) -> Self {
        let spec = super::WasmPluginSpec {
            selector: None,
            target_ref: None,
            target_refs: Vec::new(),
            phase: super::Phase::default(),
            priority: None,
            traffic: Vec::new(),
            wasm: Wasm { url: url.into(), ..Wasm::default() },
        };
        Self { metadata, spec: spec.into(), from_wasm_plugin: false }
    }

    /// The module, if it is not a script.
    #[must_use]
    pub fn wasm(&self) -> Option<&Wasm> {
        match &self.spec.program {
            Program::Wasm(wasm) => Some(wasm),
            Program::Lua(_) => None,
        }
    }

    /// The gateways and services that it is for.
    #[must_use]
    pub fn targets(&self) -> &[TargetRef] {
        &self.spec.target_refs
    }

    /// The plugin's name in Envoy, which it can read as the property `plugin_name`, and which stands in logs and
    /// statistics: `<namespace>.<name>`, with the tail [`TRANSLATED`] for a WasmPlugin under Istio 1.30 and later.
    #[must_use]
    pub fn plugin_name(&self, istio: IstioVersion) -> String {
        format!("{}.{}{}", self.metadata.namespace(), self.metadata.name, self.tail(istio))
    }

    /// The name of the filter and of the resource that configures it.
    #[must_use]
    pub fn resource_name(&self, istio: IstioVersion) -> String {
        format!("{}{}", istio.resource_prefix(), self.plugin_name(istio))
    }

    /// The name under which it is sorted.
    pub(crate) fn sort_name(&self) -> String {
        format!("{}{}", self.metadata.name, self.tail(IstioVersion::LATEST))
    }

    fn tail(&self, istio: IstioVersion) -> &'static str {
        if self.from_wasm_plugin && istio.has_traffic_extension() { TRANSLATED } else { "" }
    }
}
