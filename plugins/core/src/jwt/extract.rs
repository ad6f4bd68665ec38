//! Where tokens are looked for in a request, and in which order.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::config::HeaderLocation;
use super::facts::{self, Headers};
use super::query;

/// The places of one rule.
#[derive(Debug)]
pub(crate) struct Locations {
    /// In byte order of lower-case name and prefix, one after the other without a gap, as Envoy keeps them.
    headers: Vec<HeaderLocation>,
    params: BTreeSet<String>,
    cookies: BTreeSet<String>,
}

/// A token, and where it was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found<'a> {
    pub(crate) text: Cow<'a, [u8]>,
    pub(crate) place: Place<'a>,
}

/// Where a token was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    Header(&'a str),
    Param(&'a str),
    Cookie,
}

/// What is no longer seen of a request: removed before the rules, or by a rule that was done with it.
#[derive(Debug, Default)]
pub(crate) struct Hidden<'a> {
    pub(crate) headers: BTreeSet<&'a str>,
    pub(crate) params: BTreeSet<&'a str>,
}

impl Locations {
    /// The places a rule names; without any, `Authorization: Bearer` and the query parameter `access_token`.
    pub(crate) fn new(headers: &[HeaderLocation], params: &[String], cookies: &[String]) -> Self {
        if headers.is_empty() && params.is_empty() && cookies.is_empty() {
            let bearer = HeaderLocation { name: AUTHORIZATION.to_owned(), prefix: "Bearer ".to_owned() };
            return Self::new(&[bearer], &["access_token".to_owned()], &[]);
        }
        let mut keyed = BTreeMap::new();
        for HeaderLocation { name, prefix } in headers {
            let name = name.to_ascii_lowercase();
            keyed.insert(format!("{name}{prefix}"), HeaderLocation { name, prefix: prefix.clone() });
        }
        let (mut places, headers) = ([BTreeSet::new(), BTreeSet::new()], keyed.into_values().collect());
        for (place, names) in places.iter_mut().zip([params, cookies]) {
            place.extend(names.iter().cloned());
        }
        let [params, cookies] = places;
        Self { headers, params, cookies }
    }

    /// All tokens at the places, in their order: headers, parameters, cookies.
    pub(crate) fn find<'a, H: Headers + ?Sized>(&'a self, request: &'a H, hidden: &Hidden<'_>) -> Vec<Found<'a>> {
        let mut found = Vec::new();
        for HeaderLocation { name, prefix } in &self.headers {
            if !hidden.headers.contains(name.as_str()) {
                let values = lines(request, name).into_iter();
                let tokens = values.filter_map(|value| after_prefix(value, prefix.as_bytes()));
                found.extend(tokens.map(|text| Found { text, place: Place::Header(name) }));
            }
        }
        let path = facts::first(request, ":path");
        for name in self.params.iter().filter(|name| !hidden.params.contains(name.as_str())) {
            if let Some(value) = query::first_value(path, name.as_bytes()) {
                found.push(Found { text: value.into(), place: Place::Param(name) });
            }
        }
        if !hidden.headers.contains("cookie") {
            let cookies = self.cookies.iter().filter_map(|name| cookie(request, name.as_bytes()));
            found.extend(cookies.map(|value| Found { text: value.into(), place: Place::Cookie }));
        }
        found
    }
}

const AUTHORIZATION: &str = "authorization";

/// The values of a header. Envoy joins the lines of `authorization` before any filter sees them; a proxy that does not
/// must not thereby let a second token pass.
fn lines<'a, H: Headers + ?Sized>(request: &'a H, name: &str) -> Vec<Cow<'a, [u8]>> {
    let values: Vec<_> = request.values(name).map(Cow::from).collect();
    if name == AUTHORIZATION && values.len() > 1 { vec![values.join(&b',').into()] } else { values }
}

/// What follows the prefix, from the first character that a token may have; the whole value if there is none.
fn after_prefix<'a>(value: Cow<'a, [u8]>, prefix: &[u8]) -> Option<Cow<'a, [u8]>> {
    if prefix.is_empty() {
        return Some(value);
    }
    let at = value.windows(prefix.len()).position(|window| window == prefix)?;
    let start = at.checked_add(prefix.len())?;
    let junk = value.get(start..)?.iter().position(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
    let start = junk.map_or(0, |junk| start.saturating_add(junk));
    Some(match value {
        Cow::Borrowed(value) => value.get(start..)?.into(),
        Cow::Owned(value) => value.get(start..)?.to_vec().into(),
    })
}

