//! The claims of a verified token: only what a rule can look at.

use std::borrow::Cow;

use crate::finding::{At, Finding};
use crate::json::{Json, Kind};
use crate::order;

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
    /// Reads claims from the JSON of one object.
    pub fn parse(text: &'a [u8]) -> Result<Self, Finding> {
        let mut json = Json::new(text)?;
        let claims = Self::object(&mut json, At::Whole)?;
        json.end().map(|()| claims)
    }

    fn read(json: &mut Json<'a>, at: At<'_>) -> Result<Self, Finding> {
        match json.kind()? {
            Kind::Text => json.text(at).map(Self::Text),
            Kind::Object => Self::object(json, at),
            Kind::List => {
                let mut list = Vec::new();
                json.list(at, &mut |json, at| Self::read(json, at).map(|element| list.push(element)))?;
                Ok(Self::List(list))
            }
            Kind::Number | Kind::Flag | Kind::Null => json.skip(at).map(|()| Self::Other),
        }
    }

    fn object(json: &mut Json<'a>, at: At<'_>) -> Result<Self, Finding> {
        let mut members: Vec<(Cow<'a, str>, Self)> = Vec::new();
        json.members(at, &mut |json, name| {
            let claim = Self::read(json, At::Field(&at, &name))?;
            members.push((name, claim));
            Ok(())
        })?;
        order::sort(&mut members, |(a, _), (b, _)| a.cmp(b));
        match members.array_windows().find(|[(a, _), (b, _)]| a == b) {
            Some([(name, _), _]) => Err(At::Field(&at, name).finding("is given twice")),
            None => Ok(Self::Object(members)),
        }
    }

    /// Puts a claim at a path of member names, among those that are there; one that is no object gives way.
    pub fn put(&mut self, path: &[String], claim: Claim<'a>) {
        let Some((name, rest)) = path.split_first() else {
            *self = claim;
            return;
        };
        if !matches!(self, Self::Object(_)) {
            *self = Self::Object(Vec::new());
        }
        let Self::Object(members) = self else { return };
        let place = members.binary_search_by(|(key, _)| (**key).cmp(name)).unwrap_or_else(|place| {
            members.insert(place, (Cow::Owned(name.clone()), Self::Other));
            place
        });
        if let Some((_, member)) = members.get_mut(place) {
            member.put(rest, claim);
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_found_by_path() {
        let claims: Claim<'_> = Claim::parse(br#"{"a":{"b":["x",1,"y"]},"a.b":"z","n":1,"e":"\u0061"}"#).unwrap();
        assert_eq!(claims.at(["a", "b"]).unwrap().elements().collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(claims.at(["a.b"]).unwrap().text(), Some("z"));
        assert_eq!(claims.at(["e"]).unwrap().text(), Some("a"));
        assert_eq!((claims.at(["n"]), claims.at(["n", "m"])), (Some(&Claim::Other), None));
    }

    #[test]
    fn claims_can_be_put_together_from_their_leaves() {
        let text = |text: &'static str| Claim::Text(text.into());
        let path = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut claims = Claim::Other;
        for (names, value) in [(&["z"][..], "1"), (&["a", "c"], "2"), (&["a", "b"], "3"), (&["a", "b"], "4")] {
            claims.put(&path(names), text(value));
        }
        assert_eq!(claims, Claim::parse(br#"{"a":{"b":"4","c":"2"},"z":"1"}"#).unwrap());
    }

    #[test]
    fn a_member_given_twice_is_an_error() {
        for (text, place) in [(r#"{"a":1,"b":2,"a":1}"#, "a"), (r#"{"x":{"a":1,"\u0061":1}}"#, "x.a")] {
            let error = Claim::parse(text.as_bytes()).unwrap_err().to_string();
            assert_eq!(error, format!("`{place}`: is given twice"));
        }
    }

    #[test]
    fn what_is_no_object_holds_no_claims() {
        let deep = format!("{}{}", "{\"a\":".repeat(200), "1");
        for text in ["", "null", "[]", "\"a\"", "{", "{} x", "{\"a\":\"\u{1}\"}", &deep] {
            assert!(Claim::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Claim::parse(b"{\"a\":\"\xff\"}").is_err());
    }
}
