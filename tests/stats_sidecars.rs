//! `stats` in two real Envoys that talk to each other, with `metadata-exchange` in both: each side counts under exactly the
//! labels of the specification's scenarios, as `/stats/prometheus` shows them.

use std::time::Duration;

use serde_json::{Value, json};
use wasmplugin_host::test::{Answer, Builder, Engine, Node, Proxy, Request, TcpEvent, TcpTurn, TrafficDirection};

use crate::engines::{Outcome, Plugin};
use crate::stats_labels::{
    Labels, UNKNOWN_SOURCE, around, assert_exact, inbound, labels, line, message, more_tags, series, settled, tcp, with,
};
use crate::workloads::{self, CLIENT_URI, SERVER_URI, client, server, twelve_for_six};

pub(crate) const STATS: Plugin = Plugin { package: "stats", register: stats::register };
pub(crate) const EXCHANGE: Plugin = Plugin { package: "metadata-exchange", register: metadata_exchange::register };
const RBAC: Plugin = Plugin { package: "rbac", register: rbac::register };
const ATTRIBUTES: Plugin = Plugin { package: "attributegen", register: attributegen::register };

/// What certificates say of both.
const PRINCIPALS: &[(&str, &str)] = &[("source_principal", CLIENT_URI), ("destination_principal", SERVER_URI)];

fn stats(config: Value) -> Builder {
    STATS.on(Engine::Envoy).config(config)
}

fn exchange() -> Builder {
    EXCHANGE.on(Engine::Envoy).config(json!({}))
}

/// The client's sidecar.
pub(crate) fn outer(plugins: Builder) -> Builder {
    around(plugins, client(), TrafficDirection::Outbound)
}

/// The server's sidecar.
fn inner(plugins: Builder) -> Builder {
    around(plugins, server(), TrafficDirection::Inbound)
}

/// Mutual TLS between the two.
fn mutual(inner: Builder, outer: Builder) -> (Builder, Builder) {
    let (of_inner, of_outer) = (workloads::mutual(SERVER_URI, CLIENT_URI), workloads::mutual(CLIENT_URI, SERVER_URI));
    (inner.tls(of_inner), outer.upstream_tls(of_outer))
}

/// Both, the one before the other.
fn start(inner: Builder, outer: Builder) -> Result<(Proxy, Proxy), Box<dyn std::error::Error>> {
    let inner = inner.start()?;
    let outer = outer.upstream_at(inner.address().ok_or("no address")?).start()?;
    Ok((inner, outer))
}

fn ten_times(outer: &mut Proxy) -> Outcome {
    for _ in 0..10 {
        outer.get("/").send()?;
    }
    Ok(())
}

/// Both with metadata exchange, plain or behind certificates. What is asked in gRPC is refused.
pub(crate) fn http_pair(is_secured: bool) -> Result<(Proxy, Proxy), Box<dyn std::error::Error>> {
    let answer = |request: &Request| match request.header("content-type") {
        Some("application/grpc") => {
            Answer::new(200).header("content-type", "application/grpc").header("grpc-status", "7")
        }
        _ => Answer::new(200),
    };
    let plugins = || exchange().then(stats(json!({})));
    let (inner, outer) = (inner(plugins()).upstream(answer), outer(plugins()));
    let (inner, outer) = if is_secured { mutual(inner, outer) } else { (inner, outer) };
    start(inner, outer)
}

/// S1 and S2.
#[test]
fn each_side_counts_who_the_other_is() -> Outcome {
    let (mut inner, mut outer) = http_pair(false)?;
    ten_times(&mut outer)?;
    assert_exact(&mut outer, "istio_requests_total", &labels(), 10);
    assert_exact(&mut inner, "istio_requests_total", &inbound(), 10);
    assert_eq!(series(&mut inner, "istio_build"), ["istio_build{component=\"proxy\",tag=\"1.5-dev\"} 1"]);
    for side in [&mut inner, &mut outer] {
        assert!(!side.prometheus().contains("reporter___"), "a label was left in a name");
    }
    Ok(())
}

