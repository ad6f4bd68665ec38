//! The API server's checks once more, by a JSON Schema engine and a CEL engine, over documents of both kinds of plugins: what
//! this crate says about a document, and what it renders, must agree with them.

use cel::{Context, Program};
use proptest::prelude::*;
use serde_json::{Value, json};
use wasmplugin_deploy::resource::{Extension, TrafficExtension, WasmPlugin};
use wasmplugin_deploy::{admission, render, source};

use crate::cases;

/// The schema of `spec`, written from what the definitions ask for.
fn schema(kind: &str) -> Value {
    let target = json!({
        "type": "object", "required": ["kind", "name"],
        "properties": {
            "group": {"type": "string", "maxLength": 253, "pattern": r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"},
            "kind": {"type": "string", "minLength": 1, "maxLength": 63, "pattern": "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$"},
            "name": {"type": "string", "minLength": 1, "maxLength": 253},
            "namespace": {"type": "string"},
        },
    });
    let port = json!({"type": "object", "required": ["number"], "properties": {"number": {"type": "integer", "minimum": 1, "maximum": 65535}}});
    let traffic = json!({
        "type": "object",
        "properties": {
            "mode": {"enum": ["UNDEFINED", "CLIENT", "SERVER", "CLIENT_AND_SERVER"]},
            "ports": {"type": "array", "items": port},
        },
    });
    let env = json!({
        "type": "object", "required": ["name"],
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 256},
            "value": {"type": "string", "maxLength": 2048},
            "valueFrom": {"enum": ["INLINE", "HOST"]},
        },
    });
    let wasm = json!({
        "url": {"type": "string", "minLength": 1},
        "sha256": {"type": "string", "pattern": "(^$|^[a-f0-9]{64}$)"},
        "imagePullPolicy": {"enum": ["UNSPECIFIED_POLICY", "IfNotPresent", "Always"]},
        "imagePullSecret": {"type": "string", "minLength": 1, "maxLength": 253},
        "verificationKey": {"type": "string"},
        "pluginConfig": {"type": "object"},
        "pluginName": {"type": "string", "minLength": 1, "maxLength": 256},
        "failStrategy": {"enum": ["FAIL_CLOSE", "FAIL_OPEN", "FAIL_RELOAD"]},
        "vmConfig": {"type": "object", "properties": {"env": {"type": "array", "maxItems": 256, "items": env}}},
        "type": {"enum": ["UNSPECIFIED_PLUGIN_TYPE", "HTTP", "NETWORK"]},
    });
    let mut fields = json!({
        "selector": {"type": "object", "properties": {"matchLabels": {
            "type": "object", "maxProperties": 4096, "additionalProperties": {"type": "string", "maxLength": 63},
        }}},
        "targetRefs": {"type": "array", "maxItems": 16, "items": target},
        "priority": {"type": ["integer", "null"], "minimum": i32::MIN, "maximum": i32::MAX},
        "match": {"type": "array", "items": traffic},
    });
    let own = fields.as_object_mut().unwrap();
    if kind == "WasmPlugin" {
        own.insert("targetRef".into(), target);
        own.insert("phase".into(), json!({"enum": ["UNSPECIFIED_PHASE", "AUTHN", "AUTHZ", "STATS"]}));
        own.extend(wasm.as_object().unwrap().clone());
        return json!({"type": "object", "required": ["url"], "properties": fields});
    }
    own.insert("phase".into(), json!({"enum": ["UNSPECIFIED", "AUTHN", "AUTHZ", "STATS"]}));
    own.insert("wasm".into(), json!({"type": "object", "required": ["url"], "properties": wasm}));
    own.insert(
        "lua".into(),
        json!({
            "type": "object", "required": ["inlineCode"],
            "properties": {"inlineCode": {"type": "string", "minLength": 1, "maxLength": 65536}},
        }),
    );
    json!({"type": "object", "properties": fields})
}

