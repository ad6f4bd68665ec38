//! What EnvoyFilters look like.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::document;

fn extension(spec: &str) -> Extension {
    let text = format!(
        "apiVersion: extensions.istio.io/v1alpha1\nkind: TrafficExtension\nmetadata: {{name: p, namespace: \
            apps}}\nspec: {spec}"
    );
    document::read(&text)[0].clone().unwrap().extension().unwrap().unwrap()
}

fn patches(spec: &str, knobs: &Knobs) -> Vec<ConfigPatch> {
    from_extension(&extension(spec), IstioVersion::LATEST, knobs).unwrap().spec.config_patches
}

#[test]
fn a_module_from_a_registry_is_discovered() {
    let patches = patches("{wasm: {url: 'oci://r/a:1'}}", &Knobs::default());
    assert_eq!(patches.len(), 2);
    assert_eq!(patches[0].patch.value["config_discovery"]["type_urls"].as_array().unwrap().len(), 2);
    assert_eq!(patches[1].apply_to, "EXTENSION_CONFIG");
    assert_eq!(patches[0].patch.value["name"], patches[1].patch.value["name"]);
}

#[test]
fn a_file_stands_in_the_filter_itself_with_every_knob() {
    let knobs = Knobs {
        vm_id: Some("v".to_owned()),
        capabilities: vec!["proxy_log".to_owned()],
        reload_backoff: Some(Duration::from_millis(5500)),
        allow_on_headers_stop_iteration: Some(true),
    };
    let patches = patches("{match: [{mode: CLIENT}], wasm: {url: 'file:///x.wasm'}}", &knobs);
    assert_eq!(
        patches.iter().map(|patch| patch.matches["context"].clone()).collect::<Vec<_>>(),
        ["SIDECAR_OUTBOUND", "GATEWAY"]
    );
    let config = &patches[0].patch.value["typed_config"]["config"];
    assert_eq!(config["vm_config"]["vm_id"], "v");
    assert_eq!(config["capability_restriction_config"]["allowed_capabilities"], json!({"proxy_log": {}}));
    assert_eq!(config["reload_config"]["backoff"]["base_interval"], "5.5s");
    assert_eq!(config["allow_on_headers_stop_iteration"], true);
}

#[test]
fn what_an_envoy_filter_cannot_do_is_refused() {
    let refused = |spec: &str| from_extension(&extension(spec), IstioVersion::LATEST, &Knobs::default()).unwrap_err();
    assert_eq!(refused("{phase: AUTHZ, wasm: {url: a/b}}"), Impossible::Phase);
    assert_eq!(refused("{wasm: {url: a/b, type: NETWORK}}"), Impossible::Network);
    assert_eq!(refused("{wasm: {url: a/b, imagePullSecret: s}}"), Impossible::Secret);
    assert_eq!(refused("{lua: {inlineCode: x}}"), Impossible::Lua);
    assert!(matches!(refused("{wasm: {url: '1.2.3.4:5/a'}}"), Impossible::Url(_)));
}

#[test]
fn a_singleton_is_a_bootstrap_extension_with_a_mount() {
    let mount = Mount::config_map("bg");
    let wanted = Singleton {
        metadata: Metadata { name: "bg".to_owned(), ..Metadata::default() },
        vm_id: "bg".to_owned(),
        config: serde_json::from_str("{\"a\": 1}").unwrap(),
        stats_tags: vec![("t".to_owned(), "(x)".to_owned())],
        mount: mount.clone(),
        ..Singleton::default()
    };
    let filter = singleton(&wanted);
    let value = &filter.spec.config_patches[0].patch.value;
    let service = &value["bootstrap_extensions"][0]["typed_config"];
    assert_eq!(service["singleton"], true);
    assert_eq!(service["config"]["vm_config"]["code"]["local"]["filename"], "/var/local/wasm/bg/plugin.wasm");
    assert_eq!(service["config"]["configuration"]["value"], "{\"a\":1}");
    assert_eq!(value["stats_config"]["stats_tags"], json!([{"tag_name": "t", "regex": "(x)"}]));
    let annotations = mount.annotations("bg");
    assert_eq!(annotations["sidecar.istio.io/userVolume"], r#"[{"configMap":{"name":"bg"},"name":"bg"}]"#);
    assert_eq!(
        annotations["sidecar.istio.io/userVolumeMount"],
        r#"[{"mountPath":"/var/local/wasm/bg","name":"bg","readOnly":true}]"#
    );
}
