//! Rules about EnvoyFilters that bring Wasm modules in.

use super::{Findings, rule};
use crate::document::Document;
use crate::envoy::{HTTP_RBAC, HTTP_WASM};
use crate::yaml::Node;

pub(super) fn check(document: &Document, findings: &mut Findings) {
    let patches = document.spec().and_then(|spec| spec.get("configPatches")).map(Node::items).unwrap_or_default();
    for (place, patch) in patches.iter().enumerate() {
        let path = format!("spec.configPatches[{place}]");
        let Some(value) = patch.at_path(&["patch", "value"]) else { continue };
        let apply = patch.get("applyTo").and_then(Node::text).unwrap_or_default();
        if apply == "BOOTSTRAP" {
            let message =
                "it takes effect in pods that start after it, and `BOOTSTRAP` is marked deprecated in the API";
            findings.add(&rule::FILTER_BOOTSTRAP, patch.at, path.clone(), message);
        }
        let code = value.at_path(&["typed_config", "config", "vm_config", "code"]);
        if let Some(remote) = code.and_then(|code| code.get("remote")).filter(|_| apply == "HTTP_FILTER") {
            let message = "a module in the filter itself is fetched by Envoy, not by the agent: it needs a real \
                cluster and a checksum, and knows no `oci://`";
            findings.add(&rule::FILTER_REMOTE, remote.at, format!("{path}.patch.value"), message);
        }
        let types = value.at_path(&["config_discovery", "type_urls"]);
        if let Some(types) = types.filter(|types| lists(types, HTTP_WASM) && !lists(types, HTTP_RBAC)) {
            let message = "when the module cannot be fetched the agent puts an RBAC filter in its place, which Envoy \
                refuses here";
            let path = format!("{path}.patch.value.config_discovery.type_urls");
            findings.add(&rule::FILTER_FALLBACK, types.at, path, message);
        }
    }
}

fn lists(types: &Node, name: &str) -> bool {
    types.items().iter().any(|item| item.text() == Some(name))
}
