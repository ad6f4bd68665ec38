//! `stats` counts what Istio counts, under exactly its labels: the scenarios S1 to S19 of the specification.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use istio_core::peer::Peer;
use serde_json::{Value, json};
use wasmplugin_host::module::Module;
use wasmplugin_host::test::{Builder, Engine, Proxy, TrafficDirection};

use crate::engines::{Outcome, Plugin, on_every_engine};
use crate::stats_labels::{
    SERVICE, UNKNOWN_SOURCE, around, assert_exact, inbound, labels, line, more_tags, series, service, settled, tags,
    with, without,
};
use crate::workloads::{self, SERVER_URI, client, server};

/// Says who the peer is, in place of metadata exchange.
const PEER_STATE: Plugin = Plugin { package: "peer-state", register: peer_state::register };

const RBAC: Plugin = Plugin { package: "rbac", register: rbac::register };

/// Puts a plugin before this one that says who the peer is.
fn knowing(stats: Builder, name: &str, peer: &Peer) -> Builder {
    let peers = PEER_STATE.on(stats.chosen_engine()).name("peers");
    peers.config(json!({"name": name, "state": peer.to_state()})).then(stats).stats_tags(tags())
}

/// The client's sidecar, which knows its server.
pub(crate) fn outbound(stats: Builder) -> Builder {
    outbound_to(service(), stats)
}

/// The same in front of a cluster with that metadata.
fn outbound_to(cluster: Value, stats: Builder) -> Builder {
    knowing(stats, "upstream_peer", &workloads::peer(&server()))
        .node(client())
        .direction(TrafficDirection::Outbound)
        .cluster_metadata("upstream", cluster)
}

/// The server's sidecar, which knows its client.
pub(crate) fn inbound_of(stats: Builder) -> Builder {
    inbound_to(service(), stats)
}

/// The same in front of a cluster with that metadata.
fn inbound_to(cluster: Value, stats: Builder) -> Builder {
    knowing(stats, "downstream_peer", &workloads::peer(&client()))
        .node(server())
        .direction(TrafficDirection::Inbound)
        .cluster_metadata("upstream", cluster)
}

fn ten_times(proxy: &mut Proxy) -> Outcome {
    for _ in 0..10 {
        proxy.get("/").send()?;
    }
    Ok(())
}

/// Configuration K of the specification, in today's names.
pub(crate) fn customized() -> Value {
    json!({
        "definitions": [{"name": "custom", "value": "1", "type": "COUNTER"}],
        "metrics": [
            {"name": "request_duration_milliseconds", "drop": true},
            {"name": "custom", "dimensions": {"reporter": "'proxy'"}},
            {"tags_to_remove": ["response_flags", "source_principal"]},
            {
                "name": "requests_total",
                "dimensions": {
                    "configurable_metric_a": "'gateway'",
                    "source_workload": "'_' + xds.node.metadata['WORKLOAD_NAME']",
                    "source_workload_namespace": "'_' + xds.node.metadata['NAMESPACE']",
                    "source_app": "'_' + xds.node.metadata.LABELS.app",
                    "source_version": "'_' + xds.node.metadata.LABELS.app",
                    "request_protocol": "request.protocol",
                    "destination_version": "'_' + upstream_peer.version",
                    "destination_service_namespace": "'_' + upstream_peer.service",
                    "destination_app": "cannot _ parse | N",
                    "destination_workload": "cannot_evaluate",
                    "route_name": "xds.route_name + ',' + xds.cluster_name + ',' \
                        + xds.cluster_metadata.filter_metadata['istio'].services[0].name",
                },
                "tags_to_remove": ["grpc_response_status"],
            },
            {
                "name": "request_bytes",
                "dimensions": {"configurable_metric_b": "'test'"},
                "tags_to_remove": ["reporter"],
            },
            {"dimensions": {"source_principal": "'malicious'"}},
        ],
    })
}

