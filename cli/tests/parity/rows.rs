//! The table: each plugin and example with its configuration, the requests that show what it does, and what may differ.

mod attributes;
mod callers;
mod examples;
mod handlers;
mod istio;
mod networks;
mod plugins;
mod protocols;

use serde_json::Value;

use super::ask::{Ask, asks};
use super::bytes::Talk;

/// A guest of the scenarios that logs properties.
pub(crate) const PROBE: &str = "attribute-probe";

/// Modules that the tests make.
pub(crate) const TRAPS: &str = "traps";
pub(crate) const GROWS: &str = "grows";
pub(crate) const REFUSES: &str = "refuses";
pub(crate) const ASKS: &str = "asks";

/// It uses what a singleton fetches.
pub(crate) const REFRESHER: &str = "token-refresher";

/// A plugin of a row.
#[derive(Debug, Clone)]
pub(crate) struct Plugin {
    /// Its folder in `plugins`, `examples` or `tests/guests`.
    pub(crate) module: &'static str,
    /// Its `pluginConfig`; null for none.
    pub(crate) config: Value,
    /// Further fields of its resource.
    pub(crate) more: Value,
    /// Fields of Envoy's own configuration of a plugin, for which the resource has to be an EnvoyFilter; null for none.
    pub(crate) knobs: Value,
}

/// Plugins on a port of their own.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) plugins: Vec<Plugin>,
    pub(crate) asks: Vec<Ask>,
    /// Connections, where the upstream speaks no HTTP.
    pub(crate) talks: Vec<Talk>,
    /// What the upstream speaks, in the words of `kind: Mesh`.
    pub(crate) protocol: &'static str,
    /// What differences may say, and why.
    pub(crate) differs: &'static [(&'static str, &'static str)],
}

impl Row {
    pub(crate) fn new(plugins: Vec<Plugin>, asks: Vec<Ask>) -> Self {
        Self { plugins, asks, talks: Vec::new(), protocol: "HTTP", differs: &[] }
    }

    /// Its first plugin.
    pub(crate) fn name(&self) -> &'static str {
        self.plugins.first().unwrap().module
    }

    fn and(mut self, module: &'static str, config: Value) -> Self {
        self.plugins.push(Plugin { module, config, more: Value::Null, knobs: Value::Null });
        self
    }

    fn differs(self, differs: &'static [(&'static str, &'static str)]) -> Self {
        Self { differs, ..self }
    }

    fn http2(self) -> Self {
        Self { protocol: "HTTP2", ..self }
    }
}

fn row<T: Into<String>>(module: &'static str, config: Value, requests: impl IntoIterator<Item = (T, u16)>) -> Row {
    Row::new(vec![Plugin { module, config, more: Value::Null, knobs: Value::Null }], asks(requests))
}

fn bearer(path: &str, token: &str) -> String {
    format!("GET {path}\nauthorization: Bearer {token}")
}

/// All of them.
pub(crate) fn rows() -> Vec<Row> {
    [
        examples::examples(),
        callers::callers(),
        plugins::limits(),
        plugins::plugins(),
        attributes::attributes(),
        istio::istio(),
        protocols::protocols(),
        handlers::handlers(),
        networks::networks(),
    ]
    .concat()
}

/// The plugin that needs a token from elsewhere.
pub(crate) fn refreshed() -> Row {
    row(
        REFRESHER,
        Value::Null,
        [("GET /", 200), ("GET /status/401", 401), ("GET /\nauthorization: the client's\nx-last: 1", 200)],
    )
}
