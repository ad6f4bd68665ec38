//! Local rate limits: which limits a request falls under, and whose share it uses up.
//!
//! The buckets themselves are the proxy's, shared by its workers; what is decided here is which ones to take from.

use std::num::NonZeroU32;

use serde::Deserialize;

use crate::finding::{At, Finding};

/// The configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The limits; a request has to stay within all of those that it falls under.
    pub limits: Vec<Limit>,
    /// What refused requests are answered with; 429 unless said.
    #[serde(alias = "statusCode")]
    pub status_code: Option<u16>,
    /// Whether requests are refused when the proxy cannot count them; unless said, they pass.
    #[serde(alias = "failureModeDeny")]
    pub failure_mode_deny: bool,
}

/// One limit.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Limit {
    /// Its name. Limits of one name, in whatever listener of the proxy, count together.
    pub name: String,
    /// How many requests may come in a `unit`.
    pub requests: NonZeroU32,
    /// The unit of time; a second unless said.
    #[serde(default)]
    pub unit: Unit,
    /// How many may come at once; `requests` unless said.
    #[serde(default)]
    pub burst: Option<NonZeroU32>,
    /// What each has a share of its own for; empty means that all have one together.
    #[serde(default)]
    pub per: Vec<Per>,
    /// The names of the routes that it is for; empty for all.
    #[serde(default)]
    pub routes: Vec<String>,
    /// What the paths begin with that it is for; empty for all.
    #[serde(default, alias = "pathPrefixes")]
    pub path_prefixes: Vec<String>,
    /// How many buckets there are; 16,384 unless said. Clients whose keys fall into one share it.
    #[serde(default)]
    pub slots: Option<NonZeroU32>,
}

/// A unit of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// 1 s.
    #[default]
    Second,
    /// 60 s.
    Minute,
    /// 3,600 s.
    Hour,
    /// 86,400 s.
    Day,
}

/// What a request is told apart by.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// The name of its route.
    Route,
    /// The first URI name in the client's certificate.
    Principal,
    /// The client's IP address.
    Address,
    /// The value of a header.
    Header(String),
}

/// What is read of a request, when it is needed.
pub trait Facts {
    /// Why something cannot be read.
    type Error;

    /// The value that the request has for this; empty for none. Those without one share a bucket, so that leaving a
    /// header out gains nothing.
    fn value(&self, of: &Per) -> Result<Vec<u8>, Self::Error>;

    /// The path with its query.
    fn path(&self) -> Result<Vec<u8>, Self::Error>;
}

/// A compiled limit. Its bucket gets [`per_second`](Self::per_second) tokens back, and a request costs [`cost`](Self::cost)
/// of them: so many requests per minute are that many tokens per second at sixty each.
#[derive(Debug)]
pub struct Bucket {
    limit: Limit,
    burst: NonZeroU32,
}

/// How many buckets a limit has unless it says otherwise.
const SLOTS: u32 = 16_384;

impl Bucket {
    /// Compiles the limits.
    ///
    /// # Errors
    ///
    /// A limit without a name, a name twice, or a burst that is too large for its unit.
    pub fn compile(limits: &[Limit]) -> Result<Vec<Self>, Finding> {
        let list = At::Field(&At::Whole, "limits");
        let mut buckets: Vec<Self> = Vec::with_capacity(limits.len());
        for (index, limit) in limits.iter().enumerate() {
            let at = At::Element(&list, index);
            let name = At::Field(&at, "name");
            if limit.name.is_empty() {
                return Err(name.finding("a limit needs a name"));
            }
            if buckets.iter().any(|other| other.limit.name == limit.name) {
                return Err(name.finding(format!("there is a limit `{}` before it", limit.name)));
            }
            let burst = limit.burst.unwrap_or(limit.requests).checked_mul(limit.unit.seconds());
            let Some(burst) = burst else {
                return Err(
                    At::Field(&at, "burst").finding("too large for the unit: their product has to be below 2^32")
                );
            };
            buckets.push(Self { limit: limit.clone(), burst });
        }
        Ok(buckets)
    }

