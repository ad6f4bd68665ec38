//! Every plugin and example of the workspace behaves in the embedded proxy as in a real Envoy: a table that
//! `run --compare` goes through with one proxy of each kind.

mod ask;
mod bytes;
mod http2;
#[path = "../src/run/compare/messages.rs"]
mod messages;
mod rows;
mod runtime;
mod servers;
mod updates;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use wasmplugin_host::module::build;

use crate::command::{Going, Scratch, workspace};
use crate::guests;
use rows::{ASKS, GROWS, Plugin, REFUSES, Row, TRAPS};
use servers::Servers;

/// The port of the first row; each has its own.
const FIRST: usize = 9000;

/// Not in the table, and why.
const ELSEWHERE: [(&str, &str); 2] =
    [("core", "a library"), ("mesh", "the example mesh, which a test of its own compares")];

#[test]
fn every_plugin_and_example_is_in_the_table() {
    let rows = table();
    let shown: BTreeSet<&str> = rows.iter().flat_map(|row| &row.plugins).map(|plugin| plugin.module).collect();
    for folder in ["plugins", "examples"] {
        for entry in fs::read_dir(workspace().join(folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let elsewhere = ELSEWHERE.iter().any(|(other, _)| *other == name);
            let compared = !entry.path().is_dir() || elsewhere || shown.contains(&*name);
            assert!(compared, "`{folder}/{name}` is compared nowhere");
        }
    }
}

#[test]
fn every_plugin_behaves_the_same_in_both_engines() {
    let (rows, servers) = (table(), Servers::start());
    let modules =
        [(TRAPS, guests::traps()), (GROWS, guests::grows()), (REFUSES, guests::refuses()), (ASKS, guests::asks())];
    let modules = modules.map(|(name, bytes)| (name, Scratch::new(&format!("{name}.wasm"), bytes)));
    let file = Scratch::new("table.yaml", mesh(&rows, &servers, &modules));
    let mut run = Going::start(&["run", file.path(), "--compare"]);
    let place = |line: String| line.trim_end().rsplit_once("//").unwrap().1.to_owned();
    let fronts: Vec<String> = (0..rows.len()).map(|at| place(run.line_with(&front(at)))).collect();
    run.line_with("stop it");
    let mut wrong = Vec::new();
    for (row, front) in rows.iter().zip(&fronts) {
        if row.name() == rows::REFRESHER {
            servers.wait_for_tokens();
        }
        for ask in &row.asks {
            let status = ask.send(front);
            if status != ask.status {
                let text: String = ask.text.chars().take(200).collect();
                wrong.push(format!("{}: {status} and not {} to: {text}", row.name(), ask.status));
            }
        }
        for talk in &row.talks {
            if let Err(heard) = talk.hold(front) {
                wrong.push(format!("{}: `{heard}` and not `{}` to: {}", row.name(), talk.hears, talk.says));
            }
        }
    }
    let (_, said) = run.interrupt_and_read();
    wrong.extend(unlisted(&rows, &said));
    assert!(wrong.is_empty(), "{}\n{said}", wrong.join("\n"));
    let requests: usize = rows.iter().map(|row| row.asks.len()).sum();
    let connections: usize = rows.iter().map(|row| row.talks.len()).sum();
    for line in [format!("\n{requests} requests, "), format!("\n{connections} connections, ")] {
        assert!(said.contains(&line), "{said}");
    }
}

/// All rows; what traps comes late, when no VM is as new that it would not be started again, and what needs a token last, when it is
/// there.
fn table() -> Vec<Row> {
    let cases: Value = serde_json::from_str(include_str!("../testdata/runtime_cases.json")).unwrap();
    let cases = cases.get("runtime_envoy").and_then(Value::as_array).unwrap();
    let names = cases.iter().map(|case| case.get("case").and_then(Value::as_str).unwrap());
    let runtime = names.filter_map(|name| runtime::rows_of(name).ok());
    let runtime = runtime.flatten().chain(runtime::neighbours()).chain(runtime::knobs());
    rows::rows().into_iter().chain(runtime).chain([rows::refreshed()]).collect()
}

/// What the comparison calls the port of a row.
fn front(at: usize) -> String {
    format!("web.shop, inbound_0.0.0.0_{}", FIRST + at)
}

/// Differences that no row lists.
fn unlisted(rows: &[Row], said: &str) -> Vec<String> {
    let (mut found, mut row) = (Vec::new(), None);
    for line in said.lines() {
        match line.strip_prefix("  ") {
            None => row = rows.iter().enumerate().find(|(at, _)| line.starts_with(&front(*at))).map(|(_, row)| row),
            Some(difference) => {
                let listed = |row: &Row| row.differs.iter().any(|(part, _)| difference.contains(part));
                if let Some(row) = row.filter(|row| !listed(row)) {
                    found.push(format!("{}: {difference}", row.name()));
                }
            }
        }
    }
    found
}

/// One workload with a port for each row.
fn mesh(rows: &[Row], servers: &Servers, files: &[(&str, Scratch)]) -> String {
    let port = |(at, row): (usize, &Row)| json!({"port": FIRST + at, "protocol": row.protocol, "upstream": servers.upstream(row.protocol)});
    let ports: Vec<_> = rows.iter().enumerate().map(port).collect();
    let modules: BTreeSet<_> = rows.iter().flat_map(|row| &row.plugins).map(|plugin| plugin.module).collect();
    let module = |module: &&str| match files.iter().find(|(name, _)| name == module) {
        Some((name, file)) => json!({"url": url(name), "file": file.path()}),
        None if guest(module).is_dir() => json!({"url": url(module), "file": build::wasm(guest(module)).unwrap()}),
        None => json!({"url": url(module), "build": module}),
    };
    let fetched = |name: &&&str| **name != "nowhere";
    let mesh = json!({
        "kind": "Mesh",
        "mtls": "DISABLE",
        "modules": modules.iter().filter(fetched).map(module).collect::<Vec<_>>(),
        "clusters": servers.clusters(),
        "workloads": [{"name": "web", "namespace": "shop", "labels": {"app": "web"}, "ports": ports}],
    });
    let mut documents = vec![mesh];
    for (at, row) in rows.iter().enumerate() {
        if row.name() == rows::REFRESHER {
            documents.push(singleton());
        }
        documents.extend(row.plugins.iter().enumerate().map(|(place, plugin)| resource(at, place, plugin)));
    }
    documents.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n")
}

/// The folder of a guest of the scenarios.
fn guest(module: &str) -> PathBuf {
    workspace().join("tests/guests").join(module)
}

fn url(module: &str) -> String {
    format!("oci://registry.example.com/shop/{module}:1")
}

/// A plugin of a row: in every other row by the newer kind of resource.
fn resource(row: usize, place: usize, plugin: &Plugin) -> Value {
    if !plugin.knobs.is_null() {
        return filter(row, plugin);
    }
    let metadata = json!({"name": format!("{}-{row}-{place}", plugin.module), "namespace": "shop"});
    let common = json!({
        "phase": "STATS",
        "priority": 100 - place,
        "match": [{"mode": "SERVER", "ports": [{"number": FIRST + row}]}],
    });
    let mut wasm = json!({"url": url(plugin.module)});
    if !plugin.config.is_null() {
        extend(&mut wasm, &json!({"pluginConfig": plugin.config}));
    }
    extend(&mut wasm, &plugin.more);
    let (kind, mut spec) = match row % 2 {
        0 => ("WasmPlugin", wasm),
        _ => ("TrafficExtension", json!({"wasm": wasm})),
    };
    extend(&mut spec, &common);
    json!({"apiVersion": "extensions.istio.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
}

/// A plugin of a row as an EnvoyFilter, with what no other resource can say. (The agent would fetch only what is discovered, so
/// the module comes from a URL, and the filter's configuration apart from its place.)
fn filter(row: usize, plugin: &Plugin) -> Value {
    let name = format!("{}-{row}", plugin.module);
    let code = json!({"remote": {"http_uri": {"uri": url(plugin.module), "timeout": "30s", "cluster": "agent"}}});
    let mut vm = json!({"runtime": "envoy.wasm.runtime.v8", "code": code});
    let mut knobs = plugin.knobs.clone();
    if let Some(more) = knobs.as_object_mut().unwrap().remove("vm_config") {
        extend(&mut vm, &more);
    }
    let mut config = json!({"name": name, "vm_config": vm});
    extend(&mut config, &knobs);
    let wasm = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
    let discovery = json!({"name": name, "config_discovery": {
        "config_source": {"ads": {}, "initial_fetch_timeout": "0s"},
        "type_urls": [wasm],
    }});
    let place = json!({
        "context": "SIDECAR_INBOUND",
        "listener": {
            "portNumber": FIRST + row,
            "filterChain": {"filter": {
                "name": "envoy.filters.network.http_connection_manager",
                "subFilter": {"name": "envoy.filters.http.router"},
            }},
        },
    });
    let configured = json!({"name": name, "typed_config": {"@type": wasm, "config": config}});
    json!({
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"configPatches": [
            {"applyTo": "HTTP_FILTER", "match": place, "patch": {"operation": "INSERT_BEFORE", "value": discovery}},
            {"applyTo": "EXTENSION_CONFIG", "patch": {"operation": "ADD", "value": configured}},
        ]},
    })
}

/// What fetches tokens beside the plugins that use them.
fn singleton() -> Value {
    let file = build::wasm(workspace().join("examples").join(rows::REFRESHER)).unwrap();
    let config = json!({"cluster": "idp", "path": "/token", "form": "grant_type=client_credentials"}).to_string();
    let text = "type.googleapis.com/google.protobuf.StringValue";
    let service = json!({
        "@type": "type.googleapis.com/envoy.extensions.wasm.v3.WasmService",
        "singleton": true,
        "config": {
            "name": "refresher",
            "root_id": "refresher",
            "configuration": {"@type": text, "value": config},
            "vm_config": {"runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": file}}},
        },
    });
    let value = json!({"bootstrap_extensions": [{"name": "envoy.bootstrap.wasm", "typed_config": service}]});
    json!({
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": "refresher", "namespace": "shop"},
        "spec": {"configPatches": [{"applyTo": "BOOTSTRAP", "patch": {"operation": "MERGE", "value": value}}]},
    })
}

fn extend(object: &mut Value, more: &Value) {
    object.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
}
