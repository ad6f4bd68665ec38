//! The admin port.

use std::collections::HashSet;

use wasmplugin_proxy::Plugin;

use crate::clients::{Answer, Client, eventually};
use crate::modules::{self, plugin};
use crate::servers::{Server, proxy};

fn value(page: &Answer, sample: &str) -> Option<f64> {
    page.body.lines().find_map(|line| line.strip_prefix(sample)?.trim().parse().ok())
}

#[test]
fn it_says_whether_the_proxy_is_ready() {
    let server = Server::http1();
    let proxy = proxy(server.address, []);
    let mut client = Client::connect(proxy.admin_address().unwrap());
    let ready = client.get("/ready");
    assert_eq!((ready.status, ready.body.as_str()), (200, "LIVE\n"));
    let list = client.get("/");
    assert!(list.body.contains("/ready: ") && list.body.contains("/stats/prometheus: "), "{}", list.body);
    let missing = client.get("/what");
    assert_eq!(missing.status, 404);
    assert!(missing.body.contains("`/what`"), "{}", missing.body);
    assert_eq!(client.send("POST /ready HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").answer().status, 405);
}

#[test]
fn it_counts_what_happens() {
    let server = Server::http1();
    let plugins = [plugin("ticks", &modules::ticks()), Plugin { ..plugin("traps \"x\"", &modules::traps()) }];
    let proxy = proxy(server.address, plugins);
    let mut client = Client::connect(proxy.address());
    assert_eq!(client.get("/").status, 200);
    assert_eq!(client.get("/status/404").status, 404);
    client.send("GET / HTTP/1.1\r\nhost: test\r\nx-trap: 1\r\n\r\n");
    assert_eq!(client.answer().status, 503);
    let mut admin = Client::connect(proxy.admin_address().unwrap());
    let failed = r#"wasmplugin_plugin_failed_workers{listener="listener",place="1",plugin="traps \"x\""}"#;
    eventually("the failure is reported", || value(&admin.get("/stats/prometheus"), failed) == Some(1.0));
    let page = admin.get("/stats/prometheus");
    assert_eq!(page.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let expected = [
        (r#"envoy_http_downstream_rq_xx{envoy_response_code_class="2",envoy_http_conn_manager_prefix="ingress"}"#, 1.0),
        (r#"envoy_http_downstream_rq_xx{envoy_response_code_class="4",envoy_http_conn_manager_prefix="ingress"}"#, 1.0),
        (r#"envoy_http_downstream_rq_xx{envoy_response_code_class="5",envoy_http_conn_manager_prefix="ingress"}"#, 1.0),
        (r#"envoy_http_downstream_cx_active{envoy_http_conn_manager_prefix="ingress"}"#, 1.0),
        (r#"envoy_http_downstream_rq_time_count{envoy_http_conn_manager_prefix="ingress"}"#, 3.0),
        (r#"envoy_cluster_upstream_rq_total{envoy_cluster_name="upstream"}"#, 2.0),
        (r#"envoy_cluster_upstream_cx_active{envoy_cluster_name="upstream"}"#, 1.0),
        ("wasmplugin_traps_total{}", 1.0),
        ("envoy_wasm_envoy_wasm_runtime_wasmtime_active{}", 1.0),
    ];
    for (sample, count) in expected {
        assert_eq!(value(&page, sample), Some(count), "{sample} in\n{}", page.body);
    }
    assert!(value(&page, "my_ticks_kind_fast_{}").is_some(), "{}", page.body);
    is_valid(&page.body);
}

/// The rules of the text format: each family is declared once, before its samples, which do not repeat.
fn is_valid(text: &str) {
    let (mut families, mut samples) = (HashSet::new(), HashSet::new());
    let mut family = "";
    for line in text.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(families.insert(name), "{name} is declared twice");
            family = name;
            continue;
        }
        let (sample, number) = line.rsplit_once(' ').unwrap();
        assert!(number.parse::<f64>().is_ok(), "{line}");
        assert!(samples.insert(sample), "{sample} is there twice");
        let (name, labels) = sample.split_once('{').unwrap();
        assert!(labels.ends_with('}'), "{line}");
        let suffix = name.strip_prefix(family).unwrap();
        assert!(["", "_bucket", "_sum", "_count"].contains(&suffix), "{line} below {family}");
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':'), "{line}");
    }
}
