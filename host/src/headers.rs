//! Header maps as Envoy keeps them: ordered, lower-case, multi-valued, with the names that join their values.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::pairs;

/// An ordered map of lower-case names to values; a name may occur several times.
///
/// Cloning is cheap: the pairs are shared until one of the clones is changed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HeaderMap {
    pairs: Arc<Vec<(Bytes, Bytes)>>,
    side: Side,
}

/// Whose names join their values: Envoy knows other inline headers for requests than for responses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Side {
    /// Trailers and callouts' maps: nothing joins.
    #[default]
    Plain,
    /// A request's headers.
    Request,
    /// A response's headers.
    Response,
}

impl HeaderMap {
    /// An empty map in which nothing joins.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty map of request headers.
    #[must_use]
    pub fn request() -> Self {
        Self { side: Side::Request, ..Self::default() }
    }

    /// An empty map of response headers.
    #[must_use]
    pub fn response() -> Self {
        Self { side: Side::Response, ..Self::default() }
    }

    /// The pairs as they are; names must be lower-case already.
    #[must_use]
    pub fn from_pairs(pairs: Vec<(Bytes, Bytes)>) -> Self {
        Self { pairs: Arc::new(pairs), side: Side::Plain }
    }

    /// Declares whose headers these are and joins what came in several lines but is one value for Envoy.
    #[must_use]
    pub fn into_side(mut self, side: Side) -> Self {
        self.side = side;
        if side != Side::Plain && self.has_joinable() {
            let old = std::mem::take(Arc::make_mut(&mut self.pairs));
            let mut joined = Self { pairs: Arc::new(Vec::with_capacity(old.len())), side };
            for (name, value) in old {
                let name = joined.owned_name(&name);
                joined.add_owned(name, value);
            }
            return joined;
        }
        self
    }

    /// The number of pairs, duplicates included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is no pair.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The sum of the lengths of names and values.
    #[must_use]
    pub fn byte_size(&self) -> usize {
        self.pairs.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// The first value of a name, in any case; `host` is `:authority` in a request.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&Bytes> {
        let name = self.alias(name);
        self.pairs.iter().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The first value of a name as text; `None` also for bytes that are not UTF-8.
    #[must_use]
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name.as_bytes()).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All values of a name, in order.
    pub fn get_all<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a Bytes> + 'a {
        let name = self.alias(name);
        self.pairs.iter().filter(move |(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All pairs, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> + Clone + '_ {
        self.pairs.iter().map(|(name, value)| (name, value))
    }

    /// All pairs as slices, in order: what [`pairs::encode`] takes.
    pub fn slices(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone + '_ {
        self.pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// The pairs; copied only if a clone of the map is still around.
    #[must_use]
    pub fn into_pairs(self) -> Vec<(Bytes, Bytes)> {
        Arc::try_unwrap(self.pairs).unwrap_or_else(|shared| shared.as_ref().clone())
    }

    /// Appends a value; where Envoy keeps one entry per name, the value joins the present one with a comma.
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        let name = self.owned_name(name);
        self.add_owned(name, Bytes::copy_from_slice(value));
    }

    /// As [`add`](Self::add), without copying; the name must be lower-case.
    pub fn add_owned(&mut self, name: Bytes, value: Bytes) {
        let inline = inline(self.side, &name).is_some();
        let pairs = Arc::make_mut(&mut self.pairs);
        if inline && let Some((_, present)) = pairs.iter_mut().find(|(have, _)| *have == name) {
            if present.is_empty() {
                *present = value;
            } else if !value.is_empty() {
                *present = [present.as_ref(), value.as_ref()].join(&b","[..]).into();
            }
            return;
        }
        insert(pairs, name, value);
    }

    /// Gives a name this one value, at the end whatever was there, as Envoy does for a plugin.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        let name = self.owned_name(name);
        let pairs = Arc::make_mut(&mut self.pairs);
        pairs.retain(|(have, _)| *have != name);
        insert(pairs, name, Bytes::copy_from_slice(value));
    }

    /// Gives an inline name, in lower case, its value where it stands, as Envoy does for itself.
    pub(crate) fn overwrite(&mut self, name: &'static str, value: Bytes) {
        let pairs = Arc::make_mut(&mut self.pairs);
        match pairs.iter_mut().find(|(have, _)| *have == name) {
            Some((_, present)) => *present = value,
            None => insert(pairs, Bytes::from_static(name.as_bytes()), value),
        }
    }

