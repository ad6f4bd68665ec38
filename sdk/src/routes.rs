//! Another configuration for some requests, chosen by host, path, method, headers or the name of the route.
//!
//! ```
//! use wasmplugin::routes::Routes;
//! use wasmplugin::{Flow, Http, Reply, RequestHead, Result};
//!
//! #[derive(serde::Deserialize)]
//! struct Maintenance {
//!     closed: bool,
//! }
//!
//! #[derive(serde::Deserialize)]
//! #[serde(transparent)]
//! struct PerRoute(Routes<Maintenance>);
//!
//! impl Http for PerRoute {
//!     fn on_request(&self, request: &mut RequestHead) -> Result<Flow> {
//!         let closed = self.0.of(request)?.closed;
//!         Ok(if closed { Reply::new(503).into() } else { Flow::Continue })
//!     }
//! }
//!
//! wasmplugin::plugin!(PerRoute, config = PerRoute);
//! ```
//!
//! Its configuration:
//!
//! ```json
//! {
//!   "defaults": {"closed": false},
//!   "routes": [
//!     {"match": [{"uri": {"prefix": "/shop/"}, "method": {"exact": "POST"}}], "config": {"closed": true}},
//!     {"hosts": ["*.old.example.com"], "config": {"closed": true}}
//!   ]
//! }
//! ```
//!
//! Routes are tried in their order, and the first that matches wins; a request that none matches has the `defaults`.
//! The `config` of a route is merged over the defaults as a JSON merge patch (RFC 7396): objects field by field, anything
//! else replaced as a whole, `null` taken out. All of it is read when the proxy starts, so that a mistake in any route
//! refuses the configuration with a path such as `routes[2].config.closed`.
//!
//! # Matching
//!
//! `match` is a list as in Istio's `VirtualService`: one entry is enough, and all conditions of an entry must hold. No
//! list, or an empty one, matches everything. The words are those of `HTTPMatchRequest`:
//!
//! | condition | compared with |
//! |---|---|
//! | `uri` | the path without query and fragment; `ignoreUriCase` for `exact` and `prefix` |
//! | `method`, `scheme` | as the client sent them |
//! | `authority` | the host with its port; the case of letters does not matter, since hosts have none |
//! | `headers` | the lines of a name, joined with `,`; `{}` asks for presence |
//! | `withoutHeaders` | the opposite; a missing header counts as an empty one, and `{}` asks for absence |
//! | `queryParams` | the first parameter of a name, as it stands in the path; `{}` asks for presence |
//! | `name` | nothing: it names the entry, as in Istio |
//! | `routeName` | the name of the proxy's own route (ours; not in `HTTPMatchRequest`) |
//!
//! Each is `{"exact": ".."}`, `{"prefix": ".."}` or `{"regex": ".."}`. A `regex` must match the whole text, never matches
//! bytes that are not UTF-8, and needs the feature `regex` of this crate, which adds about 70 KB to a module.
//!
//! `hosts` beside `match` is as in a `VirtualService`: names without a port, `*.example.com` for all names below, `*` for
//! all; it is compared without the request's port and without case, and must hold besides.
//!
//! As in Istio a `prefix` ends anywhere: `/api` matches `/apis`; write `/api/`. And a path is compared as it came: let the
//! proxy normalise paths before a plugin that protects something.
//!
//! # Cost
//!
//! Conditions are indexed by path and host. Choosing reads the request's head, allocates nothing (except to join several
//! lines of one header) and makes no host call, unless a route that may match asks for `routeName`.

use std::fmt;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};

use crate::config::{self, ConfigError, Raw, merged};
use crate::error::Result;
use crate::head::RequestHead;
use crate::sys;

mod condition;
mod index;
#[cfg(test)]
mod tests;
mod text;

use condition::{Block, Facts};
use index::Index;

