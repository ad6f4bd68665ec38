//! What properties answer in each phase: the engines in memory say what a real Envoy says, path by path.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wasmplugin_host::test::{Answer, Builder, Engine, Locality, LogLine, Node, Request, Route, TrafficDirection};

use crate::engines::Plugin;

const PROBE: Plugin = Plugin { package: "attribute-probe", register: attribute_probe::register };

/// Every path that is compared; `|` stands between segments.
const PATHS: &str = include_str!("attributes.txt");

/// Where the engines differ, and why.
const ACCEPTED: [(&str, &str); 2] = [
    ("xds|node", "Envoy lists its 60 KB of extensions as well"),
    ("request|headers", "the order of a map's entries is Envoy's own business"),
];

/// Values that change from run to run: only their length is compared.
const VOLATILE: [&str; 17] = [
    "connection_id",
    "connection|id",
    "destination|address",
    "destination|port",
    "request|duration",
    "request|headers",
    "request|id",
    "request|time",
    "response|backend_latency",
    "response|headers",
    "response|total_size",
    "upstream|address",
    "upstream|cx_pool_ready_duration",
    "upstream|local_address",
    "upstream|port",
    "xds|node",
    "request|headers|x-request-id",
];

/// Paths whose texts have a length that changes as well.
const ANY_LENGTH: [&str; 6] = [
    "destination|address",
    "request|headers",
    "response|headers",
    "upstream|address",
    "upstream|local_address",
    "xds|node",
];

fn object(value: Value) -> serde_json::Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn surrounded(proxy: Builder) -> Builder {
    let metadata = object(json!({
        "NAMESPACE": "ns", "N": 3.5, "B": true, "E": "", "EO": {}, "EL": [], "L": ["x", 1],
        "LABELS": {"app": "a"}, "NULL": {"Z": null},
    }));
    let locality = Locality { region: "r".into(), zone: "z".into(), sub_zone: String::new() };
    proxy
        .node(Node { id: "node-id".into(), cluster: "node-cluster".into(), metadata, locality })
        .direction(TrafficDirection::Inbound)
        .listener_metadata(json!({"lm": {"k": "v"}}))
        .client(([10, 1, 2, 3], 4444).into())
        .cluster("canary", |_: &Request| Answer::new(200).body("canary"))
        .route(Route::to("canary").name("canary-route").header("x-canary", "1"))
        .route(Route::to("upstream").name("main-route").prefix("/r").metadata(json!({"rm": {"k": "v"}})))
        .cluster_metadata("upstream", json!({"istio": {"services": [{"name": "svc"}]}}))
        .host_metadata("upstream", json!({"istio": {"workload": "w1"}}))
        .dynamic_metadata(json!({"dyn": {"o": {"p": "q"}}}))
        .filter_state("my.key", "state 100%")
        .upstream(|_: &Request| Answer::new(200).header("x-a", "1").header("x-a", "2").body("upstream"))
}

/// What the probe logged: phase and path, and the answer.
fn answers(logs: &[LogLine]) -> BTreeMap<(String, String), String> {
    let line = |line: &LogLine| {
        let mut words = line.text.strip_prefix('@')?.splitn(3, ' ');
        Some(((words.next()?.to_owned(), words.next()?.to_owned()), words.next()?.to_owned()))
    };
    logs.iter().filter_map(line).collect()
}

/// What is left of an answer when all is forgotten that may change from run to run.
fn lasting(path: &str, answer: &str) -> String {
    let (status, value) = answer.split_once(' ').unwrap_or((answer, ""));
    match path {
        path if ANY_LENGTH.contains(&path) => status.to_owned(),
        path if VOLATILE.contains(&path) => format!("{status} of {}", value.len()),
        _ => answer.to_owned(),
    }
}

/// What an engine answers to a configuration of the probe.
fn asked(
    engine: Engine,
    config: &Value,
    send: fn(&mut wasmplugin_host::test::Proxy),
) -> BTreeMap<(String, String), String> {
    let proxy = surrounded(PROBE.on(engine)).config(config.clone()).start();
    let mut proxy = proxy.unwrap_or_else(|error| panic!("{engine}: {error}"));
    send(&mut proxy);
    answers(&proxy.logs())
}