    /// Removes all values of a name; whether there was one.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let name = self.alias(name);
        if !self.pairs.iter().any(|(have, _)| have.eq_ignore_ascii_case(name)) {
            return false;
        }
        Arc::make_mut(&mut self.pairs).retain(|(have, _)| !have.eq_ignore_ascii_case(name));
        true
    }

    /// Replaces everything by the given pairs, each added in turn.
    pub fn replace_all(&mut self, new: Vec<(Bytes, Bytes)>) {
        let mut map = Self { pairs: Arc::new(Vec::with_capacity(new.len())), side: self.side };
        for (name, value) in new {
            let name = map.owned_name(&name);
            map.add_owned(name, value);
        }
        *self = map;
    }

    /// Appends the blob of this map, nothing for an empty one.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if !self.is_empty() {
            pairs::encode(self.slices(), out);
        }
    }

    /// `host` means `:authority` in a request.
    fn alias<'a>(&self, name: &'a [u8]) -> &'a [u8] {
        if self.side == Side::Request && name.eq_ignore_ascii_case(b"host") { b":authority" } else { name }
    }

    /// The name in lower case; well-known ones are not copied.
    fn owned_name(&self, name: &[u8]) -> Bytes {
        let name = self.alias(name);
        if let Some(known) = inline(self.side, name) {
            return Bytes::from_static(known.as_bytes());
        }
        if name.iter().any(u8::is_ascii_uppercase) {
            let lower = name.to_ascii_lowercase();
            return match inline(self.side, &lower) {
                Some(known) => Bytes::from_static(known.as_bytes()),
                None => lower.into(),
            };
        }
        Bytes::copy_from_slice(name)
    }

    fn has_joinable(&self) -> bool {
        let host = self.side == Side::Request && self.pairs.iter().any(|(name, _)| name.as_ref() == b"host");
        host || self.pairs.iter().enumerate().any(|(at, (name, _))| {
            self.pairs.iter().take(at).any(|(earlier, _)| earlier == name) && inline(self.side, name).is_some()
        })
    }
}

/// Pseudo headers stay in front of all others.
fn insert(pairs: &mut Vec<(Bytes, Bytes)>, name: Bytes, value: Bytes) {
    if name.first() == Some(&b':') {
        let at = pairs.iter().take_while(|(have, _)| have.first() == Some(&b':')).count();
        pairs.insert(at, (name, value));
    } else {
        pairs.push((name, value));
    }
}

impl fmt::Debug for HeaderMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.pairs.iter().map(|(name, value)| (name, value))).finish()
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for HeaderMap {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(iter: I) -> Self {
        let mut map = Self::new();
        for (name, value) in iter {
            map.add(name.as_ref(), value.as_ref());
        }
        map
    }
}

/// The inline header of this name, if it is one for this side.
fn inline(side: Side, name: &[u8]) -> Option<&'static str> {
    match side {
        Side::Plain => None,
        Side::Request => request_inline(name),
        Side::Response => response_inline(name),
    }
}

/// Declares a lookup of names; the compiler turns the match into one on the length.
macro_rules! names {
    ($function:ident: $($name:literal)*) => {
        fn $function(name: &[u8]) -> Option<&'static str> {
            let name = std::str::from_utf8(name).ok()?;
            match name {
                $($name => Some($name),)*
                _ => None,
            }
        }
    };
}

names! { request_inline:
    "accept" "accept-encoding" "access-control-request-headers" "access-control-request-method"
    "access-control-request-private-network" "authentication" "authorization" "cache-control" "connection"
    "content-encoding" "content-length" "content-type" "expect" "grpc-accept-encoding" "grpc-timeout" ":authority"
    "if-match" "if-modified-since" "if-none-match" "if-range" "if-unmodified-since" "keep-alive" "origin" "pragma"
    "proxy-connection" "proxy-status" "referer" "te" "transfer-encoding" "upgrade" "user-agent" "via"
    "x-client-trace-id" "x-envoy-attempt-count" "x-envoy-decorator-operation" "x-envoy-downstream-service-cluster"
    "x-envoy-downstream-service-node" "x-envoy-expected-rq-timeout-ms" "x-envoy-external-address"
    "x-envoy-force-trace" "x-envoy-internal" "x-envoy-max-retries" "x-envoy-original-path" "x-envoy-retry-on"
    "x-envoy-upstream-rq-timeout-ms" "x-forwarded-client-cert" "x-forwarded-for" "x-forwarded-host"
    "x-forwarded-port" "x-forwarded-proto" "x-request-id" ":method" ":path" ":scheme" ":protocol"
}

