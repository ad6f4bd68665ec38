//! The plugin's configuration as written: Istio's `stats.PluginConfig`, with a few fields of our own.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::{Error, IgnoredAny, Unexpected};
use serde::{Deserialize, Deserializer};

use super::tag::Profile;
use crate::duration;

/// The whole configuration. Every field may be written in either of the cases that protobuf allows
/// (`tcpReportingDuration`, `tcp_reporting_duration`); unknown fields are refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Whether the host that the client asked for must not stand in for a service that the proxy does not know. Istio
    /// sets it in gateways and inbound, where clients choose the host as they like.
    #[serde(alias = "disable_host_header_fallback", deserialize_with = "flag")]
    pub disable_host_header_fallback: bool,
    /// How often open connections and gRPC streams are reported; 0 for only at their end. Unless said, 5 s.
    #[serde(alias = "tcp_reporting_duration", deserialize_with = "span")]
    pub tcp_reporting_duration: Duration,
    /// Changes to the metrics, in their order.
    pub metrics: Vec<Override>,
    /// Further metrics.
    pub definitions: Vec<Definition>,
    /// Who reports.
    pub reporter: Reporter,

    /// Ours: how many of Istio's labels there are.
    pub profile: Profile,
    /// Ours: the hosts that may become a label where the proxy knows no service: exact, or with a `*` at one end; any if
    /// nothing is said. Others are counted as `other`.
    #[serde(alias = "allowed_hosts")]
    pub allowed_hosts: Option<Vec<String>>,
    /// Ours: how many sets of labels a worker counts one by one, for each of requests, gRPC messages and connections.
    #[serde(alias = "max_dimension_sets")]
    pub max_dimension_sets: usize,
    /// Ours: whether a client says `mutual_tls` or `none` in `connection_security_policy`, where Istio says `unknown`.
    #[serde(alias = "client_security_policy", deserialize_with = "flag")]
    pub client_security_policy: bool,

    #[serde(rename = "debug")]
    _debug: IgnoredAny,
    #[serde(rename = "statPrefix", alias = "stat_prefix")]
    _stat_prefix: IgnoredAny,
    #[serde(rename = "maxPeerCacheSize", alias = "max_peer_cache_size")]
    _max_peer_cache_size: IgnoredAny,
    #[serde(rename = "rotationInterval", alias = "rotation_interval")]
    _rotation_interval: IgnoredAny,
    #[serde(rename = "gracefulDeletionInterval", alias = "graceful_deletion_interval")]
    _graceful_deletion_interval: IgnoredAny,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            disable_host_header_fallback: false,
            tcp_reporting_duration: Duration::from_secs(5),
            metrics: Vec::new(),
            definitions: Vec::new(),
            reporter: Reporter::default(),
            profile: Profile::default(),
            allowed_hosts: None,
            max_dimension_sets: 2_000,
            client_security_policy: false,
            _debug: IgnoredAny,
            _stat_prefix: IgnoredAny,
            _max_peer_cache_size: IgnoredAny,
            _rotation_interval: IgnoredAny,
            _graceful_deletion_interval: IgnoredAny,
        }
    }
}

/// A change to one metric, or to all.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Override {
    /// The metric's name without `istio_`; all metrics where it is empty.
    pub name: String,
    /// Labels that are set or added, each with its expression in CEL.
    pub dimensions: BTreeMap<String, String>,
    /// Labels that are taken away.
    #[serde(alias = "tags_to_remove")]
    pub tags_to_remove: Vec<String>,
    /// Which streams the change is about; no version of Istio has ever looked at it, so only an empty one is taken.
    #[serde(rename = "match")]
    pub condition: String,
    /// Whether the metric is taken away.
    #[serde(deserialize_with = "flag")]
    pub drop: bool,
}

/// A metric of one's own, reported at the end of a request or connection.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Definition {
    /// Its name without `istio_`.
    pub name: String,
    /// An expression in CEL for what is counted, a whole number.
    pub value: String,
    /// What it counts.
    #[serde(default, rename = "type")]
    pub kind: Kind,
}

/// What a metric does with values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Kind {
    /// Adds them.
    #[default]
    Counter,
    /// Keeps the last.
    Gauge,
    /// Counts how many are how large.
    Histogram,
}

/// Whose view is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reporter {
    /// The server's on an inbound listener, the client's on any other.
    #[default]
    Unspecified,
    /// That of a gateway in front of services: a waypoint.
    ServerGateway,
}

/// A flag, also as the text that Istio's older versions write.
fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Flag(bool),
        Text(String),
    }
    match Either::deserialize(deserializer)
        .map_err(|_| D::Error::custom("invalid value, expected `true` or `false`"))?
    {
        Either::Flag(flag) => Ok(flag),
        Either::Text(text) => {
            text.parse().map_err(|_| D::Error::invalid_value(Unexpected::Str(&text), &"`true` or `false`"))
        }
    }
}

/// A span such as `5s` or `1m30s`.
fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    duration::parse(&text)
        .ok_or_else(|| D::Error::custom(format!("invalid duration `{text}`, expected one such as `5s` or `1m30s`")))
}
