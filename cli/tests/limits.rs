//! How much a mesh lets its plugins use, beyond what a real Envoy knows.

use std::fs::{self, File};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::command::{Going, Scratch, command, wasmplugin};
use crate::guests;
use crate::run::{ask, ask_with, listens};

/// A mesh with a plugin that takes all the memory it gets and one that may never come back, on a port each, and these limits.
fn mesh(limits: Value, grows: &Scratch, loops: &Scratch) -> Scratch {
    let port = |port: u16| json!({"port": port, "listen": "127.0.0.1:0"});
    let mesh = json!({
        "kind": "Mesh",
        "mtls": "DISABLE",
        "limits": limits,
        "workloads": [{"name": "web", "namespace": "shop", "ports": [port(9000), port(9001)]}],
    });
    let plugin = |name: &str, port: u16, file: &Scratch| {
        json!({
            "apiVersion": "extensions.istio.io/v1alpha1",
            "kind": "WasmPlugin",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {
                "url": format!("file://{}", file.path()),
                "match": [{"mode": "SERVER", "ports": [{"number": port}]}],
            },
        })
    };
    let documents = [mesh, plugin("grows", 9000, grows), plugin("loops", 9001, loops)];
    Scratch::new("limits.yaml", documents.map(|document| document.to_string()).join("\n---\n"))
}

#[test]
fn a_plugin_may_use_what_the_mesh_lets_it_use() {
    let (grows, loops) = (Scratch::new("grows.wasm", guests::grows()), Scratch::new("loops.wasm", guests::loops()));
    let limits = json!({"shop.grows": {"memory": "64Mi"}, "*": {"time": "200ms"}});
    let file = mesh(limits, &grows, &loops);
    let mut run = Going::start(&["run", file.path()]);
    let memory = listens(&run.line_with("serves port 9000"));
    let time = listens(&run.line_with("serves port 9001"));
    // Seven blocks of 8 MiB, beside the 256 KiB that it has from the start: Envoy's GiB would be 127 of them.
    let answer = ask(&memory, "web.test");
    assert!(answer.contains("x-memory: AH"), "{answer}");
    assert!(ask(&time, "web.test").starts_with("HTTP/1.1 200"));
    let asked = Instant::now();
    let answer = ask_with(&time, "web.test", "x-trap: 1\r\n");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(asked.elapsed() < Duration::from_secs(9), "less than the usual ten seconds");
    assert_eq!(run.interrupt(), Some(0));
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    let (grows, loops) = (Scratch::new("grows.wasm", guests::grows()), Scratch::new("loops.wasm", guests::loops()));
    let file = mesh(json!({"shop.grows": {"memory": "64 MB"}}), &grows, &loops);
    let refused = wasmplugin(&["run", file.path()]);
    assert!(refused.message().contains("`64 MB` is no size of memory"), "{refused:?}");
}

#[test]
fn limits_for_nobody_are_told() {
    let (grows, loops) = (Scratch::new("grows.wasm", guests::grows()), Scratch::new("loops.wasm", guests::loops()));
    let file = mesh(json!({"shop.grow": {"memory": "64Mi"}}), &grows, &loops);
    let errors = Scratch::new("errors", "");
    let told = File::create(errors.path()).unwrap();
    let mut run = Going::of(command(&["run", file.path()]).stderr(Stdio::from(told)));
    run.line_with("stop it");
    assert_eq!(run.interrupt(), Some(0));
    let told = fs::read_to_string(errors.path()).unwrap();
    assert!(told.contains("`limits` for `shop.grow`"), "{told}");
}
