//! What a token says: its header and its claims, from what was asked for.

use std::str::FromStr;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::key::Key;
use super::span::Span;

/// What was asked for.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) issuer: Option<&'a str>,
    pub(super) subject: Option<&'a str>,
    pub(super) audiences: &'a [String],
    pub(super) scope: Option<&'a str>,
    pub(super) expires_in: Span,
    pub(super) valid_in: Option<Span>,
    /// These win over all others.
    pub(super) members: &'a [Member],
}

/// A member of an object, as it is typed: `name=value`, the value in JSON or plain text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Member {
    name: String,
    value: Value,
}

impl FromStr for Member {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` has no `=`; write `name=value`"))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        Ok(Self { name: name.to_owned(), value })
    }
}

/// The claims of a token that is made at a time since 1970.
pub(super) fn claims(asked: &Asked<'_>, now: Duration) -> Map<String, Value> {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let time = |span| match span {
        Span::Seconds(seconds) => Some(json!(now.saturating_add(seconds).max(0))),
        Span::Never => None,
    };
    let audience = match asked.audiences {
        [] => None,
        [one] => Some(json!(one)),
        many => Some(json!(many)),
    };
    let known = [
        ("iss", asked.issuer.map(Value::from)),
        ("sub", asked.subject.map(Value::from)),
        ("aud", audience),
        ("scope", asked.scope.map(Value::from)),
        ("iat", Some(json!(now))),
        ("nbf", asked.valid_in.and_then(time)),
        ("exp", time(asked.expires_in)),
    ];
    let known = known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    known.chain(asked.members.iter().map(|member| (member.name.clone(), member.value.clone()))).collect()
}

/// The header of a token: what the key says, then what was asked for.
pub(super) fn header(key: &Key, asked: &[Member]) -> Map<String, Value> {
    let own = [("alg", key.algorithm().name()), ("kid", key.id()), ("typ", "JWT")];
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value)));
    own.chain(asked.iter().map(|member| (member.name.clone(), member.value.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(texts: &[&str]) -> Vec<Member> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_value_is_json_or_text() {
        for (text, name, value) in [
            ("a=b", "a", json!("b")),
            ("a=", "a", json!("")),
            ("a=5", "a", json!(5)),
            ("a=\"5\"", "a", json!("5")),
            ("a=[\"x\"]", "a", json!(["x"])),
            ("a=b=c", "a", json!("b=c")),
            ("=x", "", json!("x")),
        ] {
            assert_eq!(text.parse(), Ok(Member { name: name.to_owned(), value }), "{text}");
        }
        assert_eq!("a".parse::<Member>(), Err("`a` has no `=`; write `name=value`".to_owned()));
    }

    #[test]
    fn claims_are_what_was_asked_for() {
        let (audiences, more) = (["a".to_owned()], members(&["sub=eve", "n=1"]));
        let asked = Asked {
            issuer: Some("i"),
            subject: Some("ada"),
            audiences: &audiences,
            scope: Some("r w"),
            expires_in: Span::Seconds(-10),
            valid_in: Some(Span::Seconds(5)),
            members: &more,
        };
        assert_eq!(
            Value::from(claims(&asked, Duration::from_secs(100))),
            json!({"iss": "i", "sub": "eve", "aud": "a", "scope": "r w", "iat": 100, "nbf": 105, "exp": 90, "n": 1})
        );
        let two = ["a".to_owned(), "b".to_owned()];
        let asked = Asked {
            issuer: None,
            subject: None,
            audiences: &two,
            scope: None,
            expires_in: Span::Never,
            valid_in: None,
            members: &[],
        };
        assert_eq!(Value::from(claims(&asked, Duration::ZERO)), json!({"aud": ["a", "b"], "iat": 0}));
    }
}
