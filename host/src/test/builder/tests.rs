//! What a builder makes of what it was told.

use super::*;
use crate::test::Headers;

fn register() {}

fn builder() -> Builder {
    Proxy::on(Engine::Native).native(register)
}

#[test]
fn a_setup_carries_what_was_said() {
    let next = Proxy::on(Engine::Wasm).native(register).name("second").cluster("b", |_| Answer::new(204));
    let setup = builder()
        .name("first")
        .config(serde_json::json!({"a": 1}))
        .fail_open(true)
        .cluster("a", |_| Answer::new(204))
        .workers(0)
        .then(next)
        .setup()
        .unwrap();
    let names: Vec<_> = setup.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
    assert_eq!(names, ["first", "second"]);
    assert_eq!(setup.plugins[0].configuration, r#"{"a":1}"#);
    assert!(matches!(setup.plugins[0].code, Code::Native(_)));
    assert_eq!(setup.clusters.iter().map(Cluster::name).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(setup.workers, 1);
}

#[test]
fn an_engine_needs_code() {
    let error = builder().name("hello").engine(Engine::Wasm).setup().unwrap_err();
    assert_eq!(error.to_string(), "the plugin `hello` has no code for the engine `wasm`: give it with `.module(..)`");
    let setup = builder().module("hello.wasm").engine(Engine::Envoy).setup().unwrap();
    assert!(matches!(&setup.plugins[0].code, Code::Wasm(path) if path.ends_with("hello.wasm")));
}

#[test]
fn a_cluster_has_one_script() {
    let twice = builder().cluster("a", |_| Answer::new(200)).unreachable_cluster("a");
    assert_eq!(twice.setup().unwrap_err().to_string(), "the cluster `a` is given twice");
}

#[test]
fn a_cluster_records_what_arrives() {
    let cluster = Cluster::new("c", |request| Answer::new(200).body(request.body()));
    let headers: Headers = [(":path", "/x")].into_iter().collect();
    let mut whole = cluster.arrived(headers.clone());
    let mut part = cluster.arrived(headers);
    whole.data(b"ab");
    part.data(b"c");
    whole.data(b"cd");
    assert_eq!(whole.end(Headers::new()), Answer::new(200).body("abcd"));

    let seen = cluster.requests();
    assert_eq!(seen[0].text(), "abcd");
    assert!(seen[0].is_complete());
    assert_eq!(seen[1].text(), "c");
    assert!(!seen[1].is_complete());
}

#[test]
fn envoys_own_filters_need_a_real_envoy() {
    let error = builder().envoy_filter(serde_json::json!({"name": "envoy.filters.http.cors"})).start().unwrap_err();
    assert_eq!(error.to_string(), "there is no Envoy in memory: one of its own filters needs a real one");
}
