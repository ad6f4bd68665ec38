//! Envoy's own filters that leave metadata and filter state for the plugins.

use serde_json::{Value, json};

use super::message::typed;
use crate::test::Surroundings;

/// Those that these surroundings need.
pub(super) fn filters(surroundings: &Surroundings) -> Vec<Value> {
    let mut filters = Vec::new();
    if !surroundings.dynamic_metadata.is_empty() {
        let namespaces: Vec<_> = surroundings
            .dynamic_metadata
            .iter()
            .map(|(namespace, value)| json!({"metadata_namespace": namespace, "value": value}))
            .collect();
        filters.push(json!({
            "name": "envoy.filters.http.set_metadata",
            "typed_config": typed(
                "envoy.extensions.filters.http.set_metadata.v3.Config",
                json!({"metadata": namespaces}),
            ),
        }));
    }
    if !surroundings.filter_state.is_empty() {
        let objects: Vec<_> = surroundings
            .filter_state
            .iter()
            .map(|(name, value)| {
                // A percent sign would begin a command of Envoy's formatter.
                let text = value.replace('%', "%%");
                json!({
                    "object_key": name,
                    "factory_key": "envoy.string",
                    "format_string": {"text_format_source": {"inline_string": text}},
                })
            })
            .collect();
        filters.push(json!({
            "name": "envoy.filters.http.set_filter_state",
            "typed_config": typed(
                "envoy.extensions.filters.http.set_filter_state.v3.Config",
                json!({"on_request_headers": objects}),
            ),
        }));
    }
    filters
}
