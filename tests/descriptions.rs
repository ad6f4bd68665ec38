//! What a finished module says about its plugin: metadata, and the JSON Schema of its configuration.

use serde_json::{Value, json};
use wasmplugin_host::module::{METADATA, Module, ModuleInfo, SCHEMA};
use wasmplugin_host::test::Proxy;

use crate::engines::Plugin;
use crate::stats_sidecars::EXCHANGE;

fn info(module: &std::path::Path) -> ModuleInfo {
    Module::read(module).unwrap().info().clone()
}

#[test]
fn a_module_names_its_package_and_the_tags_of_its_metrics() {
    let info = info(&crate::labelled_counter::module());
    let metadata = info.metadata.clone().unwrap();
    assert_eq!(metadata["name"], "labelled-counter");
    assert_eq!(metadata["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(metadata["license"], "Apache-2.0");
    assert_eq!(metadata["sdk"]["name"], "wasmplugin");
    let names: Vec<_> = info.stats_tags().unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["method", "code"]);
    let sections: Vec<_> = info.custom_sections.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(sections.iter().filter(|name| [METADATA, SCHEMA].contains(name)).count(), 2, "{sections:?}");
}

#[test]
fn each_plugin_of_a_module_has_its_schema() {
    let info = info(&crate::token_refresher::module());
    assert_eq!(info.schema_of("refresher").unwrap()["required"], json!(["cluster", "path", "form"]));
    assert_eq!(info.schema_of("").unwrap()["maxProperties"], 0);
    assert_eq!(info.schema_of("other"), None);
}

#[test]
fn a_module_has_no_callback_that_none_of_its_plugins_needs() {
    let carries = |plugin: &Plugin, export: &str| info(&plugin.module()).exports.iter().any(|one| one.name == export);
    for needed in ["proxy_on_request_headers", "proxy_on_response_headers", "proxy_on_downstream_data"] {
        assert!(carries(&EXCHANGE, needed), "{needed}");
    }
    for unused in ["proxy_on_response_body", "proxy_on_response_trailers"] {
        assert!(!carries(&EXCHANGE, unused), "{unused}");
    }
    let connections = Plugin { package: "tcp-allow-list", register: tcp_allow_list::register };
    assert!(carries(&connections, "proxy_on_new_connection"));
    assert!(!carries(&connections, "proxy_on_response_headers"));
}

#[test]
fn no_schema_is_in_the_code() {
    let bytes = std::fs::read(crate::rate_limit::module()).unwrap();
    let info = info(&crate::rate_limit::module());
    let carried: usize = info.custom_sections.iter().map(|(name, size)| name.len() + size + 10).sum();
    let loaded = bytes.len() - carried.min(bytes.len());
    let loaded = bytes.get(..loaded).unwrap();
    for word in ["schemars", "json-schema.org", "A bucket holds", "additionalProperties"] {
        assert!(!loaded.windows(word.len()).any(|window| window == word.as_bytes()), "`{word}` is loaded");
    }
}

#[test]
fn the_schema_takes_what_the_plugin_takes() {
    let limit = |limit: Value| json!({"header": "x-user", "limit": limit});
    let configs = [
        limit(json!({"per_second": 10, "burst": 20})),
        limit(json!({"per_second": 0, "burst": 20})),
        limit(json!({"per_second": 1.5, "burst": 20})),
        limit(json!({"per_second": 4_294_967_296_u64, "burst": 20})),
        limit(json!({"per_second": 1})),
        limit(json!({"per_second": 1, "burst": 1, "more": 1})),
        json!({"limit": {"per_second": 1, "burst": 1}}),
        json!({"header": 5, "limit": {"per_second": 1, "burst": 1}}),
        json!({}),
        json!([]),
    ];
    agree(&crate::rate_limit::module(), rate_limit::register, &configs);
    let routes = |routes: Value| json!({"defaults": {"closed": false, "retry_after": 1}, "routes": routes});
    let configs = [
        routes(json!([])),
        routes(json!([{"match": [{"uri": {"prefix": "/a"}, "headers": {"x": {}}}], "config": {"closed": true}}])),
        routes(json!([{"match": [{"uri": {"suffix": "/a"}}]}])),
        routes(json!([{"match": [{"uri": {"prefix": "/a", "exact": "/b"}}]}])),
        routes(json!([{"match": [{"port": 80}]}])),
        routes(json!([{"hosts": []}])),
        routes(json!([{"hosts": ["a"], "config": {"closed": "no"}}])),
        routes(json!([{"config": {"opened": true}}])),
        json!({"defaults": {"closed": false}}),
        json!({"routes": 5, "defaults": {"closed": false, "retry_after": 1}}),
    ];
    agree(&crate::per_route::module(), per_route::register, &configs);
    agree(&crate::hello::module(), hello::register, &[json!({}), json!({"a": 1}), json!(5)]);
}

/// The schema and the plugin must say the same about every configuration, and each must say both things.
fn agree(module: &std::path::Path, register: fn(), configs: &[Value]) {
    let schema = info(module).schema.unwrap();
    let verdicts = configs.iter().map(|config| {
        let taken = Proxy::native(register).config(config.clone()).start().is_ok();
        assert_eq!(fits(&schema, &schema, config), taken, "{config} and {schema}");
        taken
    });
    let taken = verdicts.filter(|taken| *taken).count();
    assert!(taken > 0 && taken < configs.len());
}

/// As much of JSON Schema as our schemas use.
fn fits(schema: &Value, root: &Value, value: &Value) -> bool {
    if let Some(reference) = schema["$ref"].as_str() {
        return fits(root.pointer(reference.trim_start_matches('#')).unwrap(), root, value);
    }
    let is = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("a schema says `{other}`"),
    };
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).any(is),
        kind => kind.as_str().is_none_or(is),
    };
    let any = schema["anyOf"].as_array().is_none_or(|all| all.iter().any(|one| fits(one, root, value)));
    let number = value.as_f64().is_none_or(|number| {
        schema["minimum"].as_f64().is_none_or(|least| number >= least)
            && schema["maximum"].as_f64().is_none_or(|most| number <= most)
    });
    let text =
        value.as_str().is_none_or(|text| schema["minLength"].as_u64().is_none_or(|least| text.len() as u64 >= least));
    let items = value.as_array().is_none_or(|items| {
        schema["minItems"].as_u64().is_none_or(|least| items.len() as u64 >= least)
            && schema.get("items").is_none_or(|each| items.iter().all(|item| fits(each, root, item)))
    });
    let fields = value.as_object().is_none_or(|fields| {
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let field = |(name, value): (&String, &Value)| match schema["properties"].get(name) {
            Some(property) => fits(property, root, value),
            None => match &schema["additionalProperties"] {
                Value::Bool(allowed) => *allowed,
                Value::Null => true,
                each => fits(each, root, value),
            },
        };
        schema["maxProperties"].as_u64().is_none_or(|most| fields.len() as u64 <= most)
            && required.into_iter().all(|name| fields.contains_key(name))
            && fields.iter().all(field)
    });
    kinds && any && number && text && items && fields
}