/// The CEL rules: where they hold, and their text. `url()` is not part of CEL, and is asked for apart.
const RULES: [(&str, &str); 8] = [
    ("", "(has(self.selector) ? 1 : 0) + (has(self.targetRef) ? 1 : 0) + (has(self.targetRefs) ? 1 : 0) <= 1"),
    ("/selector/matchLabels", "self.all(key, !key.contains('*'))"),
    ("/selector/matchLabels", "self.all(key, key.size() != 0)"),
    ("/selector/matchLabels/*", "!self.contains('*')"),
    ("/targetRef/namespace", "self.size() == 0"),
    ("/targetRefs/*/namespace", "self.size() == 0"),
    ("/vmConfig/env/*", "(has(self.valueFrom) ? self.valueFrom : '') != 'HOST' || !has(self.value)"),
    ("/wasm/vmConfig/env/*", "(has(self.valueFrom) ? self.valueFrom : '') != 'HOST' || !has(self.value)"),
];

/// Lists whose members differ in a field.
const KEYS: [(&str, &str); 3] =
    [("/match/*/ports", "number"), ("/vmConfig/env", "name"), ("/wasm/vmConfig/env", "name")];

/// Whether the API server admits a `spec`.
fn admits(kind: &str, spec: &Value) -> bool {
    if !jsonschema::is_valid(&schema(kind), spec) {
        return false;
    }
    let one_program = kind == "WasmPlugin" || spec.get("wasm").is_some() != spec.get("lua").is_some();
    let url = spec.get("url").or_else(|| spec.pointer("/wasm/url")).and_then(Value::as_str);
    one_program
        && url.is_none_or(|url| source::admit(url).is_ok())
        && RULES.iter().all(|(path, rule)| reached(spec, path).iter().all(|value| holds(rule, value)))
        && KEYS.iter().all(|(path, key)| reached(spec, path).iter().all(|list| differ(list, key)))
}

fn holds(rule: &str, value: &Value) -> bool {
    let mut context = Context::default();
    context.add_variable("self", value.clone()).unwrap();
    Program::compile(rule).unwrap().execute(&context).unwrap() == cel::Value::Bool(true)
}

/// Every value that a path with wildcards leads to.
fn reached<'a>(value: &'a Value, path: &str) -> Vec<&'a Value> {
    path.split('/').skip(1).fold(vec![value], |values, step| {
        let next = |value: &'a Value| -> Vec<&'a Value> {
            match (step, value) {
                ("*", Value::Array(items)) => items.iter().collect(),
                ("*", Value::Object(fields)) => fields.values().collect(),
                (name, value) => value.get(name).into_iter().collect(),
            }
        };
        values.into_iter().flat_map(next).collect()
    })
}

fn differ(list: &Value, key: &str) -> bool {
    let items = list.as_array().unwrap();
    items.iter().enumerate().all(|(place, item)| items[..place].iter().all(|other| other[key] != item[key]))
}

#[test]
fn the_oracle_agrees_with_the_table() {
    for case in cases::table("validation") {
        let valid = case["expect"]["crd"] == "valid";
        assert_eq!(admits(case["kind"].as_str().unwrap(), &case["spec"]), valid, "{}", case["id"]);
    }
}

/// A text from a few that matter, or a short one of any letters.
fn word(known: &'static [&'static str]) -> impl Strategy<Value = Value> {
    prop_oneof![4 => prop::sample::select(known).prop_map(Value::from), 1 => "[a-zA-Z*. -]{0,8}".prop_map(Value::from)]
}

fn odd(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    prop_oneof![12 => value, 1 => Just(Value::Null), 1 => Just(json!(7)), 1 => Just(json!([])), 1 => Just(json!({}))]
}

