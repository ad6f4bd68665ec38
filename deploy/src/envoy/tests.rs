//! Names and values that the shared facts do not show.

use serde_json::{Map, Value, json};

use super::*;
use crate::document;

fn extension(kind: &str, spec: &str) -> Extension {
    let text = format!(
        "apiVersion: extensions.istio.io/v1alpha1\nkind: {kind}\nmetadata: {{name: p, namespace: apps}}\nspec: {spec}"
    );
    document::read(&text)[0].clone().unwrap().extension().unwrap().unwrap()
}

fn config(spec: &str, istio: u16, secret: Option<&str>) -> Value {
    let sent = configuration(&extension("WasmPlugin", spec), IstioVersion::one(istio), secret).unwrap();
    sent.resource.unwrap()["typed_config"]["config"].clone()
}

#[test]
fn names_follow_the_version() {
    let plugin = extension("WasmPlugin", "{url: a/b}");
    for (minor, name) in [
        (32, "extensions.istio.io/trafficextension/apps.p~istio-translated-wasmplugin"),
        (30, "extensions.istio.io/trafficextension/apps.p~istio-translated-wasmplugin"),
        (29, "extensions.istio.io/wasmplugin/apps.p"),
        (26, "extensions.istio.io/wasmplugin/apps.p"),
        (25, "extenstions.istio.io/wasmplugin/apps.p"),
        (20, "apps.p"),
    ] {
        assert_eq!(plugin.resource_name(IstioVersion::one(minor)), name);
    }
    assert_eq!(config("{url: a/b}", 29, None)["name"], "apps.p");
    let own = extension("TrafficExtension", "{wasm: {url: a/b}}");
    assert_eq!(own.plugin_name(IstioVersion::LATEST), "apps.p");
}

#[test]
fn the_environment_carries_secret_and_policy() {
    let spec = "{url: a/b, imagePullSecret: s, imagePullPolicy: Always, pluginName: root, vmConfig: {env: [{name: \
        POD, valueFrom: HOST}]}}";
    let config = config(spec, 32, Some("{}"));
    let environment = &config["vm_config"]["environment_variables"];
    assert_eq!(environment["key_values"]["ISTIO_META_WASM_IMAGE_PULL_SECRET"], "{}");
    assert_eq!(environment["key_values"]["ISTIO_META_WASM_IMAGE_PULL_POLICY"], "Always");
    assert_eq!(environment["host_env_keys"], json!(["POD"]));
    assert_eq!(config["root_id"], "root");
}

#[test]
fn the_configuration_is_the_text_that_go_would_print() {
    let fields: Map<String, Value> =
        serde_json::from_str(r#"{"b": 9007199254740993, "a": {"z": 1.0, "y": [1.5, 1e3, -0.25]}}"#).unwrap();
    assert_eq!(configuration_text(&fields), r#"{"a":{"y":[1.5,1000,-0.25],"z":1},"b":9007199254740992}"#);
    let config = config("{url: a/b, pluginConfig: {k: v}}", 32, None);
    assert_eq!(
        config["configuration"],
        json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "{\"k\":\"v\"}"})
    );
}

#[test]
fn an_address_that_istiod_cannot_read_is_dropped() {
    let plugin = extension("WasmPlugin", "{url: '192.168.0.1:5000/a'}");
    let error = configuration(&plugin, IstioVersion::LATEST, None).unwrap_err();
    assert!(error.to_string().contains("drops the plugin"), "{error}");
}
