//! Two answers to one request, and what differs.

use std::collections::BTreeMap;

use crate::client::{Field, Response};

/// Bytes of a body that are shown on either side of where bodies part.
const EXCERPT: usize = 40;

/// What of answers differs by its nature, and why.
const KNOWN: [(&str, &str); 7] = [
    ("connection", "it is about one connection"),
    ("date", "each proxy has its own clock"),
    ("keep-alive", "it is about one connection"),
    ("transfer-encoding", "how a body is framed is each proxy's own affair"),
    ("x-envoy-upstream-service-time", "it is a time that was measured"),
    ("x-request-id", "it is random"),
    (TRAILERS, "over HTTP/1.1 this proxy sends them to whom has said `te: trailers`, if `trailer` has announced them"),
];

/// What trailers are called among the things that differ by their nature.
const TRAILERS: &str = "trailers";

/// How often what differs by its nature has differed, by its name.
#[derive(Debug, Default)]
pub(super) struct Known(BTreeMap<&'static str, usize>);

impl Known {
    /// Each with its count and its reason, for people.
    pub(super) fn told(&self) -> impl Iterator<Item = String> {
        let reason = |name: &str| KNOWN.iter().find(|(known, _)| *known == name).map_or("", |(_, reason)| reason);
        self.0
            .iter()
            .map(move |(name, count)| format!("not counted: `{name}` differed {count} times; {}", reason(name)))
    }

    /// Counts it, if it is such a thing.
    fn takes(&mut self, name: &str) -> bool {
        let found = KNOWN.iter().find(|(known, _)| *known == name);
        found.map(|(name, _)| *self.0.entry(name).or_default() += 1).is_some()
    }
}

/// What differs between two answers, for people; `te` is what the request has said about trailers.
pub(super) fn differences(
    embedded: &Result<Response, String>,
    envoy: &Result<Response, String>,
    te: Option<&str>,
    known: &mut Known,
) -> Vec<String> {
    let (one, other) = match (embedded, envoy) {
        (Ok(one), Ok(other)) => (one, other),
        // Both have cut the connection or said nothing: in which words, is the client's affair.
        (Err(_), Err(_)) => return Vec::new(),
        (Err(error), Ok(other)) => return vec![format!("embedded: {error}; envoy answers {}", other.status)],
        (Ok(one), Err(error)) => return vec![format!("embedded answers {}; envoy: {error}", one.status)],
    };
    let mut found = Vec::new();
    if one.status != other.status {
        found.push(format!("status: embedded {}, envoy {}", one.status, other.status));
    }
    found.extend(header_differences(one, other, known));
    if one.body != other.body {
        found.push(body_difference(&one.body, &other.body));
    }
    found.extend(trailer_differences(one, other, te, known));
    found
}

fn header_differences(one: &Response, other: &Response, known: &mut Known) -> Vec<String> {
    // A body in chunks has no length in its head; bodies are compared anyway.
    let chunked = [one, other].iter().any(|response| response.header("transfer-encoding").is_some());
    let differing = differing(&one.headers, &other.headers).into_iter();
    let differing = differing.filter(|(name, _)| !(chunked && *name == "content-length"));
    differing
        .filter(|(name, _)| !known.takes(name))
        .map(|(name, values)| format!("header `{name}`: {values}"))
        .collect()
}

fn trailer_differences(one: &Response, other: &Response, te: Option<&str>, known: &mut Known) -> Vec<String> {
    let announced = |name: &str| {
        let names = one.headers.iter().filter(|(have, _)| have == "trailer").flat_map(|(_, names)| names.split(','));
        names.map(str::trim).any(|announced| announced.eq_ignore_ascii_case(name))
    };
    let wanted = te.is_some_and(|te| te.to_ascii_lowercase().contains("trailers"));
    // Only HTTP/1.1 has chunks.
    let chunked = one.header("transfer-encoding").is_some();
    let absent = |name: &str| one.trailers.iter().all(|(have, _)| have != name);
    let withheld = |name: &str| chunked && absent(name) && !(wanted && announced(name));
    let differing = differing(&one.trailers, &other.trailers).into_iter();
    let differing = differing.filter(|(name, _)| !(withheld(name) && known.takes(TRAILERS)));
    differing.map(|(name, values)| format!("trailer `{name}`: {values}")).collect()
}

/// The names of fields whose values are not the same, and both sides' values.
fn differing<'a>(one: &'a [Field], other: &'a [Field]) -> Vec<(&'a str, String)> {
    let values = |fields: &[Field], name: &str| -> Vec<String> {
        fields.iter().filter(|(have, _)| have == name).map(|(_, value)| value.clone()).collect()
    };
    let mut names: Vec<&str> = one.iter().chain(other).map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let both = names.into_iter().map(|name| (name, values(one, name), values(other, name)));
    let differing = both.filter(|(_, mine, theirs)| mine != theirs);
    differing
        .map(|(name, mine, theirs)| (name, format!("embedded {}, envoy {}", listed(&mine), listed(&theirs))))
        .collect()
}