/// A mapping with some of these fields.
fn mapping(fields: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let field = |(name, value): (&'static str, BoxedStrategy<Value>)| {
        prop::option::weighted(0.6, value).prop_map(move |value| (name, value))
    };
    fields
        .into_iter()
        .map(|one| field(one).boxed())
        .collect::<Vec<_>>()
        .prop_map(|fields| fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
        .boxed()
}

fn list(value: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    prop::collection::vec(value, 0..4).prop_map(Value::from).boxed()
}

fn target() -> BoxedStrategy<Value> {
    mapping(vec![
        ("group", odd(word(&["", "core", "gateway.networking.k8s.io", "networking.istio.io", "Bad_"])).boxed()),
        ("kind", odd(word(&["Service", "Gateway", "ServiceEntry", "1x"])).boxed()),
        ("name", odd(word(&["a", ""])).boxed()),
        ("namespace", word(&["", "", "other"]).boxed()),
    ])
}

fn wasm_fields() -> Vec<(&'static str, BoxedStrategy<Value>)> {
    let env = mapping(vec![
        ("name", odd(word(&["A", "B", ""])).boxed()),
        ("value", odd(word(&["x", ""])).boxed()),
        ("valueFrom", odd(word(&["INLINE", "HOST"])).boxed()),
    ]);
    vec![
        (
            "url",
            word(&["oci://r/a:1", "https://h/x", "file:///x", "r/a", "localhost:5000/a", "s3://b", "1.2.3.4:5/a"])
                .boxed(),
        ),
        ("sha256", odd(word(&["", "01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b", "abc"])).boxed()),
        ("imagePullPolicy", odd(word(&["IfNotPresent", "Always", "UNSPECIFIED_POLICY"])).boxed()),
        ("imagePullSecret", odd(word(&["s", ""])).boxed()),
        ("pluginConfig", odd(Just(json!({"a": 1, "yes": "no", "b": [null, "x: y"]}))).boxed()),
        ("pluginName", odd(word(&["root", ""])).boxed()),
        ("failStrategy", odd(word(&["FAIL_CLOSE", "FAIL_OPEN", "FAIL_RELOAD"])).boxed()),
        ("vmConfig", mapping(vec![("env", list(env))])),
        ("type", odd(word(&["HTTP", "NETWORK", "UNSPECIFIED_PLUGIN_TYPE"])).boxed()),
    ]
}

fn common_fields() -> Vec<(&'static str, BoxedStrategy<Value>)> {
    let port = mapping(vec![(
        "number",
        prop_oneof![Just(json!(0)), Just(json!(80)), Just(json!(65535)), Just(json!(65536)), Just(json!("80"))].boxed(),
    )]);
    let traffic = mapping(vec![
        ("mode", odd(word(&["CLIENT", "SERVER", "UNDEFINED", "CLIENT_AND_SERVER"])).boxed()),
        ("ports", list(port)),
    ]);
    let labels = prop::collection::btree_map("(app|v\\*|)", "[a-z*]{0,4}", 0..3).prop_map(|labels| json!(labels));
    vec![
        ("selector", mapping(vec![("matchLabels", odd(labels).boxed())])),
        (
            "priority",
            prop_oneof![
                Just(json!(1)),
                Just(json!(-5)),
                Just(Value::Null),
                Just(json!(2_147_483_648_u64)),
                Just(json!("1"))
            ]
            .boxed(),
        ),
        ("match", list(traffic)),
        ("phase", odd(word(&["AUTHN", "AUTHZ", "STATS", "UNSPECIFIED", "UNSPECIFIED_PHASE"])).boxed()),
    ]
}

fn object() -> impl Strategy<Value = (&'static str, Value)> {
    let mut plugin = [common_fields(), wasm_fields()].concat_fields();
    plugin.push(("targetRef", target()));
    plugin.push(("targetRefs", list(target())));
    let mut extension = common_fields();
    extension.push(("targetRefs", list(target())));
    extension.push(("wasm", mapping(wasm_fields())));
    extension
        .push(("lua", mapping(vec![("inlineCode", odd(word(&["function envoy_on_request(h)\nend", ""])).boxed())])));
    prop_oneof![
        mapping(plugin).prop_map(|spec| ("WasmPlugin", spec)),
        mapping(extension).prop_map(|spec| ("TrafficExtension", spec))
    ]
}

/// Joins two lists of fields.
trait Joined {
    fn concat_fields(self) -> Vec<(&'static str, BoxedStrategy<Value>)>;
}

impl Joined for [Vec<(&'static str, BoxedStrategy<Value>)>; 2] {
    fn concat_fields(self) -> Vec<(&'static str, BoxedStrategy<Value>)> {
        self.into_iter().flatten().collect()
    }
}

fn read(kind: &str, spec: &Value) -> Option<Extension> {
    cases::document(&json!({"kind": kind, "spec": spec})).extension().ok().flatten()
}

/// What is admitted of a `spec`: the least that there must be, and every field with which it stays admitted.
fn sound(kind: &str, spec: &Value) -> Value {
    let mut sound = match (kind, spec.get("wasm"), spec.get("lua")) {
        ("WasmPlugin", ..) => json!({"url": "oci://r/a:1"}),
        (_, None, Some(_)) => json!({"lua": {"inlineCode": "x"}}),
        _ => json!({"wasm": {"url": "oci://r/a:1"}}),
    };
    let fields = spec.as_object().unwrap().iter().flat_map(|(name, value)| match (name.as_str(), value.as_object()) {
        ("wasm" | "lua", Some(own)) => own.iter().map(|(field, value)| (format!("/{name}"), field, value)).collect(),
        _ => vec![(String::new(), name, value)],
    });
    for (place, name, value) in fields {
        let mut candidate = sound.clone();
        let Some(object) = candidate.pointer_mut(&place).and_then(Value::as_object_mut) else { continue };
        object.insert(name.clone(), value.clone());
        if read(kind, &candidate).is_some() {
            sound = candidate;
        }
    }
    sound
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn this_crate_refuses_what_the_oracle_refuses((kind, spec) in object()) {
        let document = cases::document(&json!({"kind": kind, "spec": spec}));
        let crd = admission::check(&document, document.kind().unwrap()).crd;
        prop_assert_eq!(crd.refused.is_empty(), admits(kind, &spec), "{:?} {:?}", spec, crd.refused);
    }

    #[test]
    fn what_is_rendered_is_admitted_and_reads_back((kind, spec) in object()) {
        let extension = read(kind, &sound(kind, &spec)).unwrap();
        let traffic_extension = extension.clone().into_traffic_extension();
        for resource in std::iter::once(traffic_extension).chain(extension.clone().into_wasm_plugin()) {
            let text = render::yaml([&resource]).unwrap();
            let document = wasmplugin_deploy::document::read(&text).remove(0).unwrap();
            let json = document.root.to_json();
            let rendered = json["kind"].as_str().unwrap();
            prop_assert!(admits(rendered, &json["spec"]), "{}", text);
            prop_assert!(jsonschema::is_valid(&strict(rendered), &json["spec"]), "{}", text);
            let again = document.extension().unwrap().unwrap();
            prop_assert_eq!(&again.spec, &extension.spec, "{}", text);
            prop_assert_eq!(&again.metadata, &extension.metadata);
        }
    }

    #[test]
    fn reading_and_writing_json_is_the_same((kind, spec) in object()) {
        let object = json!({"metadata": {"name": "p"}, "spec": sound(kind, &spec)});
        if kind == "WasmPlugin" {
            let resource: WasmPlugin = serde_json::from_value(object).unwrap();
            let again: WasmPlugin = serde_json::from_value(serde_json::to_value(&resource).unwrap()).unwrap();
            prop_assert_eq!(resource, again);
        } else {
            let resource: TrafficExtension = serde_json::from_value(object).unwrap();
            let again: TrafficExtension = serde_json::from_value(serde_json::to_value(&resource).unwrap()).unwrap();
            prop_assert_eq!(resource, again);
        }
    }
}

/// The schema without room for fields that the API server would remove.
fn strict(kind: &str) -> Value {
    let mut schema = schema(kind);
    schema["additionalProperties"] = false.into();
    schema
}
