//! Where a text gives a value to a name: in JSON, forms, XML, multipart bodies, configuration files and logs.
//!
//! Nothing here parses a format. What is looked at may be a piece of one, one inside of another, or none at all, and what is
//! taken for a value may be more than that, never less.

use std::ops::Range;

use crate::percent;

/// What stands before the secret itself in a header's value.
const SCHEMES: [&str; 5] = ["basic", "bearer", "digest", "negotiate", "token"];

/// A value, and whether the text ends before it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) range: Range<usize>,
    pub(super) open: bool,
}

/// The values of the names for which `secret` is true, in order.
///
/// In `prose` a colon gives a value to a quoted name only: what follows `token:` in a log is mostly a remark.
pub(super) fn values(text: &str, prose: bool, secret: impl Fn(&str) -> bool) -> Vec<Value> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(word) = next_word(text, at) {
        at = word.end;
        let name = text.get(word.clone()).map(name).unwrap_or_default();
        if !(secret(&name) || name.split(|c| !is_plain(c)).any(&secret)) {
            continue;
        }
        let value = assigned(text, &word, prose).or_else(|| part(text, &word)).or_else(|| element(text, &word));
        if let Some(value) = value.filter(|value| !value.range.is_empty()) {
            at = value.range.end;
            found.push(value);
        }
    }
    found
}

const fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// The next run of what a name is made of: also `%XX` and `\uXXXX`.
fn next_word(text: &str, from: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let mut at = from;
    let mut begin = None;
    while let Some(&byte) = bytes.get(at) {
        let step = match byte {
            b'\\' if bytes.get(at + 1) == Some(&b'u') => 6,
            _ if is_plain(byte.into()) || byte == b'%' => 1,
            _ if begin.is_some() => break,
            // What is escaped belongs to no name.
            b'\\' => {
                at += 2;
                continue;
            }
            _ => {
                at += 1;
                continue;
            }
        };
        begin.get_or_insert(at);
        at += step;
    }
    begin.map(|begin| begin..at.min(bytes.len()))
}

/// A name without its escapes.
fn name(word: &str) -> String {
    let mut pieces = word.split("\\u");
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(4).unwrap_or((piece, ""));
        plain.extend(u32::from_str_radix(digits, 16).ok().and_then(char::from_u32));
        plain.push_str(rest);
    }
    String::from_utf8_lossy(&percent::decoded(plain.as_bytes())).into_owned()
}

/// `name=value`, `"name": value`, `name: value`.
fn assigned(text: &str, word: &Range<usize>, prose: bool) -> Option<Value> {
    let rest = text.get(word.end..)?;
    let sign = rest.trim_start_matches(['\\', '"', '\'', ']']);
    let quoted = rest.strip_suffix(sign)?.contains(['"', '\'']);
    let sign = sign.trim_start();
    let after = match sign.as_bytes().first()? {
        b'=' => sign.get(1..)?.trim_start_matches(['=', '>', ' ', '\t']),
        b':' if quoted || !prose => sign.get(1..)?.trim_start_matches('=').trim_start(),
        _ => return None,
    };
    let begin = text.len() - after.len();
    let first = after.trim_start_matches('\\');
    let escapes = after.len() - first.len();
    match first.as_bytes().first()? {
        quote @ (b'"' | b'\'') => Some(quoted_value(text, begin + escapes + 1, *quote, escapes)),
        b'{' | b'[' => Some(structure(text, begin + escapes)),
        _ if sign.starts_with('=') => Some(parameter(text, begin)),
        _ if quoted => Some(until(text, begin, |c| matches!(c, ',' | '}' | ']') || c.is_whitespace())),
        _ => Some(until(text, begin, |c| matches!(c, '\r' | '\n'))),
    }
}

/// From here to the first such character.
fn until(text: &str, begin: usize, over: impl Fn(char) -> bool) -> Value {
    let length = text.get(begin..).and_then(|rest| rest.find(over));
    Value { range: begin..length.map_or(text.len(), |length| begin + length), open: length.is_none() }
}

/// The value of a parameter, with what follows the name of a scheme.
fn parameter(text: &str, begin: usize) -> Value {
    let over = |c: char| matches!(c, '?' | '&' | '#' | '"' | '\'' | '<' | '>') || c.is_whitespace();
    let value = until(text, begin, over);
    let word = text.get(value.range.clone()).unwrap_or_default();
    let rest = text.get(value.range.end..).unwrap_or_default();
    let blanks = rest.len() - rest.trim_start_matches([' ', '+']).len();
    if blanks > 0 && SCHEMES.iter().any(|scheme| scheme.eq_ignore_ascii_case(word)) {
        let secret = until(text, value.range.end + blanks, over);
        return Value { range: begin..secret.range.end, open: secret.open };
    }
    value
}

/// From behind a quotation mark, before which so many backslashes stand, to the one that ends it.
fn quoted_value(text: &str, begin: usize, quote: u8, escapes: usize) -> Value {
    let mut before = 0;
    for (at, byte) in text.bytes().enumerate().skip(begin) {
        let ends = if escapes == 0 { before % 2 == 0 } else { before <= escapes };
        if byte == quote && ends {
            return Value { range: begin..at - before.min(escapes), open: false };
        }
        before = if byte == b'\\' { before + 1 } else { 0 };
    }
    Value { range: begin..text.len(), open: true }
}