on_every_engine! { stats as "stats";
    /// S1.
    fn a_client_knows_its_server(proxy) {
        let mut proxy = outbound(proxy).start()?;
        ten_times(&mut proxy)?;
        assert_exact(&mut proxy, "istio_requests_total", &labels(), 10);
        proxy.advance(Duration::from_secs(6));
        for metric in ["istio_request_duration_milliseconds", "istio_request_bytes", "istio_response_bytes"] {
            assert_exact(&mut proxy, &format!("{metric}_count"), &labels(), 10);
        }
        Ok(())
    }

    /// S2.
    fn a_server_knows_its_client(proxy) {
        let mut proxy = inbound_of(proxy).start()?;
        ten_times(&mut proxy)?;
        assert_exact(&mut proxy, "istio_requests_total", &inbound(), 10);
        assert_eq!(series(&mut proxy, "istio_build"), ["istio_build{component=\"proxy\",tag=\"1.5-dev\"} 1"]);
        Ok(())
    }

    /// S8.
    fn labels_are_the_configurations(proxy) {
        let mut proxy = outbound(proxy.config(customized()))
            .stats_tags(more_tags(&["configurable_metric_a", "configurable_metric_b", "route_name"]))
            .route_name("client_route")
            .start()?;
        ten_times(&mut proxy)?;
        let expected = with(without(labels(), &["destination_app", "response_flags", "grpc_response_status"]), &[
            ("source_workload", "_productpage-v1"),
            ("source_workload_namespace", "_default"),
            ("source_principal", "malicious"),
            ("source_app", "_productpage"),
            ("source_version", "_productpage"),
            ("destination_workload", "unknown"),
            ("destination_version", "_v1"),
            ("destination_service_namespace", "_ratings"),
            ("request_protocol", "HTTP/1.1"),
            ("configurable_metric_a", "gateway"),
            ("route_name", "client_route,upstream,server"),
        ]);
        assert_exact(&mut proxy, "istio_requests_total", &expected, 10);
        // S9.
        assert_eq!(series(&mut proxy, "istio_custom"), ["istio_custom{reporter=\"proxy\",source_principal=\"malicious\"} 10"]);
        proxy.advance(Duration::from_secs(6));
        assert_eq!(series(&mut proxy, "istio_request_duration_milliseconds_count"), [""; 0]);
        let bytes = with(without(labels(), &["reporter", "response_flags"]), &[
            ("source_principal", "malicious"), ("configurable_metric_b", "test"),
        ]);
        assert_exact(&mut proxy, "istio_request_bytes_count", &bytes, 10);
        Ok(())
    }

    /// S10 and S11.
    fn an_unknown_service_is_the_host_that_was_asked_for_if_at_all(proxy) {
        for (disable, name) in [(false, "127.0.0.1:8080"), (true, "unknown")] {
            let proxy = proxy.clone().config(json!({"disable_host_header_fallback": disable}));
            let mut proxy = outbound_to(json!({}), proxy).start()?;
            for _ in 0..10 {
                proxy.get("/").header("host", "127.0.0.1:8080").send()?;
            }
            let expected = with(labels(), &[("destination_service", name), ("destination_service_name", name)]);
            assert_exact(&mut proxy, "istio_requests_total", &expected, 10);
        }
        Ok(())
    }

    /// S12.
    fn a_server_without_a_service_is_its_workload(proxy) {
        let proxy = proxy.config(json!({"disableHostHeaderFallback": true}));
        let mut proxy = inbound_to(json!({}), proxy).start()?;
        ten_times(&mut proxy)?;
        let expected = with(inbound(), &[("destination_service", "ratings"), ("destination_service_name", "ratings")]);
        assert_exact(&mut proxy, "istio_requests_total", &expected, 10);
        Ok(())
    }

    /// S13.
    fn an_endpoint_speaks_for_a_silent_server(proxy) {
        let workload = json!({"istio": {"workload": "ratings-v1;default;ratings;version-1;server-cluster"}});
        let sidecar = around(proxy, client(), TrafficDirection::Outbound);
        let mut proxy = sidecar.host_metadata("upstream", workload).start()?;
        ten_times(&mut proxy)?;
        let expected = with(labels(), &[("destination_app", "unknown"), ("destination_version", "unknown")]);
        assert_exact(&mut proxy, "istio_requests_total", &expected, 10);
        Ok(())
    }

    /// S14, with what `attributegen` leaves.
    fn a_label_is_what_another_filter_has_left(proxy) {
        let dimensions = json!({"response_code": "filter_state['wasm.istio_responseClass']"});
        let mut proxy = inbound_of(proxy.config(json!({"metrics": [{"dimensions": dimensions}]})))
            .filter_state("wasm.istio_responseClass", "2xx")
            .start()?;
        ten_times(&mut proxy)?;
        assert_exact(&mut proxy, "istio_requests_total", &with(inbound(), &[("response_code", "2xx")]), 10);
        Ok(())
    }

    /// S15.
    fn a_request_that_an_earlier_filter_refuses_is_counted(proxy) {
        let denied = json!({"metadata": {"name": "d", "namespace": "default"}, "spec": {"action": "ALLOW"}});
        let engine = proxy.chosen_engine();
        let rbac = RBAC.on(engine).config(json!({"policies": [denied]}));
        let mut proxy = inbound_of(rbac.then(proxy)).start()?;
        ten_times(&mut proxy)?;
        let refused = with(inbound(), &[("response_code", "403")]);
        assert_exact(&mut proxy, "istio_requests_total", &refused, 10);
        Ok(())
    }

    /// S16.
    fn a_client_that_does_not_say_who_it_is_is_unknown(proxy) {
        let mut proxy = around(proxy, server(), TrafficDirection::Inbound).start()?;
        ten_times(&mut proxy)?;
        assert_exact(&mut proxy, "istio_requests_total", &with(inbound(), UNKNOWN_SOURCE), 10);
        Ok(())
    }

    /// S17.
    fn a_clusters_namespace_counts_more_than_the_peers(proxy) {
        let elsewhere = json!({"istio": {"services": [{"host": SERVICE, "name": "server", "namespace": "server"}]}});
        let mut proxy = outbound_to(elsewhere, proxy).start()?;
        ten_times(&mut proxy)?;
        let expected = with(labels(), &[("destination_service_namespace", "server")]);
        assert_exact(&mut proxy, "istio_requests_total", &expected, 10);
        Ok(())
    }

    /// S19.
    fn further_labels_of_a_peer_are_labels(proxy) {
        let config = json!({"metrics": [{"dimensions": {"role": "downstream_peer.labels['role']"}}]});
        let peer = Peer { labels: [("role".to_owned(), "client".to_owned())].into(), ..workloads::peer(&client()) };
        let mut proxy = knowing(proxy.config(config), "downstream_peer", &peer)
            .stats_tags(more_tags(&["role"]))
            .node(server())
            .direction(TrafficDirection::Inbound)
            .cluster_metadata("upstream", service())
            .start()?;
        ten_times(&mut proxy)?;
        assert_exact(&mut proxy, "istio_requests_total", &with(inbound(), &[("role", "client")]), 10);
        Ok(())
    }

    /// S18, as far as the peers are known without asking the control plane.
    fn a_waypoint_stands_between_both(proxy) {
        let upstream = Peer { identity: SERVER_URI.to_owned(), ..workloads::peer(&server()) };
        let peers = PEER_STATE.on(proxy.chosen_engine()).name("server");
        let peers = peers.config(json!({"name": "upstream_peer", "state": upstream.to_state()}));
        let stats = proxy.config(json!({"reporter": "SERVER_GATEWAY"}));
        let mut proxy = inbound_to(service(), peers.then(stats)).start()?;
        ten_times(&mut proxy)?;
        let expected = with(inbound(), &[("reporter", "waypoint"), ("destination_principal", SERVER_URI)]);
        assert_exact(&mut proxy, "istio_requests_total", &expected, 10);
        Ok(())
    }

    fn a_request_without_an_answer_has_code_0_or_503(proxy) {
        let mut proxy = outbound(proxy).unreachable_upstream().start()?;
        assert_eq!(proxy.get("/").send()?.status(), 503);
        let lines = series(&mut proxy, "istio_requests_total");
        assert_eq!(lines.len(), 1);
        assert!(lines[0].contains("response_code=\"503\""), "{lines:?}");
        assert!(lines[0].contains("response_flags=\"UF"), "{lines:?}");
        Ok(())
    }

    fn hosts_that_are_not_listed_are_one(proxy) {
        let proxy = proxy.config(json!({"allowedHosts": ["*.shop.test"]}));
        let mut proxy = outbound_to(json!({}), proxy).start()?;
        for host in ["a.shop.test", "evil.test", "evil2.test:81"] {
            proxy.get("/").header("host", host).send()?;
        }
        let expected = |name, value| {
            let labels = with(labels(), &[("destination_service", name), ("destination_service_name", name)]);
            line("istio_requests_total", &labels, value)
        };
        let mut lines = series(&mut proxy, "istio_requests_total");
        lines.sort_unstable();
        assert_eq!(lines, [expected("a.shop.test", 1), expected("other", 2)]);
        Ok(())
    }

    fn what_is_over_the_budget_is_counted_as_other(proxy) {
        let proxy = proxy.config(json!({"maxDimensionSets": 2}));
        let mut proxy = outbound_to(json!({}), proxy).start()?;
        for number in 0..20 {
            proxy.get("/").header("host", format!("host-{number}.test")).send()?;
        }
        let lines = series(&mut proxy, "istio_requests_total");
        assert_eq!(lines.len(), 3, "{lines:#?}");
        let other = lines.iter().find(|line| line.contains("destination_service=\"other\"")).ok_or("no overflow")?;
        assert!(other.ends_with(" 18") && other.contains("source_workload=\"productpage-v1\""), "{other}");
        Ok(())
    }

    fn workers_and_requests_lose_nothing(proxy) {
        let mut proxy = outbound(proxy).workers(4).start()?;
        for _ in 0..40 {
            proxy.get("/").send()?;
        }
        assert_exact(&mut proxy, "istio_requests_total", &labels(), 40);
        Ok(())
    }

    fn a_wrong_configuration_is_refused_with_its_place(proxy) {
        for (configuration, expected) in [
            (json!({"disable_host_fallback": true}), "unknown field `disable_host_fallback`"),
            (json!({"metrics": [{"name": "a", "dimension": {}}]}), "`metrics[0]"),
            (json!({"tcp_reporting_duration": "soon"}), "`tcp_reporting_duration`"),
            (json!({"allowedHosts": ["a", "a*b"]}), "`allowedHosts[1]`"),
        ] {
            let error = proxy.clone().config(configuration).start().map(drop).unwrap_err().to_string();
            assert!(error.contains("invalid plugin configuration") && error.contains(expected), "{error}");
        }
        Ok(())
    }
}

#[test]
fn the_module_asks_for_the_same() {
    assert_eq!(Module::read(PLUGIN.module()).unwrap().info().stats_tags(), Some(tags()));
}

/// What Envoy itself refuses is a request all the same, of which nothing is known but the answer.
#[test]
fn what_is_no_http_is_counted_as_a_request() {
    let proxy = PLUGIN.on(Engine::Envoy).config(json!({}));
    let mut proxy = around(proxy, server(), TrafficDirection::Inbound).start().unwrap();
    let mut client = TcpStream::connect(proxy.address().unwrap()).unwrap();
    client.write_all(b"this is no HTTP\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let counted = settled(|| series(&mut proxy, "istio_requests_total"), |series| !series.is_empty());
    assert!(
        matches!(&counted[..], [line] if line.contains("response_code=\"400\"") && line.ends_with(" 1")),
        "{counted:?}"
    );
    assert_eq!(series(&mut proxy, "istio_tcp_connections_opened_total"), Vec::<String>::new());
}