/// The same behind certificates.
#[test]
fn each_side_counts_whose_certificate_the_other_has() -> Outcome {
    let (mut inner, mut outer) = http_pair(true)?;
    ten_times(&mut outer)?;
    assert_exact(&mut outer, "istio_requests_total", &with(labels(), PRINCIPALS), 10);
    let secured = with(with(inbound(), PRINCIPALS), &[("connection_security_policy", "mutual_tls")]);
    assert_exact(&mut inner, "istio_requests_total", &secured, 10);
    Ok(())
}

/// S3.
#[test]
fn each_side_counts_calls_and_their_messages() -> Outcome {
    let (mut inner, mut outer) = http_pair(false)?;
    for _ in 0..10 {
        outer.post("/s/m").header("content-type", "application/grpc").body(&b"\0\0\0\0\x01m"[..]).send()?;
    }
    let call = [("request_protocol", "grpc"), ("grpc_response_status", "7")];
    for (side, expected) in [(&mut outer, labels()), (&mut inner, inbound())] {
        assert_exact(side, "istio_requests_total", &with(expected.clone(), &call), 10);
        assert_exact(side, "istio_request_messages_total", &message(expected), 10);
    }
    Ok(())
}

pub(crate) fn ten_connections(outer: &mut Proxy) -> Outcome {
    for _ in 0..10 {
        let mut client = outer.connect()?;
        client.send("client")?;
        assert_eq!(client.read_exact(12)?, b"clientclient");
        client.finish()?;
        assert_eq!(client.read_to_end()?, b"");
    }
    outer.advance(Duration::from_millis(300));
    Ok(())
}

/// What ten connections count.
fn assert_connections(side: &mut Proxy, expected: &Labels, received: u64, sent: u64) {
    for (metric, value) in [
        ("istio_tcp_connections_opened_total", 10),
        ("istio_tcp_connections_closed_total", 10),
        ("istio_tcp_received_bytes_total", received),
        ("istio_tcp_sent_bytes_total", sent),
    ] {
        assert_exact(side, metric, expected, value);
    }
}

fn tcp_exchange(config: Value) -> Builder {
    EXCHANGE.on(Engine::Envoy).root_id("tcp").config(config)
}

/// Both with metadata exchange over TCP, behind certificates.
pub(crate) fn tcp_pair() -> Result<(Proxy, Proxy), Box<dyn std::error::Error>> {
    let often = json!({"tcp_reporting_duration": "1s"});
    let inner = inner(tcp_exchange(json!({})).then(stats(often.clone()))).tcp(twelve_for_six);
    let (inner, outer) = mutual(inner, outer(tcp_exchange(json!({"tell_upstream": true})).then(stats(often))));
    let inner = inner.start()?;
    let outer = outer.tcp_upstream_at(inner.address().ok_or("no address")?).start()?;
    Ok((inner, outer))
}

/// S5 and S6.
#[test]
fn each_side_counts_connections() -> Outcome {
    let (mut inner, mut outer) = tcp_pair()?;
    ten_connections(&mut outer)?;
    let secured = with(with(inbound(), PRINCIPALS), &[("connection_security_policy", "mutual_tls")]);
    assert_connections(&mut inner, &tcp(secured), 60, 120);
    assert_connections(&mut outer, &tcp(with(labels(), PRINCIPALS)), 60, 120);
    Ok(())
}

/// S7: a client that says nothing has its certificate.
#[test]
fn a_silent_client_is_counted_by_its_certificate() -> Outcome {
    let inner = inner(tcp_exchange(json!({})).then(stats(json!({})))).tcp(twelve_for_six);
    let (inner, outer) = mutual(inner, outer(stats(json!({}))));
    let mut inner = inner.start()?;
    let mut outer = outer.tcp_upstream_at(inner.address().ok_or("no address")?).start()?;
    ten_connections(&mut outer)?;
    let of_certificates = with(with(inbound(), UNKNOWN_SOURCE), PRINCIPALS);
    let changes = [("source_workload_namespace", "default"), ("connection_security_policy", "mutual_tls")];
    assert_connections(&mut inner, &tcp(with(of_certificates, &changes)), 60, 120);
    Ok(())
}