    /// The limit's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.limit.name
    }

    /// Tokens that come back per second.
    #[must_use]
    pub fn per_second(&self) -> NonZeroU32 {
        self.limit.requests
    }

    /// Tokens in a full bucket.
    #[must_use]
    pub fn burst(&self) -> NonZeroU32 {
        self.burst
    }

    /// Tokens that one request takes.
    #[must_use]
    pub fn cost(&self) -> u32 {
        self.limit.unit.seconds().get()
    }

    /// How many buckets there are.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.limit.slots.map_or(SLOTS, NonZeroU32::get)
    }

    /// The key of the share that the request uses up; `None` if it does not fall under this limit.
    pub fn key<F: Facts>(&self, facts: &F) -> Result<Option<Vec<u8>>, F::Error> {
        let Limit { routes, path_prefixes, per, .. } = &self.limit;
        if !routes.is_empty() {
            let route = facts.value(&Per::Route)?;
            if !routes.iter().any(|name| name.as_bytes() == route) {
                return Ok(None);
            }
        }
        if !path_prefixes.is_empty() {
            let path = facts.path()?;
            if !path_prefixes.iter().any(|prefix| path.starts_with(prefix.as_bytes())) {
                return Ok(None);
            }
        }
        let mut key = Vec::new();
        for per in per {
            let value = facts.value(per)?;
            // With its length, so that no value can look like two.
            key.extend_from_slice(&u64::try_from(value.len()).unwrap_or(u64::MAX).to_le_bytes());
            key.extend_from_slice(&value);
        }
        Ok(Some(key))
    }
}

impl Unit {
    fn seconds(self) -> NonZeroU32 {
        let seconds = match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        };
        NonZeroU32::new(seconds).unwrap_or(NonZeroU32::MIN)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use serde_json::{Value, json};

    use super::*;

    struct Request<'a> {
        path: &'a str,
        route: &'a str,
        headers: &'a [(&'a str, &'a str)],
    }

    impl Facts for Request<'_> {
        type Error = Infallible;

        fn value(&self, of: &Per) -> Result<Vec<u8>, Infallible> {
            Ok(match of {
                Per::Route => self.route,
                Per::Principal => "spiffe://a",
                Per::Address => "10.0.0.1",
                Per::Header(name) => {
                    self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| *value).unwrap_or_default()
                }
            }
            .into())
        }

        fn path(&self) -> Result<Vec<u8>, Infallible> {
            Ok(self.path.into())
        }
    }

    fn compile(limits: Value) -> Result<Vec<Bucket>, Finding> {
        let config: Config = serde_json::from_value(json!({"limits": limits})).unwrap();
        Bucket::compile(&config.limits)
    }

    fn key(limit: Value, request: &Request<'_>) -> Option<Vec<u8>> {
        let Ok(key) = compile(json!([limit])).unwrap()[0].key(request);
        key
    }

    #[test]
    fn a_request_per_minute_is_a_token_per_second_at_sixty() {
        let limits = compile(json!([
            {"name": "a", "requests": 100, "unit": "minute"},
            {"name": "b", "requests": 5, "burst": 20, "slots": 7},
        ]))
        .unwrap();
        let numbers =
            |bucket: &Bucket| (bucket.per_second().get(), bucket.burst().get(), bucket.cost(), bucket.slots());
        assert_eq!(limits.iter().map(numbers).collect::<Vec<_>>(), [(100, 6000, 60, SLOTS), (5, 20, 1, 7)]);
    }

    #[test]
    fn a_limit_is_for_its_routes_and_paths() {
        let limit = json!({"name": "a", "requests": 1, "routes": ["shop", "cart"], "pathPrefixes": ["/api"]});
        let request = |path, route| Request { path, route, headers: &[] };
        assert_eq!(key(limit.clone(), &request("/api/x", "cart")), Some(Vec::new()));
        assert_eq!(key(limit.clone(), &request("/x", "cart")), None);
        assert_eq!(key(limit, &request("/api", "other")), None);
    }

    #[test]
    fn each_has_a_share_of_his_own() {
        let limit = json!({"name": "a", "requests": 1, "per": ["principal", {"header": "x"}, {"header": "y"}]});
        let of = |headers: &[(&str, &str)]| key(limit.clone(), &Request { path: "/", route: "", headers });
        assert_eq!(of(&[("x", "1"), ("y", "2")]), of(&[("y", "2"), ("x", "1")]));
        // Nobody can move a byte from one value to the next.
        assert_ne!(of(&[("x", "ab"), ("y", "c")]), of(&[("x", "a"), ("y", "bc")]));
        assert_ne!(of(&[("x", "a")]), of(&[("y", "a")]));
        assert_eq!(of(&[]), of(&[("x", "")]));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (limits, place) in [
            (json!([{"name": "", "requests": 1}]), "limits[0].name"),
            (json!([{"name": "a", "requests": 1}, {"name": "a", "requests": 1}]), "limits[1].name"),
            (json!([{"name": "a", "requests": 100_000, "unit": "day"}]), "limits[0].burst"),
        ] {
            assert_eq!(compile(limits).unwrap_err().path(), place);
        }
        let none = json!({"limits": [{"name": "a", "requests": 0}]});
        assert!(serde_json::from_value::<Config>(none).is_err());
    }
}
