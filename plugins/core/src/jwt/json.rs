//! Strict JSON for tokens and key sets: RFC 8259, no member twice, at most 100 levels; numbers are 64-bit floats.

use std::collections::BTreeMap;

use crate::finding::{At, Finding};
use crate::json::{self, Kind};

/// The members of an object, in byte order of their names.
pub(crate) type Object = BTreeMap<String, Json>;

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
        let mut json = json::Json::new(text).ok()?;
        let value = Self::read(&mut json, At::Whole).ok()?;
        json.end().ok()?;
        Some(value)
    }

    /// Reads the value that comes next. How deep values lie in each other is bounded by the reader.
    fn read(json: &mut json::Json<'_>, at: At<'_>) -> Result<Self, Finding> {
        Ok(match json.kind()? {
            Kind::Null => {
                json.null()?;
                Self::Null
            }
            Kind::Flag => Self::Bool(json.flag(at)?),
            Kind::Number => Self::Number(number(json.number(at)?).ok_or_else(|| at.finding("is too large"))?),
            Kind::Text => Self::String(json.text(at)?.into_owned()),
            Kind::List => {
                let mut values = Vec::new();
                json.list(at, &mut |json, at| Self::read(json, at).map(|value| values.push(value)))?;
                Self::List(values)
            }
            Kind::Object => {
                let mut members = Object::new();
                json.members(at, &mut |json, name| match members.insert(name.into_owned(), Self::read(json, at)?) {
                    None => Ok(()),
                    Some(_) => Err(at.finding("has a member twice")),
                })?;
                Self::Object(members)
            }
        })
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }
}

/// A number as 64-bit float; `None` if it is larger than any.
fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// Reads an object; Envoy reads the literal `null` as an empty one.
pub(crate) fn parse_object(text: &[u8]) -> Option<Object> {
    match Json::parse(text)? {
        Json::Object(members) => Some(members),
        Json::Null => Some(Object::new()),
        _ => None,
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

/// As C's `%.15g` writes it, or `%.17g` where that means another number.
fn write_number(number: f64, out: &mut String) {
    let short = format!("{number:.14e}");
    let (text, precision) = match short.parse::<f64>() {
        Ok(same) if number == same => (short, 15),
        _ => (format!("{number:.16e}"), 17),
    };
    // Both always have a point and an exponent.
    let (mantissa, power) = text.split_once('e').unwrap_or((&text, "0"));
    let power: i32 = power.parse().unwrap_or_default();
    let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
    if !(-4..precision).contains(&power) {
        let sign = if power < 0 { '-' } else { '+' };
        out.push_str(&format!("{mantissa}e{sign}{:02}", power.unsigned_abs()));
        return;
    }
    // So many digits stand behind the point, and no digit is lost.
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    let behind = i32::try_from(digits).unwrap_or(1).saturating_sub(1).saturating_sub(power).max(0);
    out.push_str(&format!("{number:.*}", usize::try_from(behind).unwrap_or_default()));
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
            _ if is_escaped(character) => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}

/// What protobuf escapes beyond what JSON demands: what would be markup in HTML, and what nobody sees.
fn is_escaped(character: char) -> bool {
    matches!(character,
        '<' | '>' | '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{ad}' | '\u{600}'..='\u{603}' | '\u{6dd}' | '\u{70f}'
        | '\u{17b4}' | '\u{17b5}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2064}'
        | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}'
        | '\u{e0020}'..='\u{e007f}')
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
                "[1e2,-7,-0.0,1e21,1.5e-7,12345678901234567,18446744073709551615,1e14,1e15,0.0001,0.00001]",
                "[100,-7,-0,1e+21,1.5e-07,12345678901234568,1.8446744073709552e+19,100000000000000,1e+15,0.0001,1e-05]",
            ),
            (
                "[123456789012345678,0.30000000000000004,5e-324,12345678.9,1.7976931348623157e308]",
                "[1.2345678901234568e+17,0.30000000000000004,4.94065645841247e-324,12345678.9,1.7976931348623157e+308]",
            ),
            (
                r#""\u00ad\u200b\ufeff\ufff9\ud834\udd73é\ud83d\ude00""#,
                "\"\\u00ad\\u200b\\ufeff\\ufff9\\ud834\\udd73é😀\"",
            ),
            ("[true,false,\"\"]", "[true,false,\"\"]"),
        ] {
            assert_eq!(written(text).as_deref(), Some(expected));
        }
    }
}
