//! A plugin's configuration held against the JSON Schema that its module carries.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind as Broken;
use serde_json::Value as Json;

use super::rule;
use crate::finding::{self, Finding};
use crate::yaml::{Location, Node};

/// Everything that the module would refuse, with the place of each value. A schema that is none finds nothing: the
/// module decides in the end.
#[must_use]
pub fn check(configuration: &Node, schema: &Json, path: &str) -> Vec<Finding> {
    let Ok(validator) = jsonschema::validator_for(schema) else { return Vec::new() };
    let json = configuration.to_json();
    let subject = Subject { configuration, schema, path };
    validator.iter_errors(&json).flat_map(|error| subject.findings(&error)).collect()
}

/// What counts of a module's schema for one of its plugins: that which stands for its name below `x-root-ids`, or all of it where
/// the module has one plugin.
pub(super) fn of_plugin<'a>(schema: &'a Json, name: &str) -> Option<&'a Json> {
    match schema.get("x-root-ids") {
        Some(by_name) => by_name.get(name),
        None => Some(schema),
    }
}

struct Subject<'a> {
    configuration: &'a Node,
    schema: &'a Json,
    path: &'a str,
}

impl Subject<'_> {
    fn findings(&self, error: &ValidationError<'_>) -> Vec<Finding> {
        let (path, node) = self.place(error.instance_path().as_str());
        match error.kind() {
            Broken::AdditionalProperties { unexpected } | Broken::UnevaluatedProperties { unexpected } => {
                let known = self.known_fields(error.schema_path().as_str());
                unexpected.iter().map(|name| unknown(name, &known, &path, node)).collect()
            }
            Broken::AnyOf { context } | Broken::OneOfNotValid { context } => {
                let depth = |error: &ValidationError<'_>| error.instance_path().as_str().len();
                let own = depth(error);
                // The form that was meant is the one that fits outside, and fails further inside.
                let inside = |errors: &&Vec<ValidationError<'_>>| errors.iter().all(|error| depth(error) > own);
                match context.iter().filter(inside).min_by_key(|errors| errors.len()) {
                    Some(errors) => errors.iter().flat_map(|error| self.findings(error)).collect(),
                    None => vec![broken(&path, node.at, forms(context))],
                }
            }
            _ => vec![broken(&path, node.at, format!("the module refuses it: {error}"))],
        }
    }

    /// The path of a value for people, and the value; where it is missing, what it is missing from.
    fn place(&self, pointer: &str) -> (String, &Node) {
        let mut path = self.path.to_owned();
        let mut node = self.configuration;
        for step in pointer.split('/').skip(1) {
            let name = step.replace("~1", "/").replace("~0", "~");
            let item = name.parse().ok().and_then(|place: usize| node.items().get(place).map(|item| (place, item)));
            node = match (item, node.get(&name)) {
                (Some((place, item)), _) => {
                    path = finding::member(&path, place);
                    item
                }
                (None, Some(value)) => {
                    path = finding::field(&path, &name);
                    value
                }
                (None, None) => break,
            };
        }
        (path, node)
    }

    /// The fields that the schema around `additionalProperties` knows.
    fn known_fields(&self, keyword: &str) -> Vec<&str> {
        let around = keyword.rsplit_once('/').map(|(around, _)| around).unwrap_or_default();
        let properties = self.schema.pointer(around).and_then(|schema| schema.get("properties"));
        properties
            .and_then(Json::as_object)
            .map(|fields| fields.keys().map(String::as_str).collect())
            .unwrap_or_default()
    }
}

fn unknown(name: &str, known: &[&str], path: &str, node: &Node) -> Finding {
    let at = node.entry(name).map_or(node.at, |entry| entry.at);
    let message = format!("the module refuses it: there is no field `{name}` here");
    let help = match finding::nearest(name, known.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if known.is_empty() => "leave it out".to_owned(),
        None => format!("there are {}", known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
    };
    Finding { help, ..broken(&finding::field(path, name), at, message) }
}

fn broken(path: &str, at: Location, message: String) -> Finding {
    rule::CONFIG_SCHEMA.finding(at, path, message)
}

fn forms(context: &[Vec<ValidationError<'_>>]) -> String {
    let first = |errors: &Vec<ValidationError<'_>>| errors.first().map(ToString::to_string);
    let reasons: Vec<_> = context.iter().filter_map(first).collect();
    format!("the module refuses it, in each of the forms that it knows: {}", reasons.join("; "))
}
