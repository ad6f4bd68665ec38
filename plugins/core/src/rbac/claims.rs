//! The claims of a verified token: only what a rule can look at.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A claim, or all of them as one object.
///
/// Rules compare text, and text in lists. Numbers, booleans and nulls match nothing in Envoy, and so are not told apart.
/// A member given twice is an error, so that no two readers of a token can disagree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim<'a> {
    /// A string.
    Text(Cow<'a, str>),
    /// A list.
    List(Vec<Claim<'a>>),
    /// An object, its members sorted by name.
    Object(Vec<(Cow<'a, str>, Claim<'a>)>),
    /// Anything else.
    Other,
}

impl<'a> Claim<'a> {
    /// The claim at a path of member names; dots in a name mean nothing.
    pub fn at<'s>(&self, path: impl IntoIterator<Item = &'s str>) -> Option<&Claim<'a>> {
        path.into_iter().try_fold(self, |claim, name| claim.member(name))
    }

    /// The text, if it is text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The members, if it is an object.
    pub fn members(&self) -> &[(Cow<'a, str>, Claim<'a>)] {
        match self {
            Self::Object(members) => members,
            _ => &[],
        }
    }

    /// The elements that are text, if it is a list.
    pub fn elements(&self) -> impl Iterator<Item = &str> {
        let elements: &[Claim<'a>] = match self {
            Self::List(elements) => elements,
            _ => &[],
        };
        elements.iter().filter_map(Claim::text)
    }

    fn member(&self, name: &str) -> Option<&Claim<'a>> {
        let members = self.members();
        let place = members.binary_search_by(|(key, _)| (**key).cmp(name)).ok()?;
        members.get(place).map(|(_, claim)| claim)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Claim<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

/// Reads any JSON value. How deep it may be is the parser's limit (128 levels in `serde_json`).
struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Claim<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("claims")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Claim::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Claim::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Claim::Other)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Claim::Other)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Claim::Other)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Claim::Other)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Claim::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(Claim::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut object = Vec::new();
        while let Some(name) = members.next_key::<Claim<'de>>()? {
            match name {
                Claim::Text(name) => object.push((name, members.next_value()?)),
                _ => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        object.sort_by(|(a, _): &(Cow<'_, str>, Claim<'_>), (b, _)| a.cmp(b));
        if let Some([(name, _), _]) = object.array_windows().find(|[(a, _), (b, _)]| a == b) {
            return Err(A::Error::custom(format_args!("`{name}` appears twice")));
        }
        Ok(Claim::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_found_by_path() {
        let claims: Claim<'_> =
            serde_json::from_str(r#"{"a":{"b":["x",1,"y"]},"a.b":"z","n":1,"e":"\u0061"}"#).unwrap();
        assert_eq!(claims.at(["a", "b"]).unwrap().elements().collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(claims.at(["a.b"]).unwrap().text(), Some("z"));
        assert_eq!(claims.at(["e"]).unwrap().text(), Some("a"));
        assert_eq!((claims.at(["n"]), claims.at(["n", "m"])), (Some(&Claim::Other), None));
    }

    #[test]
    fn a_member_given_twice_is_an_error() {
        for text in [r#"{"a":1,"b":2,"a":1}"#, r#"{"x":{"a":1,"\u0061":1}}"#] {
            let error = serde_json::from_str::<Claim<'_>>(text).unwrap_err().to_string();
            assert!(error.starts_with("`a` appears twice"), "{error}");
        }
    }
}