/// Compares what the engines answer.
fn compare(config: &Value, send: fn(&mut wasmplugin_host::test::Proxy)) {
    let real = asked(Engine::Envoy, config, send);
    assert!(real.len() > 4, "the probe has spoken: {real:?}");
    for engine in [Engine::Native, Engine::Wasm] {
        let ours = asked(engine, config, send);
        let mut differences = Vec::new();
        for key in real.keys().chain(ours.keys().filter(|key| !real.contains_key(*key))) {
            let (phase, path) = key;
            let said =
                |answers: &BTreeMap<(String, String), String>| answers.get(key).map(|answer| lasting(path, answer));
            let (real, ours) = (said(&real), said(&ours));
            if real != ours {
                differences.push(format!("{phase} {path}: envoy {real:?}, {engine} {ours:?}"));
            }
        }
        assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    }
}

fn paths() -> Vec<&'static str> {
    PATHS.lines().collect()
}

#[test]
fn every_property_answers_as_in_envoy() {
    assert!(ACCEPTED.iter().all(|(path, _)| ANY_LENGTH.contains(path)));
    let config = json!({
        "paths": paths(),
        "store": [["mine", "val"], ["two|parts", "v2"], ["request", "shadow"], ["plugin_name", "x"], ["empty", ""]],
    });
    compare(&config, |proxy| {
        let sent = proxy.get("/r?q=1&r=2").header("user-agent", "ua").header("x-d", "1").header("x-d", "2").send();
        assert_eq!(sent.map(|response| response.status()).ok(), Some(200));
    });
}

#[test]
fn sizes_and_statuses_follow_the_body() {
    let paths = [
        "request|size",
        "request|headers|content-length",
        "response|size",
        "response|code",
        "response|grpc_status",
        "response|code_details",
    ];
    compare(&json!({"paths": paths}), |proxy| {
        let sent = proxy.post("/r").body("hello").send();
        assert_eq!(sent.map(|response| response.status()).ok(), Some(200));
    });
}

#[test]
fn a_changed_header_routes_again_behind_the_filters() {
    let paths =
        ["xds|route_name", "xds|cluster_name", "xds|route_metadata", "xds|cluster_metadata", "xds|virtual_host_name"];
    compare(&json!({"paths": paths, "header": ["x-canary", "1"], "clear": true}), |proxy| {
        assert_eq!(proxy.get("/r").send().map(|response| response.text()).ok().as_deref(), Some("canary"));
    });
}

#[test]
fn an_upstream_that_fails_shows_in_the_flags() {
    let paths = ["response|flags", "response|code", "response|code_details", "response|grpc_status"];
    for engine in [Engine::Wasm, Engine::Envoy] {
        let proxy = PROBE.on(engine).config(json!({"paths": paths})).unreachable_upstream().start();
        let mut proxy = proxy.unwrap_or_else(|error| panic!("{engine}: {error}"));
        assert_eq!(proxy.get("/").send().map(|response| response.status()).ok(), Some(503));
        let answers = answers(&proxy.logs());
        let flags = &answers[&("log".to_owned(), "response|flags".to_owned())];
        assert_eq!(flags, "0 2000000000000000", "{engine}: connection failure");
    }
}

