//! Reading and writing of resources.

use serde_json::{Value, json};

use super::*;
use crate::version::IstioVersion;

fn read(spec: Value) -> WasmPluginSpec {
    serde_json::from_value(spec).unwrap()
}

#[test]
fn words_for_nothing_are_read_and_not_written() {
    let spec = read(json!({
        "url": "a/b", "sha256": "", "phase": "UNSPECIFIED_PHASE", "imagePullPolicy": "UNSPECIFIED_POLICY",
        "type": "UNSPECIFIED_PLUGIN_TYPE", "match": [{"mode": "UNDEFINED"}], "priority": null,
    }));
    assert_eq!(serde_json::to_value(&spec).unwrap(), json!({"url": "a/b", "match": [{}]}));
}

#[test]
fn a_wasm_plugin_becomes_a_traffic_extension() {
    let spec = read(json!({
        "url": "a/b", "phase": "AUTHN", "priority": 5, "failStrategy": "FAIL_OPEN",
        "targetRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "g"},
    }));
    let extension = Extension::from(WasmPlugin { metadata: Metadata::default(), spec });
    assert_eq!(
        serde_json::to_value(&extension.spec).unwrap(),
        json!({
            "phase": "AUTHN", "priority": 5,
            "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "g"}],
            "wasm": {"url": "a/b", "failStrategy": "FAIL_OPEN"},
        })
    );
    assert_eq!(extension.plugin_name(IstioVersion::LATEST), "default.~istio-translated-wasmplugin");
}
