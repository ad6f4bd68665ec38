//! JSON Schema of configurations, for native runs only.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use crate::callout::Cluster;
use crate::config::Duration;
use crate::routes::Routes;
use crate::shared::Rate;

/// Asks for the schema of a type that may have none.
#[derive(Debug)]
pub struct SchemaOf<T>(PhantomData<T>);

impl<T> SchemaOf<T> {
    /// The question.
    #[expect(clippy::new_without_default, reason = "only a macro asks")]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

/// The answer of types with a schema.
pub trait WithSchema {
    /// The schema, as JSON.
    fn schema(&self) -> Option<String>;
}

/// The answer of all other types.
pub trait WithoutSchema {
    /// Nothing.
    fn schema(&self) -> Option<String>;
}

impl<T: JsonSchema> WithSchema for SchemaOf<T> {
    fn schema(&self) -> Option<String> {
        let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value();
        close(&mut schema);
        Some(schema.to_string())
    }
}

impl<T> WithoutSchema for &SchemaOf<T> {
    fn schema(&self) -> Option<String> {
        None
    }
}

/// Refuses fields that a schema does not name, as reading a configuration does.
fn close(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(close),
        Value::Object(fields) => {
            let composed = ["allOf", "anyOf", "oneOf", "$ref", "additionalProperties"];
            if fields.get("properties").is_some_and(Value::is_object)
                && !composed.iter().any(|word| fields.contains_key(*word))
            {
                fields.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            let data = ["examples", "default", "const", "enum"];
            fields.iter_mut().filter(|(name, _)| !data.contains(&name.as_str())).for_each(|(_, value)| close(value));
        }
        _ => {}
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A length of time, such as `250ms`, `1.5s` or `1h30m`.",
            "pattern": r"^(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|ms|s|m|h))+$",
        })
    }
}

impl JsonSchema for Cluster {
    fn schema_name() -> Cow<'static, str> {
        "Cluster".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "description": "The name of a cluster of the proxy.", "minLength": 1})
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let number = json_schema!({"type": "integer", "minimum": 1, "maximum": u32::MAX});
        json_schema!({
            "type": "object",
            "description": "How many tokens a bucket holds, and how many come back per second.",
            "properties": {"per_second": number, "burst": number},
            "required": ["per_second", "burst"],
        })
    }
}

impl<C: JsonSchema> JsonSchema for Routes<C> {
    fn schema_name() -> Cow<'static, str> {
        format!("RoutesOf{}", C::schema_name()).into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let whole = || {
            let settings = SchemaSettings::draft2020_12().with(|settings| {
                settings.inline_subschemas = true;
                settings.meta_schema = None;
            });
            settings.into_generator().into_root_schema_for::<C>().to_value()
        };
        let mut part = whole();
        relax(&mut part);
        let text = json_schema!({
            "type": "object",
            "properties": {"exact": {"type": "string"}, "prefix": {"type": "string"}, "regex": {"type": "string"}},
            "maxProperties": 1,
        });
        let texts = json_schema!({"type": "object", "additionalProperties": text});
        let entry = json_schema!({
            "type": "object",
            "description": "Conditions that must all hold, as in the `match` of Istio's `VirtualService`.",
            "properties": {
                "name": {"type": "string"},
                "uri": text,
                "ignoreUriCase": {"type": "boolean"},
                "method": text,
                "scheme": text,
                "authority": text,
                "headers": texts,
                "withoutHeaders": texts,
                "queryParams": texts,
                "routeName": text,
            },
        });
        json_schema!({
            "type": "object",
            "properties": {
                "defaults": whole(),
                "routes": {
                    "type": "array",
                    "description": "The first that matches wins; its `config` is merged over `defaults`.",
                    "items": {
                        "type": "object",
                        "properties": {
                            "hosts": {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
                            "match": {"type": "array", "items": entry},
                            "config": part,
                        },
                    },
                },
            },
        })
    }
}

/// Makes every field optional, and removable by `null`: a part that is merged over a whole.
fn relax(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    fields.remove("required");
    let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for property in properties.values_mut() {
        relax(property);
        let whole = property.take();
        *property = serde_json::json!({"anyOf": [whole, {"type": "null"}]});
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(serde::Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Config {
        cluster: Cluster,
        timeout: Option<Duration>,
        limits: Routes<Rate>,
    }

    struct Bare;

    #[test]
    fn a_type_without_a_schema_has_none() {
        assert_eq!((&SchemaOf::<Bare>::new()).schema(), None);
        assert!(SchemaOf::<Config>::new().schema().is_some());
    }

    #[test]
    fn our_own_types_say_what_they_take() {
        let schema: Value = serde_json::from_str(&SchemaOf::<Config>::new().schema().unwrap()).unwrap();
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["required"], json!(["cluster", "limits"]));
        assert_eq!(schema["$defs"]["Cluster"]["minLength"], 1);
        let pattern = regex::Regex::new(schema["$defs"]["Duration"]["pattern"].as_str().unwrap()).unwrap();
        for text in ["250ms", "1.5s", "1h30m", ".5s", "1.s", "", "5", "5x", "-1s", "s", ".s", "1e3s", "1.2.3s", "1 s"] {
            assert_eq!(pattern.is_match(text), text.parse::<Duration>().is_ok(), "{text}");
        }
        let routes = &schema["$defs"]["RoutesOfRate"]["properties"];
        assert_eq!(routes["defaults"]["required"], json!(["per_second", "burst"]));
        let part = &routes["routes"]["items"]["properties"]["config"];
        assert_eq!(part["required"], Value::Null);
        assert_eq!(part["properties"]["burst"]["anyOf"][0]["minimum"], 1);
        assert_eq!(part["additionalProperties"], false);
    }
}
