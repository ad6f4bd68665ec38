//! `stats` counts the messages of gRPC calls: the scenarios S3 and S4 of the specification.

use std::time::Duration;

use serde_json::json;
use wasmplugin_host::test::Answer;

use crate::engines::on_every_engine;
use crate::stats::{inbound_of, outbound};
use crate::stats_labels::{assert_exact, inbound, labels, message, more_tags, series, with};

on_every_engine! { stats as "stats";
    /// S3.
    fn grpc_has_a_status_of_its_own(proxy) {
        let mut proxy = outbound(proxy)
            .upstream(|_| Answer::new(200).header("content-type", "application/grpc").header("grpc-status", "7"))
            .start()?;
        for _ in 0..10 {
            proxy.post("/s/m").header("content-type", "application/grpc").body(&b"\0\0\0\0\x01m"[..]).send()?;
        }
        let grpc = with(labels(), &[("request_protocol", "grpc"), ("grpc_response_status", "7")]);
        assert_exact(&mut proxy, "istio_requests_total", &grpc, 10);
        assert_exact(&mut proxy, "istio_request_messages_total", &message(labels()), 10);
        assert_exact(&mut proxy, "istio_response_messages_total", &message(labels()), 0);
        Ok(())
    }

    /// S4, with messages counted in what passes.
    fn messages_are_counted_while_a_stream_is_open(proxy) {
        let config = json!({
            "tcp_reporting_duration": "1s",
            "metrics": [{"dimensions": {"configurable_metric_a": "xds.node.metadata.LABELS.version"}}],
        });
        let mut proxy = inbound_of(proxy.config(config))
            .stats_tags(more_tags(&["configurable_metric_a"]))
            .upstream(|_| Answer::new(200).header("content-type", "application/grpc").body(&b"\0\0\0\0\x01r\0\0\0\0\0"[..]))
            .start()?;
        let headers = [("content-type", "application/grpc"), ("transfer-encoding", "chunked")];
        let stream = headers.into_iter().fold(proxy.post("/s/m"), |request, (name, value)| request.header(name, value)).open()?;
        // Three messages, cut where it suits nobody.
        for piece in [&b"\0\0\0"[..], b"\0\x03one\0\0\0\0\x03t", b"wo\0\0\0\0\0"] {
            proxy.send_data(&stream, piece, false)?;
        }
        proxy.advance(Duration::from_millis(1_200));
        let expected = with(message(inbound()), &[("configurable_metric_a", "v1")]);
        assert_exact(&mut proxy, "istio_request_messages_total", &expected, 3);
        assert_eq!(series(&mut proxy, "istio_requests_total"), [""; 0]);
        proxy.send_data(&stream, &b"\0\0\0\0\x01x"[..], true)?;
        proxy.finish(stream)?;
        assert_exact(&mut proxy, "istio_request_messages_total", &expected, 4);
        assert_exact(&mut proxy, "istio_response_messages_total", &expected, 2);
        Ok(())
    }

    fn messages_that_grpc_stats_counts_are_not_counted_again(proxy) {
        let mut proxy = inbound_of(proxy)
            .filter_state("envoy.filters.http.grpc_stats", "3,13")
            .upstream(|_| Answer::new(200).header("content-type", "application/grpc").body(&b"\0\0\0\0\x01r"[..]))
            .start()?;
        proxy.post("/s/m").header("content-type", "application/grpc").body(&b"\0\0\0\0\x01m"[..]).send()?;
        assert_exact(&mut proxy, "istio_request_messages_total", &message(inbound()), 3);
        assert_exact(&mut proxy, "istio_response_messages_total", &message(inbound()), 13);
        Ok(())
    }
}