/// A server that closes at once, before the client has said who it is.
#[test]
fn a_server_that_closes_at_once_is_counted() -> Outcome {
    let closes = |event: TcpEvent<'_>, turn: &mut TcpTurn| {
        if let TcpEvent::Connected = event {
            turn.finish()
        }
    };
    let inner = inner(tcp_exchange(json!({})).then(stats(json!({})))).tcp(closes);
    let (inner, outer) = mutual(inner, outer(tcp_exchange(json!({"tell_upstream": true})).then(stats(json!({})))));
    let mut inner = inner.start()?;
    let mut outer = outer.tcp_upstream_at(inner.address().ok_or("no address")?).start()?;
    for _ in 0..10 {
        let mut client = outer.connect()?;
        assert_eq!(client.read_to_end()?, b"");
        client.finish()?;
    }
    let secured = [("source_workload_namespace", "default"), ("connection_security_policy", "mutual_tls")];
    let silent = tcp(with(with(with(inbound(), UNKNOWN_SOURCE), PRINCIPALS), &secured));
    for metric in ["istio_tcp_connections_opened_total", "istio_tcp_connections_closed_total"] {
        let expected = [line(metric, &silent, 10)];
        assert_eq!(settled(|| series(&mut inner, metric), |seen| *seen == expected), expected);
    }
    Ok(())
}

/// S14, with `attributegen` itself.
#[test]
fn a_name_that_attributegen_gives_is_a_label() -> Outcome {
    let class = json!({"output_attribute": "istio_responseClass", "match": [
        {"condition": "response.code >= 200 && response.code <= 299", "value": "2xx"},
    ]});
    let attributes = ATTRIBUTES.on(Engine::Envoy).config(json!({"attributes": [class]}));
    let dimensions = json!({"response_code": "filter_state['wasm.istio_responseClass']"});
    let stats_of_classes = stats(json!({"metrics": [{"dimensions": dimensions}]}));
    let inner = inner(exchange().then(attributes).then(stats_of_classes));
    let (mut inner, mut outer) = start(inner, outer(exchange().then(stats(json!({})))))?;
    ten_times(&mut outer)?;
    assert_exact(&mut inner, "istio_requests_total", &with(inbound(), &[("response_code", "2xx")]), 10);
    assert_exact(&mut outer, "istio_requests_total", &labels(), 10);
    Ok(())
}

/// S15.
#[test]
fn a_refusal_is_counted_on_both_sides() -> Outcome {
    let nobody = json!({"metadata": {"name": "d", "namespace": "default"}, "spec": {"action": "ALLOW"}});
    let rbac = RBAC.on(Engine::Envoy).config(json!({"policies": [nobody]}));
    let inner = inner(exchange().then(rbac).then(stats(json!({}))));
    let (mut inner, mut outer) = start(inner, outer(exchange().then(stats(json!({})))))?;
    ten_times(&mut outer)?;
    let refused = [("response_code", "403")];
    assert_exact(&mut inner, "istio_requests_total", &with(inbound(), &refused), 10);
    assert_exact(&mut outer, "istio_requests_total", &with(labels(), &refused), 10);
    Ok(())
}

/// S19.
#[test]
fn further_labels_travel_and_are_counted() -> Outcome {
    let sidecar = |mut node: Node, role: &str, peer: &str, direction| {
        node.metadata["LABELS"]["role"] = role.into();
        let dimensions = json!({"role": format!("{peer}.labels['role']")});
        let exchange = EXCHANGE.on(Engine::Envoy).config(json!({"additional_labels": ["role"]}));
        let plugins = exchange.then(stats(json!({"metrics": [{"dimensions": dimensions}]})));
        around(plugins, node, direction).stats_tags(more_tags(&["role"]))
    };
    let inner = sidecar(server(), "server", "downstream_peer", TrafficDirection::Inbound);
    let outer = sidecar(client(), "client", "upstream_peer", TrafficDirection::Outbound);
    let (mut inner, mut outer) = start(inner, outer)?;
    ten_times(&mut outer)?;
    assert_exact(&mut outer, "istio_requests_total", &with(labels(), &[("role", "server")]), 10);
    assert_exact(&mut inner, "istio_requests_total", &with(inbound(), &[("role", "client")]), 10);
    Ok(())
}
