//! Rules about whom a plugin is for.

use super::{Findings, Plugin, Surroundings, rule};
use crate::attach::GATEWAY_API;
use crate::document::Kind;
use crate::yaml::Node;

/// The label that Istio puts on the pods of a Gateway of the Gateway API.
pub(super) const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
/// The label that tells a waypoint's pods from others.
const MANAGED: (&str, &str) = ("gateway.istio.io/managed", "istio.io-mesh-controller");

pub(super) fn check(plugin: &Plugin<'_>, surroundings: &Surroundings, findings: &mut Findings) {
    if plugin.kind == Kind::TrafficExtension
        && let Some(entry) = plugin.spec.entry("targetRef")
    {
        let message = "a TrafficExtension has no `targetRef`: the API server removes it without a word, and the \
            plugin is \
            then for every workload of the namespace";
        findings.add(&rule::SINGULAR_TARGET_REF, entry.at, "spec.targetRef", message);
    }
    selector(plugin, findings);
    for (target, path) in plugin.targets() {
        let class = target.get("kind").and_then(Node::text) == Some("GatewayClass");
        if class && plugin.namespace() != surroundings.root_namespace {
            let message =
                format!("a GatewayClass counts only from the root namespace `{}`", surroundings.root_namespace);
            findings.add(&rule::CLASS_NAMESPACE, target.at, path, message);
        }
    }
    if plugin.targets().any(|(target, _)| is_waypoint_only(target)) {
        waypoint_traffic(plugin, findings);
    }
}

fn selector(plugin: &Plugin<'_>, findings: &mut Findings) {
    let labels = plugin.spec.at_path(&["selector", "matchLabels"]).map(Node::entries).unwrap_or_default();
    for label in labels {
        let path = format!("spec.selector.matchLabels.{}", label.key);
        let value = label.value.text().unwrap_or_default();
        if (label.key.as_str(), value) == MANAGED {
            findings.add(
                &rule::SELECTOR_WAYPOINT,
                label.at,
                path,
                "a waypoint never takes a plugin that names no target",
            );
        } else if label.key == GATEWAY_NAME {
            let message = "this label selects a gateway of the Gateway API, which takes the plugin only while \
                `ENABLE_SELECTOR_BASED_K8S_GATEWAY_POLICY` is on, and never if it is a waypoint";
            findings.add(&rule::SELECTOR_GATEWAY, label.at, path, message);
        }
    }
}

/// Whether only a waypoint takes a plugin for that target. A Gateway may be either.
pub(super) fn is_waypoint_only(target: &Node) -> bool {
    matches!(target.get("kind").and_then(Node::text), Some("Service" | "ServiceEntry" | "GatewayClass"))
}

/// Whether a target is the Gateway of that name.
pub(super) fn is_gateway(target: &Node, name: &str) -> bool {
    let field = |name| target.get(name).and_then(Node::text);
    field("group") == Some(GATEWAY_API) && field("kind") == Some("Gateway") && field("name") == Some(name)
}

/// What a plugin for a waypoint may not ask for.
pub(super) fn waypoint_traffic(plugin: &Plugin<'_>, findings: &mut Findings) {
    let entries = plugin.spec.get("match").map(Node::items).unwrap_or_default();
    let is_open = |entry: &Node| {
        let mode = entry.get("mode").and_then(Node::text).unwrap_or_default();
        entry.get("ports").is_none_or(|ports| ports.items().is_empty()) && mode != "CLIENT"
    };
    if entries.iter().any(is_open) {
        return;
    }
    for (place, entry) in entries.iter().enumerate() {
        if let Some(ports) = entry.get("ports").filter(|ports| !ports.items().is_empty()) {
            let message =
                "a waypoint's chain counts as port 0: with `ports` the plugin never runs there, and nothing says so";
            findings.add(&rule::PORTS_WAYPOINT, ports.at, format!("spec.match[{place}].ports"), message);
        }
        if let Some(mode) = entry.get("mode").filter(|mode| mode.text() == Some("CLIENT")) {
            let message = "a waypoint's traffic counts as `SERVER`: with `CLIENT` the plugin never runs there";
            findings.add(&rule::CLIENT_WAYPOINT, mode.at, format!("spec.match[{place}].mode"), message);
        }
    }
}
