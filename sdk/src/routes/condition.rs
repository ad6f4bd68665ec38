//! What a request must be for a route to match, and what of a request is looked at.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeMap;

use serde::Deserialize;

use super::text::Text;
use crate::error::Result;
use crate::headers::Headers;
use crate::visible::Visible;

/// One entry of `match`, as it is written: Istio's `HTTPMatchRequest`, and `routeName`.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Written {
    /// A label for the reader.
    #[serde(rename = "name")]
    _name: Option<String>,
    uri: Option<Text>,
    #[serde(default, alias = "ignore_uri_case")]
    ignore_uri_case: bool,
    method: Option<Text>,
    scheme: Option<Text>,
    authority: Option<Text>,
    #[serde(default)]
    headers: BTreeMap<Name, Text>,
    #[serde(default, alias = "without_headers")]
    without_headers: BTreeMap<Name, Text>,
    #[serde(default, alias = "query_params")]
    query_params: BTreeMap<String, Text>,
    #[serde(alias = "route_name")]
    route_name: Option<Text>,
}

/// The name of a header, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct Name(String);

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        crate::headers::check_line(&name, b"").map_err(|error| error.to_string())?;
        if name.starts_with(':') {
            return Err(format!("`{name}` has a condition of its own: `uri`, `method`, `scheme` or `authority`"));
        }
        Ok(Self(name.to_ascii_lowercase()))
    }
}

/// The names of hosts; one is enough.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub(super) struct Hosts(Vec<Host>);

#[derive(Debug, Clone)]
pub(super) enum Host {
    All,
    /// The part behind the `*`, such as `.example.com`.
    Below(Box<[u8]>),
    Exact(Box<[u8]>),
}

impl TryFrom<Vec<String>> for Hosts {
    type Error = String;

    fn try_from(names: Vec<String>) -> Result<Self, String> {
        if names.is_empty() {
            return Err("a list without a host matches nothing; remove it, or name a host".to_owned());
        }
        names.iter().map(|name| host(name)).collect::<Result<_, _>>().map(Self)
    }
}

fn host(name: &str) -> Result<Host, String> {
    let invalid = |why| Err(format!("invalid host `{}`: {why}", Visible(name)));
    let (star, rest) = name.strip_prefix('*').map_or((false, name), |rest| (true, rest));
    match rest {
        "" if star => Ok(Host::All),
        "" => invalid("it is empty"),
        _ if without_port(rest.as_bytes()).len() != rest.len() => invalid("a port belongs into `authority`"),
        _ if rest.contains('*') || star && (!rest.starts_with('.') || rest.len() == 1) => {
            invalid("`*` stands alone, or at the beginning before a `.`")
        }
        _ if star => Ok(Host::Below(rest.as_bytes().into())),
        _ => Ok(Host::Exact(rest.as_bytes().into())),
    }
}

impl Host {
    fn holds(&self, host: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Exact(name) => host.eq_ignore_ascii_case(name),
            Self::Below(end) => host
                .len()
                .checked_sub(end.len())
                .filter(|at| *at > 0)
                .and_then(|at| host.get(at..))
                .is_some_and(|tail| tail.eq_ignore_ascii_case(end)),
        }
    }
}

/// Conditions that must all hold.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// The route that it is of.
    pub(super) route: usize,
    hosts: Option<Hosts>,
    entry: Written,
}