/// An object or a list, to its end.
fn structure(text: &str, begin: usize) -> Value {
    let bytes = text.as_bytes();
    let (mut depth, mut escapes, mut at) = (0usize, 0, begin);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => at = quoted_value(text, at + 1, byte, escapes).range.end + escapes,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Value { range: begin..at.min(bytes.len()), open: false };
        }
        escapes = if byte == b'\\' { escapes + 1 } else { 0 };
    }
    Value { range: begin..bytes.len(), open: true }
}

/// The part of a multipart body of that name.
fn part(text: &str, word: &Range<usize>) -> Option<Value> {
    let quoted = text.get(..word.start)?.ends_with("name=\"");
    let rest = text.get(word.end..)?;
    if !quoted || !rest.starts_with('"') {
        return None;
    }
    let Some((head, body)) = rest.split_once("\r\n\r\n") else { return Some(Value { range: 0..0, open: true }) };
    if head.contains("\r\n--") {
        return None;
    }
    let begin = text.len() - body.len();
    let length = body.find("\r\n--");
    Some(Value { range: begin..length.map_or(text.len(), |length| begin + length), open: length.is_none() })
}

/// What is between the tags of an element of that name.
fn element(text: &str, word: &Range<usize>) -> Option<Value> {
    let before = text.get(..word.start)?;
    let opened = before.ends_with('<') || before.strip_suffix(':')?.trim_end_matches(is_plain).ends_with('<');
    if !opened {
        return None;
    }
    let begin = word.end + text.get(word.end..)?.find('>')? + 1;
    let close = format!("{}>", text.get(word.clone())?);
    let body = text.get(begin..)?;
    let length = body.find(&close).and_then(|end| body.get(..end)?.rfind("</"));
    Some(Value { range: begin..length.map_or(text.len(), |length| begin + length), open: length.is_none() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of whatever is called `key`.
    fn of(text: &str, prose: bool) -> Vec<&str> {
        values(text, prose, |name| name == "key").into_iter().map(|value| text.get(value.range).unwrap()).collect()
    }

    #[test]
    fn a_value_is_found_in_whatever_form() {
        for (text, wanted) in [
            (r#"{"key":"a","b":1}"#, "a"),
            (r#"{ "key" : "a\"b\\", "b": 1 }"#, r#"a\"b\\"#),
            (r#"{"k\u0065y":"a"}"#, "a"),
            (r#"{"key":12,"b":1}"#, "12"),
            (r#"{"key":["a","]"],"b":1}"#, r#"["a","]"]"#),
            (r#"{"key":{"a":"}","c":"d"},"b":1}"#, r#"{"a":"}","c":"d"}"#),
            (r#"{"x":"{\"key\":\"a\\\"b\",\"b\":1}"}"#, r#"a\\\"b"#),
            (r#"{"x":"{\"key\":{\"c\":\"}\"},\"b\":1}"}"#, r#"{\"c\":\"}\"}"#),
            ("key=a&b=1", "a"),
            ("b=1&k%65y=a%26#f", "a%26"),
            ("b[key]=a", "a"),
            ("b%5Bkey%5D=a&", "a"),
            ("key=Bearer a&b=1", "Bearer a"),
            ("b: 1\nkey: a, b\nc: 2", "a, b"),
            (r#"<x key="a" b="1">"#, "a"),
            ("<key>a</key>", "a"),
            ("<x:key y='1'><z>a</z></x:key>", "<z>a</z>"),
            ("\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\na\r\n--b", "a"),
            (r"{'key': 'a'}", "a"),
        ] {
            assert_eq!(of(text, false), [wanted], "{text}");
        }
    }

    #[test]
    fn what_is_no_value_is_none() {
        for text in ["key", "the key is a", "{\"keys\":\"a\"}", "{\"a\":\"key\"}", "key=", "name=\"key\"", "<key", "\\"]
        {
            assert_eq!(of(text, false), [""; 0], "{text}");
        }
        assert_eq!(of("key: not there", true), [""; 0]);
        assert_eq!(of(r#"got {"key": "a"}, ?key=b"#, true), ["a", "b"]);
    }

    #[test]
    fn a_value_that_is_cut_is_open() {
        for text in
            [r#"{"key":"a"#, r#"{"key":["a""#, "key=a", "key: a", "<key>a", "name=\"key\"\r\n\r\na", r#"{"key":1"#]
        {
            let found = values(text, false, |name| name == "key");
            assert!(found.len() == 1 && found[0].open && found[0].range.end == text.len(), "{text}: {found:?}");
        }
        assert!(!values(r#"{"key":"a""#, false, |name| name == "key")[0].open);
    }

    #[test]
    fn no_text_is_too_strange() {
        let pieces =
            ["key", "\"", "\\", "=", ":", "{", "}", "[", "]", "<", ">", "name=\"", "\r\n\r\n", "\\u00", "%6", "ü", " "];
        let mut seed = 1u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..9 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text.push_str(pieces[(seed >> 33) as usize % pieces.len()]);
            }
            let found = values(&text, seed & 1 == 0, |name| name.contains("key"));
            let mut end = 0;
            for Value { range, .. } in found {
                assert!(range.start >= end && text.get(range.clone()).is_some(), "{text:?}: {range:?}");
                end = range.end;
            }
        }
    }
}
