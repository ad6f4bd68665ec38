//! What comes along, and what is told about the rest.

use serde_json::json;

use super::*;
use crate::document;
use crate::envoy_filter::{self, Knobs};
use crate::version::IstioVersion;

fn extension(spec: &str) -> Extension {
    let text = format!(
        "apiVersion: extensions.istio.io/v1alpha1\nkind: TrafficExtension\nmetadata: {{name: p, namespace: \
            apps}}\nspec: {spec}"
    );
    document::read(&text)[0].clone().unwrap().extension().unwrap().unwrap()
}

#[test]
fn what_was_made_an_envoy_filter_comes_back() {
    for spec in [
        "{priority: 0, wasm: {url: 'oci://r/a@sha256:01', pluginName: root, imagePullPolicy: Always, vmConfig: {env: \
            [{name: A, value: x}]}, pluginConfig: {a: [1, {b: x}]}, failStrategy: FAIL_OPEN}}",
        "{priority: 5, selector: {matchLabels: {app: web}}, match: [{mode: SERVER}], wasm: {url: 'file:///x.wasm'}}",
        "{priority: 0, phase: AUTHN, match: [{mode: SERVER, ports: [{number: 80}]}], wasm: {url: 'file:///x.wasm'}}",
    ] {
        let before = extension(spec);
        let filter = envoy_filter::from_extension(&before, IstioVersion::LATEST, &Knobs::default()).unwrap();
        let migrated = from_envoy_filter(&filter);
        assert_eq!((migrated.extensions.len(), &migrated.rest), (1, &None));
        assert_eq!(migrated.extensions[0], before, "{spec}");
    }
}

fn filter(patches: serde_json::Value) -> EnvoyFilter {
    serde_json::from_value(json!({"metadata": {"name": "f", "namespace": "apps"}, "spec": {"configPatches": patches}}))
        .unwrap()
}

fn inline(config: serde_json::Value) -> serde_json::Value {
    json!({
        "applyTo": "HTTP_FILTER",
        "match": {"context": "SIDECAR_INBOUND"},
        "patch": {"operation": "INSERT_BEFORE", "value": {"name": "w", "typed_config": {"@type": HTTP_WASM, "config": config}}},
    })
}

#[test]
fn what_has_no_field_is_told() {
    let config = json!({"vm_config": {"vm_id": "v", "code": {"local": {"filename": "/x.wasm"}}}, "fail_open": true});
    let migrated = from_envoy_filter(&filter(json!([inline(config)])));
    assert_eq!(migrated.extensions[0].wasm().unwrap().fail_strategy, FailStrategy::FailOpen);
    assert!(migrated.notes.iter().any(|note| note.contains("`vm_id`")), "{:?}", migrated.notes);
    assert!(migrated.notes.iter().any(|note| note.contains("moves")), "{:?}", migrated.notes);
}

#[test]
fn what_cannot_be_a_plugin_stays() {
    let text = json!({
        "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "no json"},
        "vm_config": {"code": {"local": {"filename": "/x.wasm"}}},
    });
    let other = json!({"applyTo": "CLUSTER", "patch": {"operation": "ADD", "value": {"name": "c"}}});
    let migrated = from_envoy_filter(&filter(json!([inline(text), other])));
    assert!(migrated.extensions.is_empty());
    assert_eq!(migrated.rest.unwrap().spec.config_patches.len(), 2);
    assert!(migrated.notes[0].contains("no JSON object"), "{:?}", migrated.notes);
}

#[test]
fn what_only_a_cluster_sets_is_left_behind() {
    let metadata = Metadata {
        name: "a".to_owned(),
        resource_version: Some("1".to_owned()),
        annotations: [("kubectl.kubernetes.io/last-applied-configuration".to_owned(), "{}".to_owned())].into(),
        ..Metadata::default()
    };
    assert_eq!(fresh(&metadata), Metadata { name: "a".to_owned(), ..Metadata::default() });
}
