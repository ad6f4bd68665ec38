//! `cargo wasmplugin migrate`.

use wasmplugin_deploy::document;

use crate::command::{Scratch, wasmplugin};

const PLUGIN: &str = "apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata:
  name: hello
  namespace: apps
  resourceVersion: '7'
spec:
  url: oci://r.example/hello:1
  phase: AUTHN
  targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: g}
";

#[test]
fn there_and_back() {
    let file = Scratch::new("plugin.yaml", PLUGIN);
    let there = wasmplugin(&["migrate", file.path()]);
    assert_eq!(there.code, Some(0), "{there:#?}");
    assert_eq!(
        there.out,
        "apiVersion: extensions.istio.io/v1alpha1
kind: TrafficExtension
metadata:
  name: hello
  namespace: apps
spec:
  targetRefs:
  - group: gateway.networking.k8s.io
    kind: Gateway
    name: g
  phase: AUTHN
  wasm:
    url: oci://r.example/hello:1
"
    );
    let file = Scratch::new("extension.yaml", &there.out);
    let back = wasmplugin(&["migrate", file.path(), "--to", "wasm-plugin"]);
    let plugin = |text: &str| document::read(text)[0].clone().unwrap().extension().unwrap().unwrap();
    assert_eq!(plugin(&back.out).spec, plugin(PLUGIN).spec);
}

#[test]
fn a_filter_is_rewritten_and_what_is_lost_is_told() {
    let file = Scratch::new(
        "plugin.yaml",
        PLUGIN.replace("  targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: g}\n", ""),
    );
    let filter = wasmplugin(&["migrate", file.path(), "--to", "envoy-filter"]);
    assert!(filter.out.contains("kind: EnvoyFilter"), "{filter:#?}");
    let file = Scratch::new("filter.yaml", &filter.out);
    let back = wasmplugin(&["migrate", file.path(), "--to", "wasm-plugin"]);
    assert!(back.out.contains("url: oci://r.example/hello:1") && back.out.contains("phase: AUTHN"), "{back:#?}");
    assert!(back.err.contains("moves"), "{back:#?}");
}

#[test]
fn what_cannot_be_is_said() {
    let lua = Scratch::new(
        "lua.yaml",
        "apiVersion: extensions.istio.io/v1alpha1\nkind: TrafficExtension\nmetadata: {name: l}\nspec: {lua: \
            {inlineCode: x}}\n",
    );
    let run = wasmplugin(&["migrate", lua.path(), "--to", "wasm-plugin"]);
    assert!(run.message().contains("cannot hold a Lua script"), "{run:#?}");
    let broken = Scratch::new(
        "broken.yaml",
        "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nspec: {url: 's3://b'}\n",
    );
    let run = wasmplugin(&["migrate", broken.path()]);
    assert!(run.message().contains("unsupported scheme"), "{run:#?}");
    let other = Scratch::new("other.yaml", "apiVersion: v1\nkind: Service\n");
    assert_eq!(wasmplugin(&["migrate", other.path()]).code, Some(1));
}
