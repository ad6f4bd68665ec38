//! What Istio's dashboards and Kiali ask Prometheus for, asked of two real Envoys: every query finds series.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engines::Outcome;
use crate::stats_sidecars::{http_pair, tcp_pair, ten_connections};

/// A query as far as it chooses and groups series: `metric{label="value",..} by (label, ..)`. In a value, `|` stands between
/// alternatives and `*` for anything but nothing; `!` before it turns it round.
const QUERIES: &[&str] = &[
    // Mesh: global volume, success rate, and the tables of workloads.
    "istio_requests_total{reporter=source|waypoint}",
    "istio_requests_total{reporter=source|waypoint,response_code=!500}",
    "istio_requests_total{reporter=source|waypoint} by (destination_workload, destination_workload_namespace, destination_service)",
    "istio_request_duration_milliseconds_bucket{reporter=source|waypoint} by (le, destination_workload, destination_workload_namespace, destination_service)",
    "istio_tcp_received_bytes_total{reporter=source} by (destination_workload, destination_workload_namespace, destination_service)",
    "istio_tcp_sent_bytes_total{reporter=source} by (destination_workload, destination_workload_namespace, destination_service)",
    "istio_build{} by (component, tag)",
    // Service: what clients and servers see of a service.
    "istio_requests_total{reporter=source,destination_service=server.default.svc.cluster.local}",
    "istio_requests_total{reporter=destination,destination_service=server.default.svc.cluster.local,response_code=!500}",
    "istio_request_duration_milliseconds_bucket{reporter=destination,destination_service=server.default.svc.cluster.local} by (le)",
    "istio_request_duration_milliseconds_sum{reporter=source,destination_service=*}",
    "istio_request_duration_milliseconds_count{reporter=source,destination_service=*}",
    "istio_requests_total{connection_security_policy=mutual_tls,reporter=destination,destination_service=*,source_workload=*,source_workload_namespace=*} by (source_workload, source_workload_namespace, response_code)",
    "istio_requests_total{connection_security_policy=!mutual_tls,reporter=source,destination_service=*} by (source_workload, source_workload_namespace, response_code)",
    "istio_request_bytes_bucket{connection_security_policy=mutual_tls,reporter=destination} by (source_workload, source_workload_namespace, le)",
    "istio_response_bytes_bucket{connection_security_policy=mutual_tls,reporter=destination} by (source_workload, source_workload_namespace, le)",
    "istio_tcp_received_bytes_total{connection_security_policy=mutual_tls,reporter=destination,destination_service=*} by (source_workload, source_workload_namespace)",
    "istio_tcp_sent_bytes_total{connection_security_policy=mutual_tls,reporter=destination,destination_service=*} by (source_workload, source_workload_namespace)",
    // Workload: what comes in and what goes out.
    "istio_requests_total{reporter=destination,destination_workload_namespace=default,destination_workload=ratings-v1}",
    "istio_requests_total{reporter=source,source_workload_namespace=default,source_workload=productpage-v1} by (destination_service, response_code)",
    "istio_request_duration_milliseconds_bucket{reporter=source,source_workload=productpage-v1} by (destination_service, le)",
    "istio_request_bytes_bucket{reporter=source,source_workload=productpage-v1} by (destination_service, le)",
    "istio_response_bytes_bucket{reporter=source,source_workload=productpage-v1} by (destination_service, le)",
    "istio_tcp_sent_bytes_total{reporter=source,source_workload=productpage-v1} by (destination_service)",
    "istio_tcp_connections_opened_total{reporter=destination,destination_workload=ratings-v1}",
    "istio_tcp_connections_closed_total{reporter=destination,destination_workload=ratings-v1}",
    // What alerts and service level objectives are made of.
    "istio_requests_total{reporter=destination,destination_service_name=server,destination_service_namespace=default} by (destination_version, response_code)",
    "istio_requests_total{reporter=destination,source_principal=*,destination_principal=*} by (source_app, destination_app)",
    // Kiali: the graph.
    "istio_requests_total{reporter=source|destination} by (source_cluster, source_workload_namespace, source_workload, source_canonical_service, source_canonical_revision, destination_cluster, destination_service_namespace, destination_service, destination_service_name, destination_workload_namespace, destination_workload, destination_canonical_service, destination_canonical_revision, request_protocol, response_code, grpc_response_status, response_flags)",
    "istio_requests_total{request_protocol=grpc,grpc_response_status=7} by (destination_canonical_service)",
    "istio_request_messages_total{reporter=source} by (source_workload, destination_cluster, destination_service, destination_canonical_service)",
    "istio_response_messages_total{reporter=destination} by (source_workload, destination_cluster, destination_service, destination_canonical_service)",
    "istio_tcp_sent_bytes_total{reporter=source} by (source_workload, destination_service_name, response_flags, request_protocol)",
];

/// A line of the page.
struct Series<'a> {
    metric: &'a str,
    labels: BTreeMap<&'a str, &'a str>,
}

impl<'a> Series<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let (metric, rest) = line.split_once('{')?;
        let (labels, _) = rest.rsplit_once('}')?;
        let labels = labels.split("\",").filter_map(|label| label.split_once("=\""));
        Some(Self { metric, labels: labels.map(|(name, value)| (name, value.trim_end_matches('"'))).collect() })
    }

    fn is_found_by(&self, query: &str) -> bool {
        let (metric, rest) = query.split_once('{').unwrap();
        let (matchers, rest) = rest.split_once('}').unwrap();
        let by = rest.strip_prefix(" by (").map_or("", |by| by.trim_end_matches(')'));
        let mut matchers = matchers.split(',').filter_map(|matcher| matcher.split_once('='));
        self.metric == metric
            && matchers.all(|(label, wanted)| self.has(label, wanted))
            && by.split(", ").filter(|label| !label.is_empty()).all(|label| self.labels.contains_key(label))
    }

    fn has(&self, label: &str, wanted: &str) -> bool {
        let value = self.labels.get(label).copied().unwrap_or_default();
        match wanted.strip_prefix('!') {
            Some(unwanted) => value != unwanted,
            None => wanted.split('|').any(|wanted| value == wanted || (wanted == "*" && !value.is_empty())),
        }
    }
}

#[test]
fn every_query_finds_series() -> Outcome {
    let (mut inner, mut outer) = http_pair(true)?;
    outer.get("/").send()?;
    outer.post("/s/m").header("content-type", "application/grpc").body(&b"\0\0\0\0\x01m"[..]).send()?;
    let (mut tcp_inner, mut tcp_outer) = tcp_pair()?;
    ten_connections(&mut tcp_outer)?;
    // Histograms are shown when they were flushed.
    outer.advance(Duration::from_secs(6));
    let pages = [&mut inner, &mut outer, &mut tcp_inner, &mut tcp_outer].map(|proxy| proxy.prometheus());
    let series: Vec<_> = pages.iter().flat_map(|page| page.lines()).filter_map(Series::read).collect();
    for query in QUERIES {
        assert!(series.iter().any(|series| series.is_found_by(query)), "nothing is found by {query}");
    }
    Ok(())
}