/// Declared names, their types and rights, and Envoy's own objects.
#[test]
fn filter_state_is_declared_set_and_read_as_in_envoy() {
    let declare = |name: &str, readonly: u8, kind: u8, schema: &str| {
        let mut message = text(1, name);
        message.extend([2 << 3, readonly, 3 << 3, kind]);
        if !schema.is_empty() {
            message.extend(text(4, schema));
        }
        json!(["declare_property", hex(&message)])
    };
    let structure = "type.googleapis.com/google.protobuf.Struct";
    let object =
        |name: &str, value: &str| json!(["set_envoy_filter_state", hex(&[text(1, name), text(2, value)].concat())]);
    // The fields of a `Struct` with `k: "val"`, as the probe can store them: its bytes are all text.
    let fields = "\n\n\n\u{1}k\u{12}\u{5}\u{1a}\u{3}val";
    let config = json!({
        "paths": [
            "ro", "st", "sc", "sc|k", "sc|nope", "filter_state|wasm.sc", "filter_state|wasm.sc|k", "filter_state|wasm.st",
            "filter_state|envoy.string", "filter_state|envoy.upstream.dynamic_port", "filter_state|envoy.network.ip",
            "envoy.string", "filter_state|envoy.bool", "filter_state|envoy.ratelimit.hits_addend",
            "filter_state|envoy.tcp_proxy.cluster", "filter_state|envoy.network.upstream_server_name",
        ],
        "root_calls": [
            declare("ro", 1, 0, ""), declare("st", 0, 1, ""), declare("sc", 0, 3, structure), declare("bad", 0, 3, "nope"),
            declare("st", 1, 0, ""), ["declare_property", "ff"], ["set_envoy_filter_state", "0a0178"],
            ["clear_route_cache", ""], ["no_such_function", ""],
        ],
        "store": [["ro", "1"], ["ro", "2"], ["st", "s"], ["st", "t"], ["sc", fields]],
        "calls": [
            object("envoy.string", "v"), object("envoy.string", "w"), object("envoy.upstream.dynamic_port", "80"),
            object("envoy.upstream.dynamic_port", "x"), object("envoy.network.ip", "1.2.3.4"), object("envoy.network.ip", "x"),
            object("envoy.bool", "true"), object("envoy.ratelimit.hits_addend", "5"), object("my.own", "v"),
            object("envoy.tcp_proxy.cluster", "c"), object("envoy.network.upstream_server_name", "sni"),
            object("downstream_peer", "v"), object("", "v"), ["set_envoy_filter_state", ""], ["set_envoy_filter_state", "ff"],
            declare("late", 0, 0, ""),
        ],
    });
    compare(&config, |proxy| {
        assert_eq!(proxy.get("/r").send().map(|response| response.status()).ok(), Some(200));
    });
}

/// What an author sees of all this: values of their types, and errors that say what is wrong.
#[test]
fn attributes_are_typed_and_know_their_phase() {
    let wanted = [
        "root node id: Some(\"node-id\")",
        "root label: Some(\"a\")",
        "root declared: ()",
        "root again: ()",
        "client: Some(\"10.1.2.3:4444\")",
        "port: Some(4444)",
        "mtls: Some(false)",
        "sni: Some(\"\")",
        "peer: None",
        "code: the attribute `response.code` exists from the response's headers on, not here",
        "route: Some(\"main-route\")",
        "path as number: malformed: the attribute `request.path` is not a whole number of 8 bytes",
        "metadata: Some(1.0)",
        "verdict: None",
        "set: ()",
        "set again: the filter state `verdict` is read-only and has a value already",
        "hidden: the filter state `request` has the name of a built-in attribute, which would hide it",
        "object: ()",
        "no object: the proxy cannot make the filter state `acme.object`",
        "bad object: `x` is no value for the filter state `envoy.upstream.dynamic_port`",
        "body path: the attribute `request.path` exists while the request's headers are held, and in the log, not here",
        "body size: Some(5)",
        "response code: Some(200)",
        "response path: the attribute `request.path` exists while the request's headers are held, and in the log, not here",
        "response verdict: Some(\"yes\")",
        "log path: Some(\"/r\")",
        "log took time: true",
        "log headers: Some(true)",
    ];
    for engine in [Engine::Native, Engine::Wasm, Engine::Envoy] {
        let proxy = surrounded(PROBE.on(engine)).dynamic_metadata(json!({"dyn": {"n": 1}}));
        let mut proxy = proxy
            .config(json!({"paths": [], "typed": true}))
            .start()
            .unwrap_or_else(|error| panic!("{engine}: {error}"));
        assert_eq!(proxy.post("/r").body("hello").send().map(|response| response.status()).ok(), Some(200), "{engine}");
        let logs = proxy.logs();
        let mut said: Vec<_> = logs.iter().map(|line| line.text.as_str()).collect();
        // A real Envoy configures a plugin several times, the first ones for trial.
        let spoken = said.iter().rposition(|line| line.starts_with("root node id")).unwrap_or_default();
        said.drain(..spoken);
        assert_eq!(said, wanted, "{engine}");
    }
}

fn text(number: u8, text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap_or_default();
    [&[number << 3 | 2, length], text.as_bytes()].concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}
