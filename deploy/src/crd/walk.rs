//! A value held against a schema.

use super::Verdict;
use super::rules::Rule;
use super::schema::{Object, Shape, Text};
use crate::finding::{self, Finding, Severity};
use crate::yaml::{Entry, Node, Value};

/// How many labels a selector may name.
const LABELS: usize = 4096;
/// How long the value of a label may be.
const LABEL_VALUE: usize = 63;

pub(super) struct Walk<'a> {
    pub(super) verdict: &'a mut Verdict,
}

impl Walk<'_> {
    /// Notes everything that is wrong with a value.
    pub(super) fn value(&mut self, shape: &'static Shape, node: &Node, path: &str) {
        match (shape, &node.value) {
            (Shape::Text(text), Value::Text(value)) => self.text(text, value, node, path),
            (Shape::Integer { nullable: true, .. }, Value::Null) | (Shape::Free, Value::Map(_)) => {}
            (Shape::Integer { min, max, .. }, Value::Number(number)) => match whole(number) {
                Some(value) if value < i128::from(*min) => {
                    self.refuse("crd-range", node, path, &format!("{value} is less than the minimum of {min}"));
                }
                Some(value) if value > i128::from(*max) => {
                    self.refuse("crd-range", node, path, &format!("{value} is greater than the maximum of {max}"));
                }
                Some(_) => {}
                None => self.mistyped(shape, node, path),
            },
            (Shape::Labels, Value::Map(entries)) => self.labels(entries, node, path),
            (Shape::List { of, max, key }, Value::List(items)) => {
                if items.len() > *max {
                    let message = format!("{} members are more than the maximum of {max}", items.len());
                    self.refuse("crd-size", node, path, &message);
                }
                for (place, item) in items.iter().enumerate() {
                    self.value(of, item, &finding::member(path, place));
                }
                if let Some(key) = key {
                    self.unique(items, key, path);
                }
            }
            (Shape::Object(object), Value::Map(entries)) => self.object(object, entries, node, path),
            _ => self.mistyped(shape, node, path),
        }
    }

    fn text(&mut self, rule: &'static Text, value: &str, node: &Node, path: &str) {
        let length = value.chars().count();
        let shown = finding::shown(value);
        if length < rule.min {
            self.refuse("crd-size", node, path, &format!("{shown} should be non-empty"));
        }
        if length > rule.max {
            let message = format!("{shown} is too long: {length} characters, where {} are the maximum", rule.max);
            self.refuse("crd-size", node, path, &message);
        }
        if let Some(pattern) = rule.pattern.filter(|pattern| !(pattern.holds)(value)) {
            self.refuse("crd-pattern", node, path, &format!("{shown} does not match `{}`", pattern.regex));
        }
        if !rule.words.is_empty() && !rule.words.contains(&value) {
            let words = rule.words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
            let help = finding::nearest(value, rule.words.iter().copied())
                .map(|word| format!("did you mean `{word}`?"))
                .unwrap_or_default();
            self.refuse_with("crd-enum", node, path, &format!("{shown} is not one of {words}"), help);
        }
        if length >= rule.min {
            self.rules(rule.rules, node, path);
        }
    }

    fn labels(&mut self, entries: &[Entry], node: &Node, path: &str) {
        if entries.len() > LABELS {
            let message = format!("{} labels are more than the maximum of {LABELS}", entries.len());
            self.refuse("crd-size", node, path, &message);
        }
        if entries.iter().any(|entry| entry.key.contains('*')) {
            self.refuse("crd-cel", node, path, "wildcard not allowed in label key match");
        }
        if entries.iter().any(|entry| entry.key.is_empty()) {
            self.refuse("crd-cel", node, path, "key must not be empty");
        }
        for Entry { key, value, .. } in entries {
            let path = finding::field(path, key);
            match value.text() {
                None => self.refuse("crd-type", value, &path, &format!("{} is not a text", described(value))),
                Some(text) if text.contains('*') => {
                    self.refuse("crd-cel", value, &path, "wildcard not allowed in label value match");
                }
                Some(text) if text.chars().count() > LABEL_VALUE => {
                    let message = format!("{} is longer than {LABEL_VALUE} characters", finding::shown(text));
                    self.refuse("crd-size", value, &path, &message);
                }
                Some(_) => {}
            }
        }
    }

    fn object(&mut self, object: &'static Object, entries: &[Entry], node: &Node, path: &str) {
        for name in object.required {
            if node.get(name).is_none() {
                self.refuse("crd-required", node, path, &format!("`{name}` is a required property"));
            }
        }
        for entry in entries {
            let path = finding::field(path, &entry.key);
            match object.fields.iter().find(|(name, _)| *name == entry.key) {
                Some((_, shape)) => self.value(shape, &entry.value, &path),
                None => self.prune(object, entry, path),
            }
        }
        self.rules(object.rules, node, path);
    }

    fn prune(&mut self, object: &'static Object, entry: &Entry, path: String) {
        let known = object.fields.iter().map(|(name, _)| *name);
        let help = match finding::nearest(&entry.key, known) {
            Some(name) => format!("did you mean `{name}`?"),
            None => "remove the field, or put it where it belongs".to_owned(),
        };
        self.verdict.pruned.push(Finding {
            severity: Severity::Error,
            code: "unknown-field",
            path,
            at: entry.at,
            message: format!("there is no field `{}` here: the API server removes it without a word", entry.key),
            help,
        });
    }

    fn unique(&mut self, items: &[Node], key: &str, path: &str) {
        for (place, item) in items.iter().enumerate() {
            let Some(value) = item.get(key) else { continue };
            if items.iter().take(place).any(|other| other.get(key).is_some_and(|other| other.value == value.value)) {
                return self.refuse(
                    "crd-duplicate",
                    value,
                    path,
                    &format!("duplicate list-map key: {}", described(value)),
                );
            }
        }
    }

    fn rules(&mut self, rules: &'static [Rule], node: &Node, path: &str) {
        for rule in rules.iter().filter(|rule| !(rule.holds)(node)) {
            self.refuse("crd-cel", node, path, rule.message);
        }
    }

    fn mistyped(&mut self, shape: &'static Shape, node: &Node, path: &str) {
        let wanted = match shape {
            Shape::Text(_) => "a text",
            Shape::Integer { .. } => "a whole number",
            Shape::Free | Shape::Labels | Shape::Object(_) => "a mapping",
            Shape::List { .. } => "a list",
        };
        let help = match (shape, &node.value) {
            (Shape::Text(_), Value::Bool(_) | Value::Number(_)) => "put it in quotes".to_owned(),
            (Shape::Integer { .. }, Value::Text(_)) => "leave the quotes out".to_owned(),
            _ => String::new(),
        };
        self.refuse_with("crd-type", node, path, &format!("{} is not {wanted}", described(node)), help);
    }

    fn refuse(&mut self, code: &'static str, node: &Node, path: &str, message: &str) {
        self.refuse_with(code, node, path, message, String::new());
    }

    fn refuse_with(&mut self, code: &'static str, node: &Node, path: &str, message: &str, help: String) {
        self.verdict.refused.push(Finding {
            severity: Severity::Error,
            code,
            path: path.to_owned(),
            at: node.at,
            message: format!("the API server refuses it: {message}"),
            help,
        });
    }
}

/// The number, if it is a whole one; `10.0` is.
fn whole(number: &serde_json::Number) -> Option<i128> {
    let float = || number.as_f64().filter(|value| value.fract() == 0.0 && value.abs() < 1e18);
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and in range")]
    number.as_i128().or_else(|| float().map(|value| value as i128))
}

/// A value for a message.
fn described(node: &Node) -> String {
    match &node.value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("`{value}`"),
        Value::Number(value) => format!("`{value}`"),
        Value::Text(value) => finding::shown(value),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a mapping".to_owned(),
    }
}
