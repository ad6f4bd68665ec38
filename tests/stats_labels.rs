//! The labels that the specification of `stats` expects, and what a proxy's page for Prometheus shows of them.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wasmplugin::metrics::StatsTag;
use wasmplugin_host::test::{Builder, Node, Proxy, TrafficDirection};

/// Labels with their values, in the order of the page.
pub(crate) type Labels = Vec<(String, String)>;

/// The specification's set H, as the client sees it.
pub(crate) fn labels() -> Labels {
    [
        ("reporter", "source"),
        ("source_workload", "productpage-v1"),
        ("source_canonical_service", "productpage-v1"),
        ("source_canonical_revision", "version-1"),
        ("source_workload_namespace", "default"),
        ("source_principal", "unknown"),
        ("source_app", "productpage"),
        ("source_version", "v1"),
        ("source_cluster", "client-cluster"),
        ("destination_workload", "ratings-v1"),
        ("destination_workload_namespace", "default"),
        ("destination_principal", "unknown"),
        ("destination_app", "ratings"),
        ("destination_version", "v1"),
        ("destination_service", "server.default.svc.cluster.local"),
        ("destination_canonical_service", "ratings"),
        ("destination_canonical_revision", "version-1"),
        ("destination_service_name", "server"),
        ("destination_service_namespace", "default"),
        ("destination_cluster", "server-cluster"),
        ("request_protocol", "http"),
        ("response_code", "200"),
        ("grpc_response_status", ""),
        ("response_flags", "-"),
        ("connection_security_policy", "unknown"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// The same as the server sees it.
pub(crate) fn inbound() -> Labels {
    with(labels(), &[("reporter", "destination"), ("connection_security_policy", "none")])
}

/// Changes values; labels that are not there come last.
pub(crate) fn with(mut labels: Labels, changes: &[(&str, &str)]) -> Labels {
    for (name, value) in changes {
        match labels.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => (*value).clone_into(known),
            None => labels.push(((*name).to_owned(), (*value).to_owned())),
        }
    }
    labels
}

pub(crate) fn without(mut labels: Labels, names: &[&str]) -> Labels {
    labels.retain(|(name, _)| !names.contains(&name.as_str()));
    labels
}

/// What of the source is unknown where the peer is.
pub(crate) const UNKNOWN_SOURCE: &[(&str, &str)] = &[
    ("source_workload", "unknown"),
    ("source_canonical_service", "unknown"),
    ("source_canonical_revision", "latest"),
    ("source_workload_namespace", "unknown"),
    ("source_app", "unknown"),
    ("source_version", "unknown"),
    ("source_cluster", "unknown"),
];

/// The labels of a TCP connection.
pub(crate) fn tcp(labels: Labels) -> Labels {
    with(without(labels, &["response_code", "grpc_response_status"]), &[("request_protocol", "tcp")])
}

/// Those of a gRPC message.
pub(crate) fn message(labels: Labels) -> Labels {
    let of_the_response =
        ["request_protocol", "response_code", "grpc_response_status", "response_flags", "connection_security_policy"];
    without(labels, &of_the_response)
}

pub(crate) fn line(metric: &str, labels: &Labels, value: u64) -> String {
    let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    format!("{metric}{{{}}} {value}", labels.join(","))
}

/// All series of a metric.
pub(crate) fn series(proxy: &mut Proxy, metric: &str) -> Vec<String> {
    series_in(&proxy.prometheus(), metric)
}

/// The same on a page that is there.
pub(crate) fn series_in(page: &str, metric: &str) -> Vec<String> {
    let start = format!("{metric}{{");
    page.lines().filter(|line| line.starts_with(&start)).map(str::to_owned).collect()
}

/// What series count together.
pub(crate) fn total(series: &[String]) -> u64 {
    let value = |line: &String| line.rsplit_once(' ').and_then(|(_, value)| value.parse::<u64>().ok());
    series.iter().map(|line| value(line).unwrap_or_else(|| panic!("no number: {line}"))).sum()
}

/// How long a page may take to show what has happened: a real Envoy on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Looks at pages until one is as it has to be; the last one, if none is.
pub(crate) fn settled<T>(mut look: impl FnMut() -> T, is_right: impl Fn(&T) -> bool) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = look();
        if is_right(&seen) || Instant::now() > deadline {
            return seen;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// The metric has this series and no other.
pub(crate) fn assert_exact(proxy: &mut Proxy, metric: &str, labels: &Labels, value: u64) {
    assert_eq!(series(proxy, metric), [line(metric, labels, value)], "{:?}", proxy.logs());
}

/// What the module asks the proxy for; the build asks the plugin in the same words.
pub(crate) fn tags() -> Vec<(String, String)> {
    let description: Value = serde_json::from_str(&stats::wasmplugin_description()).unwrap();
    let tags = description["metadata"]["stats_tags"].as_array().unwrap();
    let text = |tag: &Value, field: &str| tag[field].as_str().unwrap().to_owned();
    tags.iter().map(|tag| (text(tag, "tag_name"), text(tag, "regex"))).collect()
}

/// What labels of the configuration's need besides.
pub(crate) fn more_tags(labels: &[&str]) -> Vec<(String, String)> {
    labels.iter().map(|label| StatsTag::of(label)).map(|tag| (tag.name, tag.regex)).collect()
}

/// The host of the service.
pub(crate) const SERVICE: &str = "server.default.svc.cluster.local";

/// What a cluster says of it.
pub(crate) fn service() -> Value {
    json!({"istio": {"services": [{"host": SERVICE, "name": "server", "namespace": "default"}]}})
}

/// The sidecar of a workload in front of that service.
pub(crate) fn around(plugins: Builder, node: Node, direction: TrafficDirection) -> Builder {
    plugins.stats_tags(tags()).node(node).direction(direction).cluster_metadata("upstream", service())
}
