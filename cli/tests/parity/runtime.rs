//! The shared cases of failures at run time, those of them that files can express, and what crosses ports.

use serde_json::{Value, json};

use super::ask::asks;
use super::rows::{ASKS, GROWS, Plugin, REFUSES, Row, TRAPS};

/// What the guest that asks calls, and is called by.
const CAPABILITIES: &[&str] = &[
    "proxy_on_context_create",
    "proxy_on_vm_start",
    "proxy_on_configure",
    "proxy_on_response_headers",
    "proxy_log",
    "proxy_get_current_time_nanoseconds",
    "proxy_get_header_map_value",
    "proxy_add_header_map_value",
    "random_get",
    "fd_write",
    "clock_time_get",
    "environ_sizes_get",
];

/// The rows that show a case; or why it is shown elsewhere.
pub(crate) fn rows_of(case: &str) -> Result<Vec<Row>, &'static str> {
    const EXITS: &str = "an Envoy that is told so when it starts does not start; `a_configuration_that_the_plugin_refuses` and \
                         `an_envoy_filter_may_contradict_itself`";
    const OTHER: &str = "of an Envoy that behaves otherwise than the one of today";
    Ok(match case {
        "module fetch failed, FAIL_CLOSE or FAIL_RELOAD" => {
            vec![unfetched("FAIL_CLOSE", 403), unfetched("FAIL_RELOAD", 403)]
        }
        "module fetch failed, FAIL_OPEN" => vec![unfetched("FAIL_OPEN", 200)],
        "trap in callback, FAIL_CLOSED, crashing request" | "trap, FAIL_CLOSED, later requests" => {
            vec![trapping("FAIL_CLOSE", case, 503)]
        }
        "trap, FAIL_OPEN, crashing request" | "trap, FAIL_OPEN, later requests" => {
            vec![trapping("FAIL_OPEN", case, 200)]
        }
        "trap, FAIL_RELOAD, next request" => vec![trapping("FAIL_RELOAD", case, 200)],
        "linear memory" => {
            vec![Row::new(vec![plugin(GROWS, json!({}))], asks([("GET /", 200)]))]
        }
        "two plugins, same bytes, same env" => vec![two(case, "same", 503)],
        "two plugins, same bytes, other env, Envoy 1.39.3 and 1.40.0" => vec![two(case, "other", 200)],
        "two plugins, same bytes, other env, Envoy 1.36.4 and 1.37.0" => return Err(OTHER),
        "on_configure returns false on an update" => {
            return Err("an update; `changes_are_taken_and_refused_alike`");
        }
        // Here it is discovered, as istiod would have it, and a real Envoy starts without it.
        "on_configure returns false in a static bootstrap (any policy)" => {
            ["FAIL_CLOSE", "FAIL_OPEN", "FAIL_RELOAD"].map(refusing).to_vec()
        }
        // As above.
        "local file missing" => {
            let missing = plugin("nowhere", json!({"url": "file:///nowhere/x.wasm"}));
            vec![Row::new(vec![missing], asks([("GET /", 500)]))]
        }
        "remote source with empty sha256 given straight to Envoy" | "same key in key_values and host_env_keys" => {
            return Err(EXITS);
        }
        _ => panic!("nobody shows the case `{case}`"),
    })
}

/// Two ports whose plugins share a VM: what traps behind the one takes the other's along.
pub(crate) fn neighbours() -> [Row; 2] {
    let traps = || vec![plugin(TRAPS, json!({"failStrategy": "FAIL_CLOSE", "vmConfig": variable("neighbours")}))];
    let first = asks([("GET /", 200), ("GET /\nx-trap: 1", 503)]);
    [Row::new(traps(), first), Row::new(traps(), asks([("GET /", 503)]))]
}

/// What only an EnvoyFilter can say of a plugin: the functions that it has, and its pause before it is started again.
pub(crate) fn knobs() -> Vec<Row> {
    let knob = |module, knobs: Value| Plugin { knobs, ..plugin(module, json!({})) };
    let only = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), json!({}))).collect::<Value>();
    let restricted = |names: &[&str]| json!({"capability_restriction_config": {"allowed_capabilities": only(names)}});
    let mut rows = vec![
        knob(ASKS, restricted(&[])),
        knob(ASKS, restricted(CAPABILITIES)),
        knob(ASKS, restricted(&["no such function"])),
        knob(ASKS, json!({"vm_config": restricted(&["proxy_on_response_headers", "proxy_add_header_map_value"])})),
    ];
    for taken in CAPABILITIES {
        let left: Vec<&str> = CAPABILITIES.iter().copied().filter(|name| name != taken).collect();
        rows.push(knob(ASKS, restricted(&left)));
    }
    // A module of the SDK is started with what it needs for that, and then lacks what it would mark responses with.
    let sdk = ["proxy_on_context_create", "proxy_on_vm_start", "proxy_on_configure", "proxy_on_request_headers"];
    rows.extend([knob("hello", restricted(&[])), knob("hello", restricted(&sdk))]);
    let rows = rows.into_iter().map(|plugin| Row::new(vec![plugin], asks([("GET /", 200), ("POST /\n\nhello", 200)])));
    let pause = json!({"failure_policy": "FAIL_RELOAD", "reload_config": {"backoff": {"base_interval": "3600s"}}});
    let trap = asks([("GET /", 200), ("GET /\nx-trap: 1", 503), ("GET /", 503)]);
    rows.chain([Row::new(vec![knob(TRAPS, pause)], trap)]).collect()
}

fn plugin(module: &'static str, more: Value) -> Plugin {
    Plugin { module, config: Value::Null, more, knobs: Value::Null }
}

/// A module that cannot be had: nobody listens there.
fn unfetched(strategy: &str, status: u16) -> Row {
    let plugin = plugin("nowhere", json!({"url": "oci://127.0.0.1:1/a/b:1", "failStrategy": strategy}));
    Row::new(vec![plugin], asks([("GET /", status), ("HEAD /", status)]))
}

/// A plugin that refuses its configuration from the start.
fn refusing(strategy: &str) -> Row {
    let plugin = plugin(REFUSES, json!({"failStrategy": strategy}));
    Row::new(vec![plugin], asks([("GET /", 500), ("HEAD /", 500), ("POST /\n\nhello", 500), ("GET / HTTP/2", 500)]))
}

/// A variable that keeps a VM to its row: equal modules with equal environments share one.
fn variable(value: &str) -> Value {
    json!({"env": [{"name": "ROW", "value": value}]})
}

/// A plugin that traps, and what comes after.
fn trapping(strategy: &str, case: &str, later: u16) -> Row {
    let plugin = plugin(TRAPS, json!({"failStrategy": strategy, "vmConfig": variable(case)}));
    let asks = asks([("GET /", 200), ("GET /\nx-trap: 1", 503), ("GET /", later)]);
    Row::new(vec![plugin], asks)
}

/// One that lets pass after its trap, before one that does not, in the same VM or in another one.
fn two(case: &str, other: &str, later: u16) -> Row {
    let open = json!({"failStrategy": "FAIL_OPEN", "vmConfig": variable(&format!("{case}, same"))});
    let closed = json!({"failStrategy": "FAIL_CLOSE", "vmConfig": variable(&format!("{case}, {other}"))});
    let asks = asks([("GET /", 200), ("GET /\nx-trap: 1", 503), ("GET /", later)]);
    Row::new(vec![plugin(TRAPS, open), plugin(TRAPS, closed)], asks)
}
