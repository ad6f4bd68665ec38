//! Rules about when a plugin runs and what its version of Istio can do.

use super::{Findings, Plugin, Surroundings, rule};
use crate::document::Kind;
use crate::finding;
use crate::version::IstioVersion;
use crate::yaml::Node;

pub(super) fn check(plugin: &Plugin<'_>, surroundings: &Surroundings, findings: &mut Findings) {
    if plugin.spec.get("priority").is_none_or(Node::is_null) {
        let at = plugin.spec.at;
        let message = "a priority that is not given counts as -2147483648: the plugin comes last, after negative \
            ones, although the API says that it defaults to 0";
        findings.add(&rule::PRIORITY_UNSET, at, "spec.priority", message);
    }
    let strategy = plugin.wasm.and_then(|(wasm, path)| Some((wasm.get("failStrategy")?, path)));
    let phase = plugin.text("phase");
    if let Some((node, path)) =
        strategy.filter(|(node, _)| node.text() == Some("FAIL_OPEN") && phase.starts_with("AUTH"))
    {
        let message = format!(
            "after its first crash every request passes without this {phase} plugin, for good, and only Envoy's log \
                says so"
        );
        findings.add(&rule::FAIL_OPEN_SECURITY, node.at, finding::field(path, "failStrategy"), message);
    }
    versions(plugin, surroundings.istio, findings);
}

/// When each field appeared.
const FIELDS: [(&str, u16); 7] = [
    ("imagePullSecret", 14),
    ("vmConfig", 14),
    ("imagePullPolicy", 15),
    ("match", 16),
    ("failStrategy", 19),
    ("targetRefs", 20),
    ("type", 20),
];

fn versions(plugin: &Plugin<'_>, istio: IstioVersion, findings: &mut Findings) {
    if plugin.kind == Kind::TrafficExtension {
        if !istio.has_traffic_extension() {
            let message = format!("Istio {istio} has no TrafficExtension; it appeared in 1.30");
            findings.add(&rule::FIELD_TOO_NEW, plugin.document.at(), "kind", message);
        }
        return;
    }
    for entry in plugin.spec.entries() {
        let since = FIELDS.iter().find(|(name, _)| *name == entry.key).map(|(_, since)| IstioVersion::one(*since));
        if let Some(since) = since.filter(|since| istio < *since) {
            let message = format!("Istio {istio} does not honour `{}`; it does since {since}", entry.key);
            findings.add(&rule::FIELD_TOO_NEW, entry.at, finding::field("spec", &entry.key), message);
        }
    }
    let strategy = plugin.spec.get("failStrategy");
    if let Some(node) = strategy.filter(|node| node.text() == Some("FAIL_RELOAD") && !istio.has_fail_reload()) {
        let message = format!("Istio {istio} does not know `FAIL_RELOAD`; it appeared in 1.27");
        findings.add(&rule::FIELD_TOO_NEW, node.at, "spec.failStrategy", message);
    }
}
