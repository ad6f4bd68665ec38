//! The proxies of the demo: which plugins they run, and with what configuration.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::Result;
use serde_json::json;
use wasmplugin_host::worker::FailPolicy;

use super::services::Services;
use crate::engine::{Chain, Plugin};

/// The examples that take part.
pub(super) const EXAMPLES: [&str; 5] = ["external-auth", "hello", "rewrite-json", "stream-upper", "two-callouts"];

/// One proxy of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// Serves JSON to those who may see it.
    Orders,
    /// Serves text, loudly.
    Poems,
    /// Its auth service is not there.
    Orphan,
}

/// A plugin of a chain and its configuration.
type Step = (&'static str, Option<serde_json::Value>);

impl Which {
    /// All of them, in the order in which they are shown.
    pub(super) const ALL: [Self; 3] = [Self::Orders, Self::Poems, Self::Orphan];

    /// What it is there for.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Orders => "a service of JSON",
            Self::Poems => "a service of text",
            Self::Orphan => "a service whose auth service is not running",
        }
    }

    /// What to ask it for.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Orders | Self::Orphan => "/orders",
            Self::Poems => "/poem",
        }
    }

    /// Its plugins, in the order in which a request meets them.
    pub(super) fn plugins(self) -> Vec<&'static str> {
        self.steps().into_iter().map(|(name, _)| name).collect()
    }

    /// What to start.
    pub(super) fn chain(self, modules: &Path, services: &Services) -> Result<Chain> {
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let plugin = |(name, configuration): Step| Plugin {
            name: name.to_owned(),
            module: modules.join(format!("{name}.wasm")),
            configuration: configuration.map(|value| value.to_string()).unwrap_or_default(),
            fail: FailPolicy::Closed,
        };
        Ok(Chain {
            listen: free,
            admin: free,
            plugins: self.steps().into_iter().map(plugin).collect(),
            upstream: services.upstream(),
            clusters: services.clusters()?,
            workers: 1,
        })
    }

    fn steps(self) -> Vec<Step> {
        let auth = |cluster: &str| ("external-auth", Some(json!({"cluster": cluster, "timeout": "1s"})));
        let callouts = json!({"user": "user", "quota": "quota", "deadline": "1s"});
        let hello = ("hello", None);
        match self {
            Self::Orders => vec![auth("auth"), ("two-callouts", Some(callouts)), ("rewrite-json", None), hello],
            Self::Poems => vec![auth("auth"), ("stream-upper", None), hello],
            Self::Orphan => vec![auth("nobody"), hello],
        }
    }
}
