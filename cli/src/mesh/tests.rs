//! Istio's rules, from files to the answers of running proxies: the shared cases, and what can go wrong.

#[path = "../../tests/guests.rs"]
#[expect(dead_code, reason = "the tests of the command use more of it")]
mod guests;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use wasmplugin_host::test::{Answer, Request};

use super::files;
use super::plan::{self, Identities, Ports, Side, Upstreams};
use super::running::Mesh;
use crate::client;
use crate::engine::Engine;
use guests::{refuses, traps};

/// A mesh of one workload that serves port 8080, and calls itself as a service on port 80.
const ONE: &str = "
apiVersion: wasmplugin.dev/v1
kind: Mesh
mtls: DISABLE
workloads:
- {name: web, namespace: ns1, labels: {app: web}, ports: [{port: 8080}], env: {FROM_HOST: outside}}
services:
- {name: web, namespace: ns1, port: 80, targetPort: 8080, selector: {app: web}}
";

/// A folder of its own, gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("wasmplugin-mesh-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn with(self, name: &str, text: impl AsRef<[u8]>) -> Self {
        fs::write(self.0.join(name), text).unwrap();
        self
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.0.join(name), text).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn start(&self) -> Mesh {
        Mesh::start(std::slice::from_ref(&self.0), Engine::Embedded, Path::new("/nowhere"), application).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn application(request: &Request) -> Answer {
    Answer::new(200).body(format!("{}\n", request.path()))
}

fn plugin(name: &str, url: &str, more: &str) -> String {
    format!(
        "---\napiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {{name: {name}, namespace: ns1}}\n\
         spec:\n  url: {url}\n  match: [{{mode: SERVER}}]\n{more}\n"
    )
}

/// The status and `x-wasm` of a request to the workload's own port.
fn ask(mesh: &Mesh, headers: &[(&str, &str)]) -> (u16, Option<String>, String) {
    let address = mesh.proxies()[0].plan.address(Side::Inbound, 8080).unwrap();
    let request = client::Request { method: "GET", path: "/", headers, ..client::Request::default() };
    let answer = client::send(address, &request, Duration::from_secs(20)).unwrap();
    (answer.status, answer.header("x-wasm").map(str::to_owned), answer.text())
}

fn status(mesh: &Mesh, trap: bool) -> u16 {
    let headers: &[_] = if trap { &[("x-trap", "1")] } else { &[] };
    ask(mesh, headers).0
}

/// The chain of a side of the one workload, by name.
fn chain(folder: &Folder, side: Side, port: u16) -> Vec<String> {
    let resources = files::read(std::slice::from_ref(&folder.0), Engine::Embedded).unwrap();
    let mut ports = Ports::default();
    ports.choose(&resources.mesh).unwrap();
    let identities = Identities::new(&resources.mesh.trust_domain).unwrap();
    let plans = plan::plan(&resources, &identities, &ports, &Upstreams::new()).unwrap();
    let listener = plans[0].listeners.iter().find(|listener| listener.side == side && listener.port == port).unwrap();
    listener.plugins.iter().map(|plugin| plugin.name.clone()).collect()
}

fn shared(group: &str) -> Vec<Value> {
    let text = include_str!("../../testdata/runtime_cases.json");
    let cases: Value = serde_json::from_str(text).unwrap();
    cases[group].as_array().unwrap().clone()
}

#[test]
fn the_shared_cases_of_order() {
    for case in shared("ordering") {
        let mut text = String::new();
        for item in case["items"].as_array().unwrap() {
            let namespace = match item[0].as_str().unwrap() {
                "root" => "istio-system",
                other => other,
            };
            let created = item[3].as_str().unwrap().trim_start_matches('t');
            let priority = item[2].as_i64().map(|priority| format!("  priority: {priority}\n")).unwrap_or_default();
            text += &format!(
                "---\napiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata:\n  name: {}\n  namespace: \
                 {namespace}\n  creationTimestamp: '2026-01-01T00:00:0{created}Z'\nspec:\n  url: file:///x.wasm\n{priority}",
                item[1].as_str().unwrap()
            );
        }
        let folder = Folder::new().with("mesh.yaml", ONE).with("plugins.yaml", text);
        let names = chain(&folder, Side::Inbound, 8080);
        let names: Vec<_> =
            names.iter().map(|name| name.split('.').nth(1).unwrap().split('~').next().unwrap().to_owned()).collect();
        let expected: Vec<_> = case["order"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        assert_eq!(names, expected, "{}", case["id"]);
    }
}

#[test]
fn the_shared_cases_of_traffic() {
    for case in shared("traffic_match") {
        let words = case["listener"].as_str().unwrap();
        let sides = match words.split(' ').nth(1) {
            Some("inbound") => vec![(Side::Inbound, 8080)],
            Some("outbound") => vec![(Side::Outbound, 80)],
            _ => vec![(Side::Inbound, 8080), (Side::Outbound, 80)],
        };
        let mode = case["mode"].as_str().map(|mode| format!("mode: {mode}, ")).unwrap_or_default();
        let ports: Vec<_> =
            case["ports"].as_array().into_iter().flatten().map(|port| format!("{{number: {port}}}")).collect();
        let ports = if ports.is_empty() { String::new() } else { format!("ports: [{}]", ports.join(",")) };
        let text = format!(
            "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {{name: a, namespace: ns1}}\nspec: {{url: \
             'file:///x.wasm', match: [{{{mode}{ports}}}]}}\n"
        );
        let folder = Folder::new().with("mesh.yaml", ONE).with("plugin.yaml", text);
        for (side, port) in sides {
            let found = !chain(&folder, side, port).is_empty();
            assert_eq!(found, case["match"].as_bool().unwrap(), "{case}");
        }
    }
}

/// An address where nothing can be fetched from.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("oci://{}/a/b:1", listener.local_addr().unwrap())
}

#[test]
fn what_cannot_be_fetched_is_denied_or_passed_by() {
    for (strategy, expected) in [("FAIL_CLOSE", 403), ("FAIL_RELOAD", 403), ("FAIL_OPEN", 200)] {
        let text = plugin("gone", &nowhere(), &format!("  failStrategy: {strategy}"));
        let folder = Folder::new().with("mesh.yaml", ONE).with("plugin.yaml", text);
        let mesh = folder.start();
        let (status, _, body) = ask(&mesh, &[]);
        assert_eq!(status, expected, "{strategy}");
        if expected == 403 {
            assert_eq!(body, "RBAC: access denied");
        }
        mesh.stop();
    }
}

#[test]
fn traps_follow_the_strategy() {
    let cases = [("FAIL_CLOSE", 503, 503), ("FAIL_OPEN", 503, 200)];
    for (strategy, crashing, later) in cases {
        let folder = Folder::new().with("mesh.yaml", ONE).with("traps.wasm", traps());
        let url = format!("file://{}", folder.path("traps.wasm"));
        folder.write("plugin.yaml", plugin("traps", &url, &format!("  failStrategy: {strategy}")));
        let mesh = folder.start();
        assert_eq!(ask(&mesh, &[]).1.as_deref(), Some("1"));
        assert_eq!((status(&mesh, true), status(&mesh, false)), (crashing, later), "{strategy}");
        mesh.stop();
    }
}

#[test]
fn a_trap_is_reloaded_from_and_backs_off() {
    let folder = Folder::new().with("mesh.yaml", ONE).with("traps.wasm", traps());
    let url = format!("file://{}", folder.path("traps.wasm"));
    folder.write("plugin.yaml", plugin("traps", &url, "  failStrategy: FAIL_RELOAD"));
    let mesh = folder.start();
    assert_eq!(status(&mesh, true), 503);
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while status(&mesh, false) != 200 {
        assert!(std::time::Instant::now() < deadline, "it is not reloaded");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!((status(&mesh, true), status(&mesh, false)), (503, 503), "within the pause");
    mesh.stop();
}

#[test]
fn a_bad_update_keeps_the_old_plugin_and_a_bad_start_answers_500() {
    let folder = Folder::new().with("mesh.yaml", ONE).with("a.wasm", traps()).with("bad.wasm", refuses());
    let url = |name: &str| format!("file://{}", folder.path(name));
    folder.write("plugin.yaml", plugin("a", &url("a.wasm"), ""));
    let mut mesh = folder.start();
    assert_eq!(ask(&mesh, &[]).1.as_deref(), Some("1"));
    for bad in [plugin("a", &url("bad.wasm"), ""), plugin("a", &url("missing.wasm"), "")] {
        folder.write("plugin.yaml", bad);
        assert!(mesh.has_changed());
        mesh.reload().unwrap();
        assert_eq!((ask(&mesh, &[]).0, ask(&mesh, &[]).1.as_deref()), (200, Some("1")));
    }
    folder.write("plugin.yaml", "kind: [");
    let error = format!("{:#}", mesh.reload().unwrap_err());
    assert!(error.contains("plugin.yaml:1:"), "{error}");
    assert_eq!(ask(&mesh, &[]).0, 200);
    folder.write("plugin.yaml", "");
    mesh.reload().unwrap();
    assert_eq!((ask(&mesh, &[]).0, ask(&mesh, &[]).1), (200, None));
    folder.write("plugin.yaml", plugin("b", &url("missing.wasm"), ""));
    mesh.reload().unwrap();
    assert_eq!(ask(&mesh, &[]).0, 500);
    mesh.stop();
}

#[test]
fn equal_modules_share_a_vm_unless_their_environment_differs() {
    for (environment, later) in [("", 503), ("  vmConfig: {env: [{name: A, value: '1'}]}", 200)] {
        let folder = Folder::new().with("mesh.yaml", ONE).with("traps.wasm", traps());
        let url = format!("file://{}", folder.path("traps.wasm"));
        let open = plugin("one", &url, "  failStrategy: FAIL_OPEN\n  priority: 2");
        // Istio's variables differ by the resource for files, so both say the same of themselves.
        let version = "metadata: {resourceVersion: '1', ";
        let text =
            (open + &plugin("two", &url, &format!("  priority: 1\n{environment}"))).replace("metadata: {", version);
        folder.write("plugin.yaml", text);
        let mesh = folder.start();
        assert_eq!(status(&mesh, true), 503);
        assert_eq!(status(&mesh, false), later, "{environment}");
        mesh.stop();
    }
}

#[test]
fn an_envoy_filter_may_contradict_itself() {
    let folder = Folder::new().with("mesh.yaml", ONE).with("a.wasm", traps());
    let filter = |vm: &str| {
        format!(
            "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {{name: f, namespace: ns1}}\nspec:\n  \
             configPatches:\n  - applyTo: HTTP_FILTER\n    match: {{context: SIDECAR_INBOUND, listener: {{filterChain: {{filter: \
             {{name: envoy.filters.network.http_connection_manager, subFilter: {{name: envoy.filters.http.router}}}}}}}}}}\n    \
             patch:\n      operation: INSERT_BEFORE\n      value:\n        name: f\n        typed_config:\n          '@type': \
             type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm\n          config: {{name: f, vm_config: {{{vm}}}}}\n"
        )
    };
    let local = format!("code: {{local: {{filename: {}}}}}", folder.path("a.wasm"));
    folder.write("filter.yaml", filter(&local));
    let mut mesh = folder.start();
    assert_eq!(ask(&mesh, &[]).1.as_deref(), Some("1"));
    mesh.stop();
    let cases = [
        format!("{local}, environment_variables: {{key_values: {{FROM_HOST: x}}, host_env_keys: [FROM_HOST]}}"),
        "code: {local: {filename: /nowhere/x.wasm}}".to_owned(),
        "code: {remote: {http_uri: {uri: 'https://127.0.0.1:1/x.wasm', cluster: a, timeout: 1s}}}".to_owned(),
    ];
    for vm in cases {
        folder.write("filter.yaml", filter(&vm));
        mesh = folder.start();
        assert_eq!(ask(&mesh, &[]).0, 500, "{vm}");
        mesh.stop();
    }
}

#[test]
fn a_policy_reaches_its_workload_however_it_is_written() {
    let mesh = ONE.replace("namespace: ns1", "namespace: default").replace("labels: {app: web}", "labels: {app: '1'}");
    let mesh = mesh.replace("selector: {app: web}", "selector: {app: '1'}");
    for (metadata, spec) in [
        ("{name: a}", "{}"),
        ("{name: a, namespace: }", "{}"),
        ("{name: a, namespace: ''}", "{}"),
        ("{name: a}", "{selector: {matchLabels: {app: '1'}}}"),
        // As a number it is not Kubernetes', so the module refuses it, and nothing passes.
        ("{name: a}", "{selector: {matchLabels: {app: 1}}}"),
    ] {
        let policy = format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {metadata}\nspec: {spec}\n"
        );
        let folder = Folder::new().with("mesh.yaml", &mesh).with("policy.yaml", policy);
        assert_eq!(chain(&folder, Side::Inbound, 8080), ["istio.rbac"], "{metadata} {spec}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let read = |mesh: &str, other: &str| {
        let folder = Folder::new().with("mesh.yaml", mesh).with("other.yaml", other);
        let paths = std::slice::from_ref(&folder.0);
        format!("{:#}", files::read(paths, Engine::Embedded).unwrap_err())
    };
    let lua = "apiVersion: extensions.istio.io/v1alpha1\nkind: TrafficExtension\nmetadata: {name: s}\nspec: {lua: {inlineCode: \
               'function envoy_on_request(h) end'}}";
    let twice = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a}\nspec: {action: DENY, \
                 rules: [{}], rules: []}";
    let filter = |spec: &str| {
        format!("apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {{name: f}}\nspec: {spec}")
    };
    let patch = |matched: &str| {
        let wasm = "{'@type': type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm, config: {name: f}}";
        let patch = format!("{{operation: INSERT_FIRST, value: {{name: f, typed_config: {wasm}}}}}");
        format!("{{configPatches: [{{applyTo: HTTP_FILTER, match: {{{matched}}}, patch: {patch}}}]}}")
    };
    for (mesh, other, part) in [
        ("", "", "`kind: Mesh`"),
        (ONE, ONE, "a second `kind: Mesh`"),
        (ONE, lua, "`s` is a Lua script"),
        (ONE, "a: 1", "it has no `kind`"),
        (ONE, twice, "`rules` twice; the first is at 4:"),
        (ONE, &filter("{workloadSelector: {labels: {app: 1}}}"), "`spec.workloadSelector.labels` cannot be read"),
        (ONE, &filter(&patch("proxy: {proxyVersion: '1.2'}")), "`match.proxy` is not done here"),
        (ONE, &filter(&patch("listener: {name: virtualInbound}")), "`match.listener.name` is not done here"),
        (
            ONE,
            &filter(&patch("listener: {filterChain: {sni: a.b}}")),
            "`match.listener.filterChain.sni` is not done here",
        ),
        (ONE, &filter("{targetRefs: [{kind: Gateway, name: g}]}"), "`spec.targetRefs` is not done here"),
        ("kind: Mesh\nworkloads: []", "", "there are none"),
        ("kind: Mesh\nworkload: []", "", "unknown field `workload`"),
        (&ONE.replace("selector: {app: web}", "selector: {app: x}"), "", "service `web.ns1`"),
        (&ONE.replace("{port: 8080}", "{port: many}"), "", "`workloads[0].ports[0].port`"),
    ] {
        let error = read(mesh, other);
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}
