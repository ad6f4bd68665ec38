//! `stats` counts TCP connections and their bytes, while they are open and by the certificates of those who do not say who they are.

use std::time::Duration;

use serde_json::json;
use wasmplugin_host::test::{Engine, TrafficDirection};

use crate::engines::on_every_engine;
use crate::stats_labels::{UNKNOWN_SOURCE, around, assert_exact, inbound, tcp, with};
use crate::workloads::{CLIENT_URI, SERVER_URI, mutual, server, twelve_for_six};

on_every_engine! { stats as "stats";
    fn a_connection_is_counted_while_it_is_open(proxy) {
        let proxy = proxy.config(json!({"tcp_reporting_duration": "1s"}));
        let mut proxy = around(proxy, server(), TrafficDirection::Inbound).tcp(twelve_for_six).start()?;
        let mut client = proxy.connect()?;
        client.send("client")?;
        client.read_exact(12)?;
        // Nobody will say who the peer is: after three reports that waited for it, it is unknown.
        proxy.advance(Duration::from_millis(4_500));
        let expected = tcp(with(inbound(), UNKNOWN_SOURCE));
        for (metric, value) in [
            ("istio_tcp_connections_opened_total", 1),
            ("istio_tcp_connections_closed_total", 0),
            ("istio_tcp_received_bytes_total", 6),
            ("istio_tcp_sent_bytes_total", 12),
        ] {
            assert_exact(&mut proxy, metric, &expected, value);
        }
        client.send("client")?;
        client.read_exact(12)?;
        client.finish()?;
        client.read_to_end()?;
        proxy.advance(Duration::from_millis(200));
        for (metric, value) in [
            ("istio_tcp_connections_opened_total", 1),
            ("istio_tcp_connections_closed_total", 1),
            ("istio_tcp_received_bytes_total", 12),
            ("istio_tcp_sent_bytes_total", 24),
        ] {
            assert_exact(&mut proxy, metric, &expected, value);
        }
        Ok(())
    }
}

/// S7: what certificates say where the peer does not speak for itself.
#[test]
fn a_certificate_names_a_silent_client() {
    for engine in [Engine::Native, Engine::Wasm] {
        let sidecar = || {
            let proxy = PLUGIN.on(engine).config(json!({"disableHostHeaderFallback": true}));
            around(proxy, server(), TrafficDirection::Inbound).tls(mutual(SERVER_URI, CLIENT_URI))
        };
        let expected = with(
            with(inbound(), UNKNOWN_SOURCE),
            &[
                ("source_workload_namespace", "default"),
                ("source_principal", CLIENT_URI),
                ("destination_principal", SERVER_URI),
                ("connection_security_policy", "mutual_tls"),
            ],
        );
        let mut proxy = sidecar().start().unwrap();
        for _ in 0..10 {
            proxy.get("/").send().unwrap();
        }
        assert_exact(&mut proxy, "istio_requests_total", &expected, 10);

        let mut proxy = sidecar().tcp(twelve_for_six).start().unwrap();
        for _ in 0..10 {
            let mut client = proxy.connect().unwrap();
            client.send("client").unwrap();
            client.read_exact(12).unwrap();
            client.finish().unwrap();
            client.read_to_end().unwrap();
        }
        for (metric, value) in [
            ("istio_tcp_connections_opened_total", 10),
            ("istio_tcp_connections_closed_total", 10),
            ("istio_tcp_received_bytes_total", 60),
            ("istio_tcp_sent_bytes_total", 120),
        ] {
            assert_exact(&mut proxy, metric, &tcp(expected.clone()), value);
        }
    }
}