fn listed(values: &[String]) -> String {
    if values.is_empty() {
        return "has none".to_owned();
    }
    values.iter().map(|value| format!("`{}`", value.escape_debug())).collect::<Vec<_>>().join(" and ")
}

/// Where two bodies part.
fn body_difference(one: &[u8], other: &[u8]) -> String {
    let at = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    let excerpt = |body: &[u8]| {
        let part: Vec<u8> = body.iter().skip(at.saturating_sub(EXCERPT)).take(2 * EXCERPT).copied().collect();
        String::from_utf8_lossy(&part).escape_debug().to_string()
    };
    let (mine, theirs) = (excerpt(one), excerpt(other));
    format!(
        "body, from byte {at} on: embedded has {} bytes, `{mine}`; envoy has {}, `{theirs}`",
        one.len(),
        other.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, headers: &[(&str, &str)], body: &str) -> Result<Response, String> {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Ok(Response { status, headers, body: body.as_bytes().to_vec(), trailers: Vec::new() })
    }

    #[test]
    fn what_differs_is_told() {
        let mut known = Known::default();
        let one = response(200, &[("date", "now"), ("x-a", "1"), ("x-a", "2"), ("content-length", "5")], "hello");
        let other = response(403, &[("date", "then"), ("x-a", "1"), ("x-b", "3"), ("content-length", "4")], "help");
        let found = differences(&one, &other, None, &mut known);
        let expected = [
            "status: embedded 200, envoy 403",
            "header `content-length`: embedded `5`, envoy `4`",
            "header `x-a`: embedded `1` and `2`, envoy `1`",
            "header `x-b`: embedded has none, envoy `3`",
            "body, from byte 3 on: embedded has 5 bytes, `hello`; envoy has 4, `help`",
        ];
        assert_eq!(found, expected);
        assert_eq!(known.0.into_iter().collect::<Vec<_>>(), [("date", 1)]);
    }

    #[test]
    fn framing_is_no_difference() {
        let one = response(200, &[("content-length", "2")], "hi");
        let other = response(200, &[("transfer-encoding", "chunked")], "hi");
        assert_eq!(differences(&one, &other, None, &mut Known::default()), [""; 0]);
        let cut = Err("cut".to_owned());
        assert_eq!(differences(&cut, &Err("reset".to_owned()), None, &mut Known::default()), [""; 0]);
        assert_eq!(differences(&cut, &one, None, &mut Known::default()), ["embedded: cut; envoy answers 200"]);
    }

    #[test]
    fn trailers_that_http1_does_not_carry_are_known() {
        let with = |headers: &[(&str, &str)], trailers: &[(&str, &str)]| {
            let trailers = trailers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Ok(Response { trailers, ..response(200, headers, "").unwrap() })
        };
        let chunked = ("transfer-encoding", "chunked");
        let mut known = Known::default();
        let envoy = with(&[chunked], &[("x-sum", "1")]);
        assert_eq!(differences(&with(&[chunked], &[]), &envoy, Some("trailers"), &mut known), [""; 0]);
        assert_eq!(known.0.into_iter().collect::<Vec<_>>(), [(TRAILERS, 1)]);
        let lost = ["trailer `x-sum`: embedded has none, envoy `1`"];
        let announced = [chunked, ("trailer", "x-a, X-Sum")];
        let envoy = with(&announced, &[("x-sum", "1")]);
        assert_eq!(differences(&with(&announced, &[]), &envoy, Some("trailers"), &mut Known::default()), lost);
        assert_eq!(differences(&with(&announced, &[]), &envoy, None, &mut Known::default()), [""; 0]);
        let envoy = with(&[], &[("x-sum", "1")]);
        assert_eq!(differences(&with(&[], &[]), &envoy, None, &mut Known::default()), lost);
        let other = with(&[chunked], &[("x-sum", "2")]);
        let found = differences(&other, &with(&[chunked], &[("x-sum", "1")]), None, &mut Known::default());
        assert_eq!(found, ["trailer `x-sum`: embedded `2`, envoy `1`"]);
    }
}
