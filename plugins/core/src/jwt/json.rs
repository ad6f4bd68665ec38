//! Strict JSON for tokens and key sets: RFC 8259, no member twice, at most 100 levels; numbers are 64-bit floats.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

/// The members of an object, in byte order of their names.
pub(crate) type Object = BTreeMap<String, Json>;

/// How deep values may lie in each other; Envoy's limit, measured.
const MAX_DEPTH: u8 = 100;

/// A JSON value as Envoy's `Struct` knows it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(f64),
    String(String),
    List(Vec<Json>),
    Object(Object),
}

impl Json {
    /// Reads one value with nothing after it; `None` if it is not strict JSON.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let value = Depth(MAX_DEPTH).deserialize(&mut deserializer).ok()?;
        deserializer.end().ok()?;
        Some(value)
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }
}

/// Reads an object; Envoy reads the literal `null` as an empty one.
pub(crate) fn parse_object(text: &[u8]) -> Option<Object> {
    match Json::parse(text)? {
        Json::Object(members) => Some(members),
        Json::Null => Some(Object::new()),
        _ => None,
    }
}

/// Reads a value that may hold so many more levels.
#[derive(Clone, Copy)]
struct Depth(u8);

impl Depth {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        self.0.checked_sub(1).map(Self).ok_or_else(|| E::custom("nested too deeply"))
    }
}

impl<'de> DeserializeSeed<'de> for Depth {
    type Value = Json;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Depth {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "Envoy's numbers are 64-bit floats, and claims are compared with its"
    )]
    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value as f64))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "Envoy's numbers are 64-bit floats, and claims are compared with its"
    )]
    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
        let deeper = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(deeper)? {
            values.push(value);
        }
        Ok(Json::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let deeper = self.deeper()?;
        let mut members = Object::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(deeper)?;
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member appears twice"));
            }
        }
        Ok(Json::Object(members))
    }
}

/// Writes compact JSON as protobuf does: `<`, `>` and invisible characters escaped, whole numbers without a point.
pub(crate) fn write(value: &Json, out: &mut String) {
    match value {
        Json::Null => out.push_str("null"),
        Json::Bool(true) => out.push_str("true"),
        Json::Bool(false) => out.push_str("false"),
        Json::Number(number) => write_number(*number, out),
        Json::String(text) => write_string(text, out),
        Json::List(values) => {
            out.push('[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(value, out);
            }
            out.push(']');
        }
        Json::Object(members) => write_object(members, out),
    }
}

/// Writes an object, its members in byte order of their names.
pub(crate) fn write_object(members: &Object, out: &mut String) {
    out.push('{');
    for (index, (name, value)) in members.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_string(name, out);
        out.push(':');
        write(value, out);
    }
    out.push('}');
}

/// The shortest digits that mean the same number, with an exponent where C's `%.17g` has one.
fn write_number(number: f64, out: &mut String) {
    let scientific = format!("{number:e}");
    let exponent =
        scientific.rsplit_once('e').and_then(|(mantissa, power)| Some((mantissa, power.parse::<i32>().ok()?)));
    match exponent {
        Some((mantissa, power)) if !(-4..=17).contains(&power) => {
            let sign = if power < 0 { '-' } else { '+' };
            out.push_str(&format!("{mantissa}e{sign}{:02}", power.unsigned_abs()));
        }
        _ => out.push_str(&format!("{number}")),
    }
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '\0'..='\x1f' | '\x7f' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Option<String> {
        let mut out = String::new();
        write(&Json::parse(text.as_bytes())?, &mut out);
        Some(out)
    }

    #[test]
    fn what_is_not_strict_json_is_refused() {
        for text in [
            "",
            "{",
            "{}x",
            "{} {}",
            "{'a':1}",
            "{a:1}",
            "{\"a\":1,}",
            "[1,]",
            "{\"a\":\"\t\"}",
            "// x\n{}",
            "\u{feff}{}",
            "NaN",
            "01",
            "+1",
            "1e400",
            "-1e400",
            "\"\\ud800\"",
            "{\"a\":1,\"a\":1}",
            "{\"a\":1,\"\\u0061\":2}",
            "{\"b\":{\"a\":1,\"a\":1}}",
            "[{\"a\":1,\"a\":1}]",
            "\"\\x41\"",
            "nul",
            "\u{0}",
        ] {
            assert_eq!(written(text), None, "{text:?}");
        }
        assert_eq!(Json::parse(b"\"\xff\""), None);
        assert_eq!(Json::parse(b"\"\xc0\xaf\""), None);
    }

    #[test]
    fn a_hundred_levels_are_read_and_one_more_is_not() {
        let nested = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(Json::parse(nested(100).as_bytes()).is_some());
        assert!(Json::parse(nested(101).as_bytes()).is_none());
        assert!(Json::parse("[".repeat(100_000).as_bytes()).is_none());
    }

    #[test]
    fn values_are_written_compactly_as_protobuf_does() {
        for (text, expected) in [
            (r#" { "b" : [ 1 , 2.50 ] , "a" : null } "#, r#"{"a":null,"b":[1,2.5]}"#),
            (r#""<a>&\u0001\u007f\/é""#, "\"\\u003ca\\u003e&\\u0001\\u007f/é\""),
            (
                "[1e2,-7,-0.0,1e21,1.5e-7,12345678901234567,18446744073709551615]",
                "[100,-7,-0,1e+21,1.5e-07,12345678901234568,1.8446744073709552e+19]",
            ),
            ("[true,false,\"\"]", "[true,false,\"\"]"),
        ] {
            assert_eq!(written(text).as_deref(), Some(expected));
        }
    }
}
