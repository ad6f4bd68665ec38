//! `/clusters`, `/listeners` and `/stats`: lists in Envoy's text, or as JSON.

use std::net::SocketAddr;

use serde_json::{Value, json};
use wasmplugin_host::abi::MetricKind;
use wasmplugin_host::limits::Limits;
use wasmplugin_host::worker::FailPolicy;

use crate::answer::Answer;
use crate::board::Board;
use crate::numbers::{numbers, of_clusters};
use crate::query::Query;
use crate::stats::{ClusterStats, Count};

/// The clusters, their servers, and what is counted about them.
pub(crate) fn clusters(board: &Board, query: &Query<'_>) -> Answer {
    type Which = fn(&ClusterStats) -> &Count;
    const COUNTS: [(&str, &str, Which); 5] = [
        ("cx_active", "GAUGE", |stats| &stats.connections_active),
        ("cx_connect_fail", "COUNTER", |stats| &stats.connect_failures),
        ("cx_total", "COUNTER", |stats| &stats.connections),
        ("rq_active", "GAUGE", |stats| &stats.requests_active),
        ("rq_total", "COUNTER", |stats| &stats.requests),
    ];
    let (settings, counted) = (board.settings(), of_clusters(board));
    let sum = |cluster: &str, which: Which| {
        counted.get(cluster).into_iter().flatten().map(|stats| which(stats).get()).sum::<u64>()
    };
    if query.get("format") == Some("json") {
        let statuses = settings.clusters.iter().map(|cluster| {
            let stats = COUNTS.map(|(name, kind, which)| {
                json!({"type": kind, "name": name, "value": sum(&cluster.name, which).to_string()})
            });
            let host = |endpoint: &SocketAddr| {
                json!({"address": address(*endpoint), "stats": stats, "health_status": {"eds_health_status": "HEALTHY"}})
            };
            let hosts: Vec<_> = cluster.endpoints.iter().map(host).collect();
            json!({"name": cluster.name, "host_statuses": hosts, "observability_name": cluster.name})
        });
        return Answer::json(&json!({"cluster_statuses": statuses.collect::<Vec<_>>()}));
    }
    let mut text = String::new();
    for cluster in &settings.clusters {
        let name = &cluster.name;
        text.push_str(&format!("{name}::observability_name::{name}\n{name}::added_via_api::false\n"));
        for endpoint in &cluster.endpoints {
            for (count, _, which) in COUNTS {
                text.push_str(&format!("{name}::{endpoint}::{count}::{}\n", sum(name, which)));
            }
            text.push_str(&format!("{name}::{endpoint}::health_flags::healthy\n"));
        }
    }
    Answer::text(text)
}

/// Where the proxy listens.
pub(crate) fn listeners(board: &Board, query: &Query<'_>) -> Answer {
    let addresses = board.addresses();
    if query.get("format") == Some("json") {
        let statuses = addresses.iter().map(|(name, at)| json!({"name": name, "local_address": address(*at)}));
        return Answer::json(&json!({"listener_statuses": statuses.collect::<Vec<_>>()}));
    }
    Answer::text(addresses.iter().map(|(name, address)| format!("{name}::{address}\n")).collect())
}

/// All counters, by name.
pub(crate) fn stats(board: &Board, query: &Query<'_>) -> Answer {
    let own = numbers(board).into_iter().map(|number| {
        let labels: String = number.labels.iter().map(|(name, value)| format!(".{name}.{value}")).collect();
        (number.scope.path() + &number.name + &labels, number.value)
    });
    let plugins = board.services.metrics().snapshot();
    let plugins = plugins.into_iter().filter(|sample| sample.kind != MetricKind::Histogram);
    let plugins = plugins.map(|sample| (format!("wasmcustom.{}", sample.name), sample.value));
    let wanted = query.get("filter").unwrap_or_default();
    let mut all: Vec<_> = own.chain(plugins).filter(|(name, _)| name.contains(wanted)).collect();
    all.sort();
    if query.get("format") == Some("json") {
        let stats = all.iter().map(|(name, value)| json!({"name": name, "value": value}));
        return Answer::json(&json!({"stats": stats.collect::<Vec<_>>()}));
    }
    Answer::text(all.iter().map(|(name, value)| format!("{name}: {value}\n")).collect())
}

/// The plugins of every listener in their order, and those that run once per proxy.
pub(crate) fn modules(board: &Board) -> Value {
    let settings = board.settings();
    let chains = settings.listeners.iter().map(|listener| (listener.name.as_str(), &listener.plugins));
    let chains = chains.chain([("singletons", &settings.singletons)]);
    let modules = chains.flat_map(|(listener, plugins)| {
        plugins.iter().enumerate().map(move |(place, plugin)| {
            let (module, digest) = plugin.code.identity().unzip();
            json!({
                "listener": listener,
                "place": place,
                "plugin": plugin.name,
                "root_id": plugin.root_id,
                "module": module,
                "digest": digest,
                "failure_policy": failure_policy(plugin.fail),
                "limits": limits(&plugin.sandbox.limits),
            })
        })
    });
    json!({"modules": modules.collect::<Vec<_>>()})
}

/// How much a plugin may use: bytes, seconds and host calls, where there is a limit.
fn limits(limits: &Limits) -> Value {
    json!({
        "memory": limits.memory,
        "callback_seconds": limits.time.map(|time| time.as_secs_f64()),
        "host_calls": limits.host_calls,
    })
}

/// A policy as Envoy's configuration has it.
pub(crate) const fn failure_policy(policy: FailPolicy) -> &'static str {
    match policy {
        FailPolicy::Closed => "FAIL_CLOSED",
        FailPolicy::Open | FailPolicy::OpenLater => "FAIL_OPEN",
        FailPolicy::Reload { .. } => "FAIL_RELOAD",
    }
}

/// An address as Envoy's configuration has it.
pub(crate) fn address(of: SocketAddr) -> Value {
    json!({"socket_address": {"address": of.ip().to_string(), "port_value": of.port()}})
}