/// The first cookie of a name, without the double quotes around its value.
fn cookie<'a, H: Headers + ?Sized>(request: &'a H, name: &[u8]) -> Option<&'a [u8]> {
    request.values("cookie").flat_map(|line| line.split(|byte| *byte == b';')).find_map(|pair| {
        let start = pair.iter().position(|byte| *byte != b' ')?;
        let pair = pair.get(start..)?;
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let value = pair.get(equals.checked_add(1)?..)?;
        let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        (pair.get(..equals)? == name).then_some(unquoted.unwrap_or(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(locations: &Locations, request: &[(&str, &str)]) -> Vec<String> {
        let found = locations.find(request, &Hidden::default());
        found.into_iter().map(|found| String::from_utf8(found.text.into_owned()).unwrap()).collect()
    }

    fn header(name: &str, prefix: &str) -> HeaderLocation {
        HeaderLocation { name: name.to_owned(), prefix: prefix.to_owned() }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn by_default_there_are_two_places() {
        let places = Locations::new(&[], &[], &[]);
        assert_eq!(found(&places, &[("authorization", "Bearer a"), (":path", "/?access_token=b")]), ["a", "b"]);
        assert!(found(&places, &[("cookie", "access_token=b"), (":path", "/")]).is_empty());
    }

    #[test]
    fn one_place_named_switches_the_defaults_off() {
        for places in [
            Locations::new(&[header("X-T", "")], &[], &[]),
            Locations::new(&[], &names(&["t"]), &[]),
            Locations::new(&[], &[], &names(&["t"])),
        ] {
            assert!(found(&places, &[("authorization", "Bearer a"), (":path", "/?access_token=b")]).is_empty());
        }
    }

    #[test]
    fn the_prefix_stands_anywhere_and_junk_after_it_is_skipped() {
        let places = Locations::new(&[], &[], &[]);
        for (value, expected) in [
            ("Bearer a b", Some("a b")),
            ("Bearer    a", Some("a")),
            ("Bearer \"a\"", Some("a\"")),
            ("Basic x, Bearer a", Some("a")),
            ("Bearer !!!", Some("Bearer !!!")),
            ("Bearer ", Some("Bearer ")),
            ("Bearer", None),
            ("bearer a", None),
            ("", None),
        ] {
            let expected: Vec<_> = expected.into_iter().collect();
            assert_eq!(found(&places, &[("authorization", value), (":path", "/")]), expected, "{value}");
        }
    }

    #[test]
    fn places_are_in_the_order_of_their_names() {
        let headers = [header("x-b", ""), header("X-A", "p"), header("x-a", "o")];
        let places = Locations::new(&headers, &names(&["q", "p"]), &names(&["d", "c"]));
        let request =
            [("x-b", "1"), ("x-b", "2"), ("x-a", "p3"), ("x-a", "o4"), (":path", "/?q=5&p=6"), ("cookie", "d=7; c=8")];
        assert_eq!(found(&places, &request), ["4", "3", "1", "2", "6", "5", "8", "7"]);
    }

    #[test]
    fn lines_of_authorization_are_one_value() {
        let request = [("authorization", "Bearer a"), ("authorization", "Bearer b"), (":path", "/")];
        assert_eq!(found(&Locations::new(&[], &[], &[]), &request), ["a,Bearer b"]);
    }

    #[test]
    fn an_empty_value_is_a_token_where_no_prefix_is_asked_for() {
        let places = Locations::new(&[header("x", "")], &names(&["p"]), &names(&["c"]));
        assert_eq!(found(&places, &[("x", ""), (":path", "/?p"), ("cookie", "c=")]), ["", "", ""]);
    }

    /// Measured on Envoy 1.40.
    #[test]
    fn cookies_are_taken_apart_as_envoy_does() {
        let places = Locations::new(&[], &[], &names(&["a"]));
        for (lines, expected) in [
            (vec!["a=1; a=2"], Some("1")),
            (vec!["b=0", "a=1"], Some("1")),
            (vec!["x; a=\"1\""], Some("1")),
            (vec!["a=\""], Some("\"")),
            (vec!["a= 1 ; b"], Some(" 1 ")),
            (vec!["a =1"], None),
            (vec!["A=1"], None),
            (vec!["a"], None),
            (vec!["ba=1"], None),
        ] {
            let request: Vec<_> = lines.iter().map(|line| ("cookie", *line)).collect();
            let expected: Vec<_> = expected.into_iter().collect();
            assert_eq!(found(&places, &request), expected, "{lines:?}");
        }
    }

    #[test]
    fn what_is_hidden_is_not_found() {
        let places = Locations::new(&[header("x-a", "")], &names(&["p"]), &[]);
        let request = [("x-a", "1"), (":path", "/?p=2")];
        let hidden = Hidden { headers: ["x-a"].into(), params: ["p"].into() };
        assert!(places.find(request.as_slice(), &hidden).is_empty());
    }
}
