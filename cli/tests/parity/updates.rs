//! Changes of resources while proxies run: both engines take and refuse the same of them.

use std::path::PathBuf;

use serde_json::{Value, json};
use wasmplugin_host::module::build;

use super::bytes::Talk;
use super::servers::Servers;
use super::{extend, guests, url};
use crate::command::{Going, Scratch, workspace};
use crate::run::ask_with;

/// The port of the first row; each has its own.
const FIRST: usize = 9500;
/// How often everything changes.
const STEPS: usize = 4;

/// A file that is not there.
const MISSING: &str = "file:///nowhere/missing.wasm";
/// A file in which every step leaves another module.
const CHANGING: &str = "oci://registry.example.com/shop/changing:1";

/// Plugins on a port of their own, which change with every step.
struct Row {
    name: &'static str,
    steps: [Step; STEPS],
}

/// What is there in a step, and the status and a header of what comes of it.
struct Step {
    plugins: Vec<Plugin>,
    status: u16,
    header: &'static str,
}

/// A plugin with its name, the URL of its module, its configuration and further fields of its resource.
struct Plugin(&'static str, String, Value, Value);

fn plugin(name: &'static str, url: impl Into<String>, config: Value) -> Plugin {
    Plugin(name, url.into(), config, json!({}))
}

/// `configured-headers` with `x-a`.
fn sets(name: &'static str, value: &str) -> Plugin {
    plugin(name, url("configured-headers"), json!({"headers": {"x-a": value}}))
}

/// `hello`, which sets `x-hello`.
fn hello(name: &'static str) -> Plugin {
    plugin(name, url("hello"), Value::Null)
}

/// It takes no configuration.
fn refused(name: &'static str) -> Plugin {
    plugin(name, url("hello"), json!({"a": 1}))
}

/// The plugin with `FAIL_OPEN`.
fn open(Plugin(name, url, config, _): Plugin) -> Plugin {
    Plugin(name, url, config, json!({"failStrategy": "FAIL_OPEN"}))
}

fn step(plugins: impl Into<Vec<Plugin>>, status: u16, header: &'static str) -> Step {
    Step { plugins: plugins.into(), status, header }
}

/// All rows; behind the URL is something else than a module.
fn rows(elsewhere: &str) -> Vec<Row> {
    let row = |name, steps| Row { name, steps };
    let bad = plugin("a", url("configured-headers"), json!({"headerz": {}}));
    let unfetched = || plugin("a", elsewhere, Value::Null);
    let changing = || plugin("a", CHANGING, Value::Null);
    vec![
        row(
            "a configuration that is refused leaves the old one",
            [
                step([sets("a", "1")], 200, "x-a: 1"),
                step([bad], 200, "x-a: 1"),
                step([sets("a", "2")], 200, "x-a: 2"),
                step([], 200, ""),
            ],
        ),
        row(
            "a new plugin that is refused answers 500 until it is taken",
            [
                step([], 200, ""),
                step([refused("a")], 500, ""),
                step([hello("a")], 200, "x-hello: wasm"),
                step([refused("a")], 200, "x-hello: wasm"),
            ],
        ),
        row(
            "a plugin comes, goes and comes again",
            [
                step([], 200, ""),
                step([hello("a")], 200, "x-hello: wasm"),
                step([], 200, ""),
                step([hello("a")], 200, "x-hello: wasm"),
            ],
        ),
        row(
            "a plugin that comes again has no old configuration",
            [
                step([sets("a", "1")], 200, "x-a: 1"),
                step([sets("b", "2")], 200, "x-a: 2"),
                step([sets("b", "3"), refused("a")], 500, "x-a: 3"),
                step([hello("a")], 200, "x-hello: wasm"),
            ],
        ),
        row(
            "another module in the same place",
            [
                step([changing()], 200, "x-wasm: 1"),
                step([changing()], 200, "x-hello: wasm"),
                step([changing()], 200, "x-hello: wasm"),
                step([changing()], 200, "x-wasm: 1"),
            ],
        ),
        row(
            "a module that is not there leaves the old one",
            [
                step([sets("a", "1")], 200, "x-a: 1"),
                step([plugin("a", MISSING, Value::Null)], 200, "x-a: 1"),
                step([hello("a")], 200, "x-hello: wasm"),
                step([plugin("a", MISSING, Value::Null)], 200, "x-hello: wasm"),
            ],
        ),
        row(
            "a module that cannot be fetched takes its place",
            [
                step([unfetched()], 403, ""),
                step([hello("a")], 200, "x-hello: wasm"),
                step([unfetched()], 403, ""),
                step([hello("a")], 200, "x-hello: wasm"),
            ],
        ),
        row(
            "what stands in for a module stays while the module refuses",
            [
                step([unfetched()], 403, ""),
                step([refused("a")], 403, ""),
                step([hello("a")], 200, "x-hello: wasm"),
                step([unfetched()], 403, ""),
            ],
        ),
        row(
            "what lets pass in the place of a module stays while the module refuses",
            [
                step([open(unfetched())], 200, ""),
                step([open(refused("a"))], 200, ""),
                step([open(hello("a"))], 200, "x-hello: wasm"),
                step([open(unfetched())], 200, ""),
            ],
        ),
    ]
}

/// What a policy for the workload `bank` says, and the status of a request to it.
fn policies() -> [(Value, u16); STEPS] {
    let rules = |path: &str| json!([{"to": [{"operation": {"paths": [path]}}]}]);
    [
        (json!({"action": "ALLOW", "rules": rules("/a")}), 200),
        (json!({"action": "ALLOW", "rules": rules("/b")}), 403),
        // The module refuses it.
        (json!({"action": "ALLOW", "rules": [{"when": [{"key": "moon.phase", "values": ["full"]}]}]}), 403),
        (json!({"action": "DENY", "rules": rules("/b")}), 200),
    ]
}

/// What the configuration of a plugin for connections is, and what a client says and hears.
fn connections() -> [(Value, Talk); STEPS] {
    let (passes, closed) = (Talk { says: "hello", hears: "hi!hello" }, Talk { says: "", hears: "" });
    [
        (json!({"allow": ["127.0.0.0/8"]}), passes),
        (json!({"allow": []}), closed),
        (json!({"allow": "all"}), closed),
        (json!({"allow": ["0.0.0.0/0"]}), passes),
    ]
}

#[test]
fn changes_are_taken_and_refused_alike() {
    let servers = Servers::start();
    let rows = rows(&format!("http://{}/a.wasm", servers.upstream("HTTP")));
    let hello = std::fs::read(built("examples/hello")).unwrap();
    let modules = [guests::traps(), hello, guests::refuses(), guests::traps()];
    let changing = Scratch::new("changing.wasm", &modules[0]);
    let istio = json!({"rbac": {"file": built("plugins/rbac")}});
    let files = json!({"modules": files(&changing), "istio": istio});
    let file = Scratch::new("mesh.yaml", mesh(0, &rows, &servers, &files));
    let mut run = Going::start(&["run", file.path(), "--compare", "--watch"]);
    let mut wrong = Vec::new();
    for (at, module) in modules.iter().enumerate() {
        if at > 0 {
            changing.replace(module);
            run.line_with("reloaded");
            file.replace(mesh(at, &rows, &servers, &files));
            run.line_with("reloaded");
        }
        let place = |line: String| line.trim_end().rsplit_once("//").unwrap().1.to_owned();
        let mut front = |name: String| place(run.line_with(&name));
        for (number, row) in rows.iter().enumerate() {
            let step = &row.steps[at];
            let answer = ask_with(&front(format!("web.shop, inbound_0.0.0.0_{} ", FIRST + number)), "web.test", "");
            let (head, _) = answer.split_once("\r\n\r\n").unwrap();
            let ours = |line: &str| ["x-a: ", "x-hello: ", "x-wasm: "].iter().any(|name| line.starts_with(name));
            let header = head.lines().filter(|line| ours(line)).collect::<Vec<_>>().join(", ");
            if !head.starts_with(&format!("HTTP/1.1 {} ", step.status)) || header != step.header {
                wrong.push(format!("{}, step {at}: {answer}", row.name));
            }
        }
        let (config, talk) = &connections()[at];
        if let Err(heard) = talk.hold(&front("web.shop, inbound_0.0.0.0_5432 ".to_owned())) {
            wrong.push(format!("{config}, step {at}: {heard}"));
        }
        let (policy, status) = &policies()[at];
        let answer = ask_with(&front("bank.shop, ".to_owned()), "bank.test", "");
        if !answer.starts_with(&format!("HTTP/1.1 {status} ")) {
            wrong.push(format!("{policy}, step {at}: {answer}"));
        }
        if is_open(at) {
            assert!(ask_with(&front("shop.shop, ".to_owned()), "shop.test", "").starts_with("HTTP/1.1 200 "));
        }
    }
    let (_, said) = run.interrupt_and_read();
    assert!(wrong.is_empty(), "{}\n{said}", wrong.join("\n"));
    for what in ["requests".to_owned(), format!("{STEPS} connections"), format!("{} changes", 2 * (STEPS - 1))] {
        assert!(said.contains(&format!("{what}, 0 of them with differences")), "{said}");
    }
}

/// Whether the workload `shop` is there in a step.
fn is_open(step: usize) -> bool {
    step == 1 || step == 2
}

/// The module of a plugin or example. With `build`, the command would ask cargo with every change.
fn built(folder: &str) -> PathBuf {
    build::wasm(workspace().join(folder)).unwrap()
}

/// Which URL is which file.
fn files(changing: &Scratch) -> Value {
    let examples = ["configured-headers", "hello", "tcp-allow-list"];
    let module = |name: &str| json!({"url": url(name), "file": built(&format!("examples/{name}"))});
    let changing = json!({"url": CHANGING, "file": changing.path()});
    examples.into_iter().map(module).chain([changing]).collect()
}

/// All resources of a step.
fn mesh(step: usize, rows: &[Row], servers: &Servers, files: &Value) -> String {
    let upstream = servers.upstream("HTTP");
    let port = |number: usize| json!({"port": number, "upstream": upstream});
    let mut ports: Vec<_> = (0..rows.len()).map(|number| port(FIRST + number)).collect();
    ports.push(json!({"port": 5432, "protocol": "TCP", "upstream": servers.upstream("TCP")}));
    let mut workloads = vec![
        json!({"name": "web", "namespace": "shop", "ports": ports}),
        json!({"name": "bank", "namespace": "shop", "labels": {"app": "bank"}, "ports": [port(9000)]}),
    ];
    if is_open(step) {
        workloads.push(json!({"name": "shop", "namespace": "shop", "ports": [port(9001)]}));
    }
    let mut mesh = json!({"kind": "Mesh", "mtls": "DISABLE", "workloads": workloads});
    extend(&mut mesh, files);
    let mut spec = json!({"selector": {"matchLabels": {"app": "bank"}}});
    extend(&mut spec, &policies().get(step).unwrap().0);
    let policy = json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "bank", "namespace": "shop"},
        "spec": spec,
    });
    let (config, _) = connections().get(step).unwrap().clone();
    let connections = Plugin("connections", url("tcp-allow-list"), config, json!({"type": "NETWORK"}));
    let mut documents = vec![mesh, policy, resource(5432, 0, &connections)];
    for (number, row) in rows.iter().enumerate() {
        let plugins = row.steps.get(step).unwrap().plugins.iter().enumerate();
        documents.extend(plugins.map(|(place, plugin)| resource(FIRST + number, place, plugin)));
    }
    documents.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n")
}

fn resource(port: usize, place: usize, Plugin(name, url, config, more): &Plugin) -> Value {
    let mut spec = json!({
        "url": url,
        "phase": "STATS",
        "priority": 100 - place,
        "match": [{"mode": "SERVER", "ports": [{"number": port}]}],
    });
    if !config.is_null() {
        extend(&mut spec, &json!({"pluginConfig": config}));
    }
    extend(&mut spec, more);
    let metadata = json!({"name": format!("{name}-{port}"), "namespace": "shop"});
    json!({"apiVersion": "extensions.istio.io/v1alpha1", "kind": "WasmPlugin", "metadata": metadata, "spec": spec})
}
