//! The shared facts, as JSON.

use serde_json::Value;
use wasmplugin_deploy::document::{self, Document};

/// One table of the facts.
pub(crate) fn table(name: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("../testdata/wasmplugin_cases.json")).unwrap();
    let table = all[name].as_array().unwrap().clone();
    assert!(!table.is_empty(), "{name}");
    table
}

/// The document that a case is about.
pub(crate) fn document(case: &Value) -> Document {
    let mut object = serde_json::json!({
        "apiVersion": "extensions.istio.io/v1alpha1",
        "kind": case["kind"],
        "metadata": { "name": "p", "namespace": "apps" },
        "spec": case["spec"],
    });
    if let Some(metadata) = case.get("metadata") {
        object["metadata"] = metadata.clone();
    }
    document::read(&object.to_string()).remove(0).unwrap()
}
