//! What a scalar means, as the YAML 1.1 reader behind `kubectl` (go-yaml) understands it.

use granit_parser::{ScalarStyle, Tag};
use serde_json::Number;

use super::Value;

/// The key whose value is merged into the mapping.
pub(super) const MERGE: &str = "<<";

const TRUE: [&str; 11] = ["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"];
const FALSE: [&str; 11] = ["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"];
const NULL: [&str; 5] = ["", "~", "null", "Null", "NULL"];

/// The value of a scalar. What was quoted, or is tagged `!!str`, is a text whatever it looks like.
pub(super) fn value(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Value {
    let tag = tag.filter(|tag| tag.handle() == "tag:yaml.org,2002:").map(Tag::suffix);
    let plain = match tag {
        Some("str" | "binary") => false,
        Some(_) => true,
        None => style == ScalarStyle::Plain,
    };
    if plain { resolved(text) } else { Value::Text(text.to_owned()) }
}

/// The name of a field. `on: x` is the field `true`, as `kubectl` would send it.
pub(super) fn key(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::List(_) | Value::Map(_) => None,
    }
}

fn resolved(text: &str) -> Value {
    if NULL.contains(&text) {
        Value::Null
    } else if TRUE.contains(&text) {
        Value::Bool(true)
    } else if FALSE.contains(&text) {
        Value::Bool(false)
    } else {
        number(text).map_or_else(|| Value::Text(text.to_owned()), Value::Number)
    }
}

/// An integer of any base, or a float. What JSON cannot hold (`.inf`) stays a text.
fn number(text: &str) -> Option<Number> {
    if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) {
        return None;
    }
    let digits = text.replace('_', "");
    integer(&digits).or_else(|| looks_like_float(&digits).then(|| Number::from_f64(digits.parse().ok()?)).flatten())
}

fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, radix) = match digits.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => (digits.get(2..)?, 16),
        Some("0b") => (digits.get(2..)?, 2),
        Some("0o") => (digits.get(2..)?, 8),
        _ if digits.len() > 1 && digits.starts_with('0') => (digits.get(1..)?, 8),
        _ => (digits, 10),
    };
    if !digits.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return None;
    }
    let value = u64::from_str_radix(digits, radix).ok()?;
    if negative { 0_i64.checked_sub_unsigned(value).map(Number::from) } else { Some(value.into()) }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn looks_like_float(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = |text: &str| digits(text.strip_prefix(['-', '+']).unwrap_or(text));
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let mantissa = match mantissa.split_once('.') {
        Some(("", fraction)) => digits(fraction),
        Some((whole, fraction)) => digits(whole) && (fraction.is_empty() || digits(fraction)),
        None => digits(mantissa),
    };
    mantissa && exponent.is_none_or(unsigned)
}
