//! Rules about the module and its configuration.

use super::{Findings, KnownModule, Plugin, Surroundings, config, rule};
use crate::finding;
use crate::yaml::{Node, Value};

/// What the agent reads at most, unless `ISTIO_WASM_MAX_BINARY_SIZE_BYTES` says otherwise.
pub(super) const LARGEST: u64 = 256 << 20;

/// The first whole number that a double cannot tell from its neighbour.
const EXACT: f64 = 9_007_199_254_740_992.0;

pub(super) fn check(plugin: &Plugin<'_>, surroundings: &Surroundings, findings: &mut Findings) {
    let Some((wasm, path)) = plugin.wasm else { return };
    let configuration = wasm.get("pluginConfig");
    let config_path = finding::field(path, "pluginConfig");
    if let Some(node) = configuration {
        integers(node, &config_path, findings);
    }
    let Some(module) = known(plugin, surroundings) else { return };
    let url = wasm.get("url").unwrap_or(wasm);
    let url_path = finding::field(path, "url");
    if module.size > LARGEST {
        let message = format!(
            "{} bytes are more than the agent reads ({LARGEST}): it would cut the module off without a word",
            module.size
        );
        findings.add(&rule::MODULE_SIZE, url.at, url_path.clone(), message);
    }
    if module.is_component {
        let message = "this is a component: the agent passes it on, and Envoy cannot load it";
        findings.add(&rule::MODULE_COMPONENT, url.at, url_path, message);
    }
    let schema = module.schema.as_ref();
    if let Some(schema) = schema.and_then(|schema| config::of_plugin(schema, plugin.wasm_text("pluginName"))) {
        let nothing = Node { value: Value::Map(Vec::new()), at: wasm.at };
        findings.0.extend(config::check(configuration.unwrap_or(&nothing), schema, &config_path));
    }
}

fn known<'a>(plugin: &Plugin<'_>, surroundings: &'a Surroundings) -> Option<&'a KnownModule> {
    let url = plugin.wasm_text("url");
    let exact = surroundings.modules.iter().find(|module| module.url.as_deref() == Some(url));
    exact.or_else(|| surroundings.modules.iter().find(|module| module.url.is_none()))
}

fn integers(node: &Node, path: &str, findings: &mut Findings) {
    if let Value::Number(number) = &node.value
        && !number.is_f64()
        && number.as_f64().is_some_and(|value| value.abs() >= EXACT)
    {
        let message = format!("`{number}` reaches the plugin as a double, which cannot tell it from its neighbours");
        findings.add(&rule::CONFIG_INTEGER, node.at, path, message);
    }
    for (place, item) in node.items().iter().enumerate() {
        integers(item, &finding::member(path, place), findings);
    }
    for entry in node.entries() {
        integers(&entry.value, &finding::field(path, &entry.key), findings);
    }
}
