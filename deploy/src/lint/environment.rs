//! Rules about environment variables.

use super::{Findings, Plugin, rule};
use crate::envoy::RESERVED_ENV;
use crate::finding;
use crate::yaml::Node;

pub(super) fn check(plugin: &Plugin<'_>, findings: &mut Findings) {
    for (variable, path) in plugin.env() {
        let Some(name) = variable.get("name") else { continue };
        let text = name.text().unwrap_or_default();
        let shown = finding::shown(text);
        if text.starts_with(RESERVED_ENV) {
            let message = format!("the agent removes {shown} before the plugin sees it");
            findings.add(&rule::ENV_RESERVED, name.at, format!("{path}.name"), message);
        } else if !text.is_empty() && !is_identifier(text) {
            let message = format!("{shown} is no identifier; the API asks for one, though nothing enforces it");
            findings.add(&rule::ENV_NAME, name.at, format!("{path}.name"), message);
        }
    }
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|first: char| first == '_' || first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
}

/// Names and sources of a plugin's variables, in no order, to compare two plugins by.
pub(super) fn fingerprint(plugin: &Plugin<'_>) -> Vec<String> {
    let text = |node: &Node, name| node.get(name).and_then(Node::text).unwrap_or_default().to_owned();
    let variable = |(node, _): (&Node, String)| {
        let source = if text(node, "valueFrom") == "HOST" { "HOST" } else { "INLINE" };
        format!("{}\0{source}\0{}", text(node, "name"), text(node, "value"))
    };
    let mut all: Vec<_> = plugin.env().map(variable).collect();
    all.sort_unstable();
    all
}