/// What a block can be found by.
pub(super) enum Key<'a> {
    Uri { text: &'a [u8], is_prefix: bool, any_case: bool },
    Host(&'a [u8]),
}

impl Block {
    pub(super) fn new(route: usize, hosts: Option<Hosts>, entry: Written) -> Self {
        Self { route, hosts, entry }
    }

    /// One of these must fit where the block holds; none says that it may hold anywhere.
    pub(super) fn keys(&self) -> Vec<Key<'_>> {
        let any_case = self.entry.ignore_uri_case;
        if let Some(Text::Exact(text)) = &self.entry.uri {
            return vec![Key::Uri { text, is_prefix: false, any_case }];
        }
        let hosts = self.hosts.iter().flat_map(|hosts| &hosts.0);
        let exact: Option<Vec<_>> =
            hosts.map(|host| if let Host::Exact(name) = host { Some(Key::Host(name)) } else { None }).collect();
        match (exact, &self.entry.uri) {
            (Some(hosts), _) if !hosts.is_empty() => hosts,
            (_, Some(Text::Prefix(text))) => vec![Key::Uri { text, is_prefix: true, any_case }],
            _ => Vec::new(),
        }
    }

    /// Whether a request is such a one; the cheap conditions come first.
    pub(super) fn holds(&self, facts: &Facts<'_>) -> Result<bool> {
        let entry = &self.entry;
        let plain = |condition: &Option<Text>, name| {
            condition.as_ref().is_none_or(|condition| facts.line(name).is_some_and(|text| condition.holds(&text)))
        };
        let uri =
            |uri: &Text| if entry.ignore_uri_case { uri.holds_in_any_case(facts.path) } else { uri.holds(facts.path) };
        let holds = entry.uri.as_ref().is_none_or(uri)
            && self.hosts.as_ref().is_none_or(|hosts| hosts.0.iter().any(|host| host.holds(facts.host)))
            && plain(&entry.method, ":method")
            && plain(&entry.scheme, ":scheme")
            && entry.authority.as_ref().is_none_or(|condition| condition.holds_in_any_case(facts.authority))
            && entry.headers.iter().all(|(name, text)| facts.line(&name.0).is_some_and(|line| text.holds(&line)))
            && entry.without_headers.iter().all(|(name, text)| !facts.offends(&name.0, text))
            && entry
                .query_params
                .iter()
                .all(|(name, text)| facts.parameter(name).is_some_and(|value| text.holds(value)));
        match &entry.route_name {
            Some(name) if holds => Ok(name.holds(facts.route_name()?)),
            _ => Ok(holds),
        }
    }
}

/// What routes look at in a request.
pub(super) struct Facts<'a> {
    pub(super) path: &'a [u8],
    /// The authority without its port.
    pub(super) host: &'a [u8],
    query: &'a [u8],
    authority: &'a [u8],
    headers: &'a Headers,
    route_name: OnceCell<Vec<u8>>,
    ask_route_name: &'a dyn Fn() -> Result<Vec<u8>>,
}

impl<'a> Facts<'a> {
    /// The facts of a request; the name of its route is asked for at most once, when it is needed.
    pub(super) fn of(headers: &'a Headers, ask_route_name: &'a dyn Fn() -> Result<Vec<u8>>) -> Self {
        let line = |name| headers.get(name).unwrap_or_default().as_bytes();
        let (path, query) = split(line(":path"));
        let authority = line(":authority");
        let host = without_port(authority);
        Self { path, host, query, authority, headers, route_name: OnceCell::new(), ask_route_name }
    }

    fn line(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        let mut lines = self.headers.get_all(name).map(crate::headers::HeaderValue::as_bytes);
        let mut all = Cow::Borrowed(lines.next()?);
        for line in lines {
            let joined = all.to_mut();
            joined.push(b',');
            joined.extend_from_slice(line);
        }
        Some(all)
    }

    /// Whether there is what `withoutHeaders` excludes.
    fn offends(&self, name: &str, text: &Text) -> bool {
        match text {
            Text::Any => self.headers.contains(name),
            _ => text.holds(&self.line(name).unwrap_or_default()),
        }
    }

    fn parameter(&self, name: &str) -> Option<&'a [u8]> {
        self.query.split(|byte| *byte == b'&').find_map(|pair| {
            let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let (key, value) = pair.split_at_checked(at)?;
            (key == name.as_bytes() && !pair.is_empty()).then(|| value.get(1..).unwrap_or_default())
        })
    }

    fn route_name(&self) -> Result<&[u8]> {
        if let Some(name) = self.route_name.get() {
            return Ok(name);
        }
        let name = (self.ask_route_name)()?;
        Ok(self.route_name.get_or_init(|| name))
    }
}

/// A path, and its query without the `?`; a fragment belongs to neither.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let until = |text: &'_ [u8], end: u8| text.iter().position(|byte| *byte == end);
    let whole = until(path, b'#').and_then(|at| path.get(..at)).unwrap_or(path);
    match until(whole, b'?').and_then(|at| whole.split_at_checked(at)) {
        Some((path, query)) => (path, query.get(1..).unwrap_or_default()),
        None => (whole, b""),
    }
}

/// A host without its port; what is no host with a port stays as it is.
fn without_port(authority: &[u8]) -> &[u8] {
    let Some(at) = authority.iter().rposition(|byte| *byte == b':') else { return authority };
    let Some((host, port)) = authority.split_at_checked(at) else { return authority };
    let is_port = port.len() > 1 && port.iter().skip(1).all(u8::is_ascii_digit);
    // An address of IPv6 has a port only behind its bracket.
    let is_host = host.ends_with(b"]") || !host.contains(&b':');
    if is_port && is_host { host } else { authority }
}