names! { response_inline:
    "access-control-allow-headers" "access-control-allow-methods" "access-control-allow-origin"
    "access-control-allow-credentials" "access-control-allow-private-network" "access-control-expose-headers"
    "access-control-max-age" "age" "cache-control" "connection" "content-encoding" "content-length" "content-type"
    "date" "etag" "expires" "grpc-message" "grpc-status" "keep-alive" "last-modified" "location" "proxy-connection"
    "proxy-status" "server" "transfer-encoding" "upgrade" "vary" "via" "x-envoy-attempt-count"
    "x-envoy-decorator-operation" "x-envoy-upstream-service-time" "x-request-id" ":status"
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(map: &HeaderMap) -> Vec<String> {
        map.iter().map(|(n, v)| format!("{}={}", n.escape_ascii(), v.escape_ascii())).collect()
    }

    fn request(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs.iter().copied().collect::<HeaderMap>().into_side(Side::Request)
    }

    #[test]
    fn inline_names_join_and_others_stay_apart() {
        let mut map = HeaderMap::request();
        map.add(b"Accept", b"a");
        map.add(b"cookie", b"1");
        map.add(b"accept", b"b");
        map.add(b"Cookie", b"2");
        assert_eq!(text(&map), ["accept=a,b", "cookie=1", "cookie=2"]);
        map.set(b"accept", b"c");
        map.set(b"cookie", b"3");
        assert_eq!(text(&map), ["accept=c", "cookie=3"]);
        map.set(b"accept", b"d");
        assert_eq!(text(&map), ["cookie=3", "accept=d"]);
        map.overwrite("cookie", Bytes::from_static(b"4"));
        map.overwrite("via", Bytes::from_static(b"5"));
        assert_eq!(text(&map), ["cookie=4", "accept=d", "via=5"]);
    }

    #[test]
    fn tables_differ_by_side() {
        let mut map = HeaderMap::response();
        map.add(b"vary", b"a");
        map.add(b"vary", b"b");
        map.add(b"set-cookie", b"1");
        map.add(b"set-cookie", b"2");
        assert_eq!(text(&map), ["vary=a,b", "set-cookie=1", "set-cookie=2"]);
        let mut plain = HeaderMap::new();
        plain.add(b"vary", b"a");
        plain.add(b"vary", b"b");
        assert_eq!(plain.len(), 2);
    }

    #[test]
    fn host_is_authority_in_requests_only() {
        let mut map = request(&[("Host", "a"), ("x", "1")]);
        assert_eq!(text(&map), [":authority=a", "x=1"]);
        assert_eq!(map.get_str("HOST"), Some("a"));
        map.set(b"host", b"b");
        assert_eq!(map.get_str(":authority"), Some("b"));
        assert!(map.remove(b"host"));
        assert!(!map.remove(b":authority"));
        let mut response = HeaderMap::response();
        response.add(b"host", b"a");
        assert_eq!(text(&response), ["host=a"]);
    }

    #[test]
    fn pseudo_headers_stay_in_front() {
        let mut map = request(&[(":method", "GET"), ("a", "1")]);
        map.add(b":path", b"/");
        assert_eq!(text(&map), [":method=GET", ":path=/", "a=1"]);
    }

    #[test]
    fn clones_do_not_see_each_other() {
        let mut map = request(&[("a", "1")]);
        let kept = map.clone();
        map.add(b"b", b"2");
        assert_eq!(kept.len(), 1);
        assert_eq!(map.byte_size(), 4);
    }

    proptest! {
        #[test]
        fn set_then_get_then_remove(name in "[A-Za-z-]{1,12}", value in ".{0,12}", others in prop::collection::vec(("[a-z]{1,6}", "[a-z]{0,6}"), 0..8)) {
            let mut map: HeaderMap = others.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect::<HeaderMap>().into_side(Side::Request);
            map.set(name.as_bytes(), value.as_bytes());
            prop_assert_eq!(map.get(name.as_bytes()).map(AsRef::as_ref), Some(value.as_bytes()));
            prop_assert_eq!(map.get_all(name.as_bytes()).count(), 1);
            prop_assert!(map.iter().all(|(n, _)| !n.iter().any(u8::is_ascii_uppercase)));
            map.remove(name.as_bytes());
            prop_assert_eq!(map.get(name.as_bytes()), None);
            let mut blob = Vec::new();
            map.encode(&mut blob);
            prop_assert_eq!(crate::pairs::decode(&blob).unwrap(), map.into_pairs());
        }
    }
}
