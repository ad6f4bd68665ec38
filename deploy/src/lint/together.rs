//! Rules about objects together.

use std::collections::BTreeMap;

use super::{Plugin, Surroundings, environment, namespace, rule, targeting};
use crate::document::Document;
use crate::finding::Finding;
use crate::pull_secret::SECRET_TYPE;
use crate::yaml::Node;

/// What is found, with the place of the object that it is about.
pub(super) fn findings(documents: &[&Document], surroundings: &Surroundings) -> Vec<(usize, Finding)> {
    let plugins: Vec<_> = documents
        .iter()
        .enumerate()
        .filter_map(|(place, document)| Some((place, Plugin::of(document, document.kind()?)?)))
        .collect();
    let mut found = Vec::new();
    if !surroundings.istio.separates_environments() {
        shared_vms(&plugins, &mut found);
    }
    let objects = Objects::of(documents);
    for (place, plugin) in &plugins {
        let mut add = |finding| found.push((*place, finding));
        objects.secret(plugin, &mut add);
        objects.waypoint(plugin, &mut add);
        objects.network(plugin, &mut add);
    }
    found
}

/// Plugins from one module share a VM, although their environments differ.
fn shared_vms(plugins: &[(usize, Plugin<'_>)], found: &mut Vec<(usize, Finding)>) {
    let mut first: BTreeMap<&str, (&Plugin<'_>, Vec<String>)> = BTreeMap::new();
    for (place, plugin) in plugins {
        let url = plugin.wasm_text("url");
        let own = environment::fingerprint(plugin);
        match first.get(url) {
            Some((other, theirs)) if *theirs != own => {
                let Some((wasm, path)) = plugin.wasm else { continue };
                let node = wasm.get("vmConfig").unwrap_or(wasm);
                let message = format!(
                    "`{}` comes from the same module with another environment: where both run in one proxy, Envoy \
                        1.37 and earlier give both the environment of the first (1.38 was not measured)",
                    other.document.name()
                );
                found.push((*place, rule::ENV_SHARED.finding(node.at, format!("{path}.vmConfig.env"), message)));
            }
            Some(_) => {}
            None if url.is_empty() => {}
            None => {
                first.insert(url, (plugin, own));
            }
        }
    }
}

/// Objects that plugins refer to.
struct Objects<'a> {
    secrets: Vec<&'a Document>,
    gateways: Vec<&'a Document>,
}

impl<'a> Objects<'a> {
    fn of(documents: &[&'a Document]) -> Self {
        let of_kind = |kind| documents.iter().copied().filter(|document| document.kind_name() == kind).collect();
        Self { secrets: of_kind("Secret"), gateways: of_kind("Gateway") }
    }

    fn secret(&self, plugin: &Plugin<'_>, add: &mut impl FnMut(Finding)) {
        let Some((node, path)) = plugin.wasm.and_then(|(wasm, path)| Some((wasm.get("imagePullSecret")?, path))) else {
            return;
        };
        let name = node.text().unwrap_or_default();
        let path = format!("{path}.imagePullSecret");
        let same = |secret: &&&Document| secret.name() == name;
        let here = |secret: &&&Document| same(secret) && namespace(secret) == plugin.namespace();
        match self.secrets.iter().find(here) {
            Some(secret) => {
                let kind = secret.root.get("type").and_then(Node::text).unwrap_or("Opaque");
                if kind != SECRET_TYPE {
                    let message = format!(
                        "the Secret `{name}` has the type `{kind}`, where `{SECRET_TYPE}` is needed: \
                            nothing is fetched, not even without credentials"
                    );
                    add(rule::SECRET_TYPE.finding(node.at, path, message));
                }
            }
            None => {
                let message = match self.secrets.iter().find(same) {
                    Some(other) => format!(
                        "the Secret `{name}` is in the namespace `{}`, and only the plugin's own, `{}`, is looked at",
                        namespace(other),
                        plugin.namespace()
                    ),
                    None => format!(
                        "the Secret `{name}` is not among these documents; if it is missing in the namespace `{}` \
                            too, nothing is fetched, not even without credentials",
                        plugin.namespace()
                    ),
                };
                add(rule::SECRET_MISSING.finding(node.at, path, message));
            }
        }
    }

    /// A target that is a waypoint among the documents.
    fn waypoint(&self, plugin: &Plugin<'_>, add: &mut impl FnMut(Finding)) {
        let is_waypoint = |gateway: &&&Document| {
            gateway.root.at_path(&["spec", "gatewayClassName"]).and_then(Node::text) == Some("istio-waypoint")
        };
        let here = |gateway: &&&Document| namespace(gateway) == plugin.namespace();
        for gateway in self.gateways.iter().filter(is_waypoint).filter(here) {
            let known = plugin.targets().any(|(target, _)| targeting::is_waypoint_only(target));
            if !known && plugin.targets().any(|(target, _)| targeting::is_gateway(target, gateway.name())) {
                let mut findings = super::Findings::default();
                targeting::waypoint_traffic(plugin, &mut findings);
                findings.0.into_iter().for_each(&mut *add);
            }
            let labels = plugin.spec.at_path(&["selector", "matchLabels"]);
            let label = labels.and_then(|labels| labels.entry(targeting::GATEWAY_NAME));
            if let Some(label) = label.filter(|label| label.value.text() == Some(gateway.name())) {
                let path = format!("spec.selector.matchLabels.{}", label.key);
                let message = format!(
                    "`{}` is a waypoint, and a waypoint never takes a plugin that names no target",
                    gateway.name()
                );
                add(rule::SELECTOR_WAYPOINT.finding(label.at, path, message));
            }
        }
    }

    /// Plugins for connections reach only the first of several TLS servers on a port.
    fn network(&self, plugin: &Plugin<'_>, add: &mut impl FnMut(Finding)) {
        let Some((wasm, path)) = plugin.wasm else { return };
        let Some(node) = wasm.get("type").filter(|node| node.text() == Some("NETWORK")) else { return };
        for gateway in self.gateways.iter().filter(|gateway| selects(plugin, gateway)) {
            if let Some(port) = crowded_port(gateway) {
                let message = format!(
                    "the gateway `{}` has several TLS servers on port {port}: only the first of them gets the plugin",
                    gateway.name()
                );
                add(rule::NETWORK_TLS.finding(node.at, format!("{path}.type"), message));
            }
        }
    }
}

/// Whether a plugin may reach the pods of a gateway, of either API.
fn selects(plugin: &Plugin<'_>, gateway: &Document) -> bool {
    if plugin.targets().next().is_some() {
        return plugin.targets().any(|(target, _)| targeting::is_gateway(target, gateway.name()));
    }
    let wanted = plugin.spec.at_path(&["selector", "matchLabels"]).map(Node::entries).unwrap_or_default();
    let labels = gateway.root.at_path(&["spec", "selector"]);
    wanted.iter().all(|entry| match labels {
        Some(labels) => labels.get(&entry.key).is_some_and(|value| value.value == entry.value.value),
        None => entry.key == targeting::GATEWAY_NAME && entry.value.text() == Some(gateway.name()),
    })
}

/// A port with more than one TLS server.
fn crowded_port(gateway: &Document) -> Option<String> {
    let spec = gateway.spec()?;
    let servers =
        spec.get("servers").map(Node::items).unwrap_or_default().iter().filter_map(|server| server.get("port"));
    let listeners = spec.get("listeners").map(Node::items).unwrap_or_default().iter();
    let mut ports: BTreeMap<String, usize> = BTreeMap::new();
    for server in servers.chain(listeners) {
        let tls = matches!(server.get("protocol").and_then(Node::text), Some("TLS" | "HTTPS"));
        if let Some(port) = server.get("number").or_else(|| server.get("port")).filter(|_| tls) {
            *ports.entry(port.to_json().to_string()).or_default() += 1;
        }
    }
    ports.into_iter().find(|(_, servers)| *servers > 1).map(|(port, _)| port)
}
