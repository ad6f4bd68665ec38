//! `cargo wasmplugin stats-tags`.

use serde_json::Value;
use wasmplugin_host::module::build;

use crate::command::{Scratch, wasmplugin, workspace};

#[test]
fn the_labels_of_a_module_are_told_in_all_forms() {
    let module = build::wasm(workspace().join("examples/labelled-counter")).unwrap();
    let module = module.to_str().unwrap();

    let run = wasmplugin(&["stats-tags", module, "--form", "bootstrap"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    let bootstrap: Value = serde_json::from_str(&run.out).unwrap();
    let tags = bootstrap.pointer("/stats_config/stats_tags").and_then(Value::as_array).unwrap();
    let texts = |field: &str| tags.iter().map(|tag| tag[field].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let (names, expressions) = (texts("tag_name"), texts("regex"));
    assert!(!names.is_empty() && expressions.iter().all(|regex| regex.starts_with("^wasmcustom")), "{bootstrap}");

    // Twice the same module is the same labels.
    let run = wasmplugin(&["stats-tags", module, module, "--namespace", "shop", "--label", "app=cart"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    for (name, regex) in names.iter().zip(&expressions) {
        assert!(run.out.contains(name) && run.out.matches(regex.as_str()).count() == 1, "{run:#?}");
    }
    for line in ["kind: EnvoyFilter", "  namespace: shop", "      app: cart", "applyTo: BOOTSTRAP"] {
        assert!(run.out.contains(line), "{run:#?}");
    }
    let file = Scratch::new("filter.yaml", &run.out);
    let lint = wasmplugin(&["lint", file.path()]);
    assert!(lint.code == Some(0) && lint.out.contains(" 0 errors"), "{lint:#?}");

    let run = wasmplugin(&["stats-tags", module, "--form", "annotation"]);
    let lines: Vec<_> = names.iter().map(|name| format!("  - \"{name}\"\n")).collect();
    assert_eq!(run.out, format!("proxy.istio.io/config: |\n  extraStatTags:\n{}", lines.concat()), "{run:#?}");
}

#[test]
fn a_module_without_labels_has_none_to_tell() {
    let hello = build::wasm(workspace().join("examples/hello")).unwrap();
    let run = wasmplugin(&["stats-tags", hello.to_str().unwrap()]);
    assert!(run.message().contains("names no labels"), "{run:#?}");
    assert_eq!(wasmplugin(&["stats-tags", "a.wasm", "--label", "app"]).code, Some(2));
    assert!(wasmplugin(&["stats-tags", "/nowhere/a.wasm"]).message().contains("/nowhere/a.wasm"));
}
