//! The configuration as Envoy gets it.

use bytes::Bytes;

use super::*;
use crate::sandbox::Capabilities;
use crate::test::FailPolicy;

fn bootstrap() -> Bootstrap {
    let cluster =
        |name: &str, port| Cluster { name: name.to_owned(), address: (Ipv4Addr::LOCALHOST, port).into(), http2: false };
    let mut bootstrap = Bootstrap::new(cluster("upstream", 8001));
    bootstrap.clusters.push(cluster("auth", 8002));
    bootstrap.plugins.push(Plugin {
        name: "hello".to_owned(),
        root_id: "root".to_owned(),
        vm_id: String::new(),
        module: "/m/hello.wasm".into(),
        configuration: Bytes::from_static(b"{\"a\":1}"),
        vm_configuration: Bytes::from_static(b"\xff\x00"),
        environment: Vec::new(),
        capabilities: Capabilities::only(["proxy_log"]),
        fail: FailPolicy::Open,
        allow_on_headers_stop_iteration: true,
    });
    bootstrap
}

#[test]
fn plugins_come_before_the_router() {
    let rendered = bootstrap().render();
    let manager = &rendered["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
    let filters = manager["http_filters"].as_array().unwrap();
    assert_eq!(filters.len(), 2);
    assert_eq!(filters[1]["name"], "envoy.filters.http.router");
    let config = &filters[0]["typed_config"]["config"];
    assert_eq!(config["name"], "hello");
    assert_eq!(config["root_id"], "root");
    assert_eq!(config["fail_open"], true);
    assert_eq!(config["allow_on_headers_stop_iteration"], true);
    assert_eq!(config["configuration"]["value"], "{\"a\":1}");
    assert_eq!(config["vm_config"]["configuration"]["value"], "/wA=");
    assert_eq!(config["vm_config"]["code"]["local"]["filename"], "/m/hello.wasm");
}

#[test]
fn own_filters_come_before_plugins_and_requests_may_end_there() {
    let mut bootstrap = bootstrap();
    bootstrap.filters.push(json!({"name": "own"}));
    bootstrap.answers_itself = true;
    let rendered = bootstrap.render();
    let manager = &rendered["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
    assert_eq!(manager["http_filters"][0]["name"], "own");
    assert_eq!(manager["http_filters"].as_array().unwrap().len(), 3);
    let routes = &manager["route_config"]["virtual_hosts"][0]["routes"];
    assert_eq!(routes[0]["direct_response"]["status"], 200);
}

#[test]
fn a_singleton_is_a_bootstrap_extension() {
    let mut bootstrap = bootstrap();
    bootstrap.singletons.append(&mut bootstrap.plugins);
    let rendered = bootstrap.render();
    let extension = &rendered["bootstrap_extensions"][0];
    assert_eq!(extension["name"], "envoy.bootstrap.wasm");
    assert_eq!(extension["typed_config"]["singleton"], true);
    assert_eq!(extension["typed_config"]["config"]["root_id"], "root");
}

#[test]
fn every_cluster_has_its_server() {
    let rendered = bootstrap().render();
    let clusters = rendered["static_resources"]["clusters"].as_array().unwrap();
    let ports: Vec<_> = clusters
        .iter()
        .map(|cluster| {
            let endpoint = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
            (cluster["name"].as_str().unwrap(), endpoint["address"]["socket_address"]["port_value"].as_u64())
        })
        .collect();
    assert_eq!(ports, [("upstream", Some(8001)), ("auth", Some(8002))]);
}

#[test]
fn a_buffer_limit_holds_on_both_sides() {
    let mut bootstrap = bootstrap();
    assert!(!bootstrap.render().to_string().contains("per_connection_buffer_limit_bytes"));
    bootstrap.buffer_limit = Some(1000);
    let text = bootstrap.render().to_string();
    assert_eq!(text.matches("\"per_connection_buffer_limit_bytes\":1000").count(), 3);
}