/// A configuration of type `C`, and others of that type for some routes.
pub struct Routes<C> {
    defaults: C,
    /// In the order of the configuration.
    configs: Vec<C>,
    /// In the same order: an earlier block wins.
    blocks: Vec<Block>,
    index: Index,
}

impl<C> Routes<C> {
    /// The configuration for this request.
    ///
    /// # Errors
    ///
    /// The head cannot be read, or the route's name, where that is needed.
    pub fn of(&self, request: &RequestHead) -> Result<&C> {
        if self.blocks.is_empty() {
            return Ok(&self.defaults);
        }
        let name = || {
            request.focus()?;
            route_name()
        };
        self.choose(&Facts::of(request.headers()?, &name))
    }

    /// The configuration for requests that no route matches.
    pub fn defaults(&self) -> &C {
        &self.defaults
    }

    /// All configurations: the defaults, then those of the routes in their order.
    pub fn all(&self) -> impl Iterator<Item = &C> {
        std::iter::once(&self.defaults).chain(&self.configs)
    }

    fn choose(&self, facts: &Facts<'_>) -> Result<&C> {
        let mut best: Option<usize> = None;
        for candidates in self.index.candidates(facts.path, facts.host) {
            for place in candidates.iter().copied().take_while(|place| best.is_none_or(|best| *place < best)) {
                if self.blocks.get(place).map_or(Ok(false), |block| block.holds(facts))? {
                    best = Some(place);
                    break;
                }
            }
        }
        let block = best.and_then(|place| self.blocks.get(place));
        Ok(block.and_then(|block| self.configs.get(block.route)).unwrap_or(&self.defaults))
    }
}

/// The name of the route that the proxy has chosen; empty if it has none.
fn route_name() -> Result<Vec<u8>> {
    // Envoy has had the second for longer.
    for path in ["xds\0route_name", "route_name"] {
        match sys::property(path) {
            Ok(name) => return Ok(name),
            Err(error) if error.status == sys::Status::NOT_FOUND => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Vec::new())
}

impl<C: fmt::Debug> fmt::Debug for Routes<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes")
            .field("defaults", &self.defaults)
            .field("routes", &self.configs)
            .finish_non_exhaustive()
    }
}

/// The configuration as it is written.
#[derive(Deserialize)]
struct Written {
    #[serde(default = "Raw::empty_object")]
    defaults: Raw,
    #[serde(default)]
    routes: Vec<WrittenRoute>,
}

#[derive(Deserialize)]
struct WrittenRoute {
    #[serde(default)]
    hosts: Option<condition::Hosts>,
    #[serde(default, rename = "match")]
    blocks: Vec<condition::Written>,
    #[serde(default = "Raw::empty_object")]
    config: Raw,
}

impl<'de, C: DeserializeOwned> Deserialize<'de> for Routes<C> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(from)?;
        // The place is a part of the message: serde has no other way to tell it.
        Self::compile(written).map_err(D::Error::custom)
    }
}

impl<C: DeserializeOwned> Routes<C> {
    fn compile(written: Written) -> Result<Self, String> {
        let defaults = config::part(&written.defaults, "defaults")?;
        let mut configs = Vec::with_capacity(written.routes.len());
        let mut blocks = Vec::new();
        for (route, written_route) in written.routes.into_iter().enumerate() {
            let config = merged(&written.defaults, &written_route.config);
            configs.push(config::part(&config, &format!("routes[{route}].config"))?);
            let entries = written_route.blocks;
            if entries.is_empty() {
                blocks.push(Block::new(route, written_route.hosts.clone(), condition::Written::default()));
            }
            let hosts = &written_route.hosts;
            blocks.extend(entries.into_iter().map(|entry| Block::new(route, hosts.clone(), entry)));
        }
        let index = Index::of(&blocks);
        Ok(Self { defaults, configs, blocks, index })
    }
}

impl From<ConfigError> for String {
    fn from(error: ConfigError) -> Self {
        error.placed()
    }
}
