//! Whether protobuf could decode a value from JSON: laxer than the API server in some things (`"10"` is a number, `null`
//! is nothing), but an unknown word of an enumeration is an error.

use crate::crd::schema::{Object, Shape};
use crate::finding;
use crate::yaml::{Location, Node, Value};

/// Something that cannot be decoded.
pub(super) struct Wrong {
    pub(super) at: Location,
    pub(super) path: String,
    pub(super) message: String,
}

/// Finds the first thing that cannot be decoded.
pub(super) fn check(shape: &Shape, node: &Node, path: &str) -> Result<(), Wrong> {
    let wrong = |message: String| Err(Wrong { at: node.at, path: path.to_owned(), message });
    match (shape, &node.value) {
        (_, Value::Null) | (Shape::Free, Value::Map(_)) => Ok(()),
        (Shape::Text(text), Value::Text(value)) if !text.words.is_empty() && !text.words.contains(&value.as_str()) => {
            wrong(format!("unknown value {} for an enumeration", finding::shown(value)))
        }
        (Shape::Text(_), Value::Text(_)) => Ok(()),
        (Shape::Text(text), Value::Number(_)) if !text.words.is_empty() && whole(node).is_some() => Ok(()),
        (Shape::Integer { nullable, .. }, Value::Number(_) | Value::Text(_)) => {
            let range = if *nullable { i64::from(i32::MIN)..=i64::from(i32::MAX) } else { 0..=i64::from(u32::MAX) };
            match whole(node) {
                Some(value) if range.contains(&value) => Ok(()),
                _ => wrong("the number is out of range, or is none".to_owned()),
            }
        }
        (Shape::Labels, Value::Map(labels)) => match labels.iter().find(|label| label.value.text().is_none()) {
            Some(label) => Err(Wrong {
                at: label.value.at,
                path: finding::field(path, &label.key),
                message: "a text is expected".to_owned(),
            }),
            None => Ok(()),
        },
        (Shape::List { of, .. }, Value::List(items)) => items.iter().enumerate().try_for_each(|(place, item)| {
            let path = finding::member(path, place);
            if item.is_null() {
                return Err(Wrong { at: item.at, path, message: "a member of a list cannot be null".to_owned() });
            }
            check(of, item, &path)
        }),
        (Shape::Object(Object { fields, .. }), Value::Map(entries)) => entries.iter().try_for_each(|entry| {
            let known = fields.iter().find(|(name, _)| *name == entry.key);
            known.map_or(Ok(()), |(name, shape)| check(shape, &entry.value, &finding::field(path, name)))
        }),
        _ => wrong("the value has the wrong type".to_owned()),
    }
}

/// A whole number, also one in quotes.
pub(super) fn whole(node: &Node) -> Option<i64> {
    let float = |value: f64| (value.fract() == 0.0 && value.abs() < 1e15).then_some(value);
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and in range")]
    let rounded = |value: f64| float(value).map(|value| value as i64);
    match &node.value {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().and_then(rounded)),
        Value::Text(text) => text.parse().ok().or_else(|| text.parse().ok().and_then(rounded)),
        _ => None,
    }
}

/// The word of an enumeration, also where it was given by its number; the first one if it was not given.
pub(super) fn word<'a>(node: &'a Node, name: &str, words: &[&'a str]) -> &'a str {
    let given = node.get(name);
    let number = || given.and_then(whole).and_then(|number| usize::try_from(number).ok()).unwrap_or_default();
    given.and_then(Node::text).or_else(|| words.get(number()).copied()).unwrap_or_default()
}
