//! JSON merge patches (RFC 7396), on texts.

use std::borrow::Cow;

use super::fault::Fault;
use super::raw::Raw;
use super::reader::Reader;

/// A value with a patch applied: objects member by member, anything else replaced as a whole, `null` taken out.
pub(crate) fn merged(target: &Raw, patch: &Raw) -> Raw {
    let mut text = String::new();
    merge(Some(&target.0), &patch.0, &mut text);
    Raw(text)
}

/// A member's name, and its value as it is written.
type Member<'a> = (Cow<'a, str>, &'a str);

fn merge(target: Option<&str>, patch: &str, out: &mut String) {
    let Some(changes) = members(patch) else {
        out.push_str(patch);
        return;
    };
    let present = target.and_then(members).unwrap_or_default();
    let value = |of: &[Member<'_>], name: &str| of.iter().position(|(known, _)| known == name);
    let mut separator = '{';
    let mut begin = |out: &mut String, name: &str| {
        out.push(separator);
        separator = ',';
        quote(name, out);
        out.push(':');
    };
    for (name, target) in &present {
        match value(&changes, name).and_then(|place| changes.get(place)) {
            None => {
                begin(out, name);
                out.push_str(target);
            }
            Some((_, "null")) => {}
            Some((_, patch)) => {
                begin(out, name);
                merge(Some(target), patch, out);
            }
        }
    }
    for (name, patch) in &changes {
        if *patch != "null" && value(&present, name).is_none() {
            begin(out, name);
            merge(None, patch, out);
        }
    }
    if separator == '{' {
        out.push('{');
    }
    out.push('}');
}

/// The members of an object; `None` if it is something else.
fn members(text: &str) -> Option<Vec<Member<'_>>> {
    let mut reader = Reader::new(text);
    if reader.peek() != Some(b'{') {
        return None;
    }
    let mut members = Vec::new();
    let mut read = || -> Result<(), Fault> {
        reader.enter()?;
        while reader.another(members.is_empty(), b'}')? {
            let name = reader.name()?;
            reader.peek();
            let begin = reader.place();
            reader.skip()?;
            members.push((name, reader.since(begin)));
        }
        Ok(())
    };
    // The text was read before, so nothing is wrong in it.
    read().ok()?;
    Some(members)
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\0'..'\x20' => out.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => out.push(character),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The examples of RFC 7396, appendix A.
    #[test]
    fn merging_follows_the_rfc() {
        for (target, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": "foo"}), json!({"a": {"b": {"c": null}}}), json!({"a": {"b": {}}})),
            (json!(["a"]), json!({"b": 1}), json!({"b": 1})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        ] {
            let merged = merged(&Raw(target.to_string()), &Raw(patch.to_string()));
            assert_eq!(serde_json::from_str::<Value>(merged.text()).unwrap(), result);
        }
    }
}
