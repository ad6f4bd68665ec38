//! `cargo wasmplugin run --watch`: changes of files reach both kinds of proxies while these serve.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use wasmplugin_host::module::build;

use crate::command::{Going, Scratch, address, command, workspace};
use crate::run::{ask, listens};

const ENGINES: [&str; 2] = ["embedded", "envoy"];

/// Runs a mesh on that engine and watches it.
fn start(file: &Scratch, engine: &str) -> Going {
    Going::start(&["run", file.path(), "--watch", "--engine", engine])
}

/// The module of a plugin or example. With `build`, the command would ask cargo with every change.
fn built(folder: &str) -> String {
    build::wasm(workspace().join(folder)).unwrap().display().to_string()
}

/// A WasmPlugin with a module from a file.
fn plugin(name: &str, module: &str, config: &str) -> String {
    format!(
        "---\napiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {{name: {name}, namespace: default}}\n\
         spec: {{url: 'file://{}'{config}}}\n",
        built(&format!("examples/{module}"))
    )
}

/// `configured-headers`, which sets `x-a`.
fn sets(value: u32) -> String {
    plugin("a", "configured-headers", &format!(", pluginConfig: {{headers: {{x-a: '{value}'}}}}"))
}

#[test]
fn a_service_gets_another_name() {
    let mesh = "kind: Mesh\nworkloads:\n- {name: web, labels: {app: web}, ports: [{port: 8080}]}\n- {name: client}\nservices:\n\
                - {name: web, port: 80, targetPort: 8080, selector: {app: web}}\n";
    for engine in ENGINES {
        let file = Scratch::new("mesh.yaml", mesh);
        let mut run = start(&file, engine);
        run.line_with("client.default");
        let address = listens(&run.line_with("calls services on port 80"));
        let answer = ask(&address, "web");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{engine}: {answer}");
        assert!(answer.contains("spiffe://cluster.local/ns/default/sa/default"), "the peer is known: {answer}");
        assert!(ask(&address, "nobody").starts_with("HTTP/1.1 404"));
        file.replace(mesh.replace("{name: web, port: 80", "{name: shop, port: 80"));
        run.line_with("reloaded");
        assert!(ask(&address, "web").starts_with("HTTP/1.1 404"), "{engine}");
        assert!(ask(&address, "shop").starts_with("HTTP/1.1 200"), "{engine}");
        assert_eq!(run.interrupt(), Some(0));
        assert!(TcpStream::connect(&address).is_err());
    }
}

/// What both sides of the mesh have counted in `istio_requests_total`, whatever the labels.
fn counted(admin: &str) -> u64 {
    let mut client = TcpStream::connect(admin).unwrap();
    client.write_all(b"GET /stats/prometheus HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    client.read_to_string(&mut page).unwrap();
    let series = page.lines().filter(|line| line.starts_with("istio_requests_total{"));
    series.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

#[test]
fn every_request_is_counted_while_the_configuration_changes() {
    const CLIENTS: u64 = 4;
    const REQUESTS: u64 = 60;
    let [exchange, stats] = ["metadata-exchange", "stats"].map(|name| built(&format!("plugins/{name}")));
    let mesh = format!(
        "kind: Mesh
istio: {{metadataExchange: {{file: '{exchange}'}}, stats: {{file: '{stats}'}}}}
telemetry: TELEMETRY
workloads:
- {{name: web, labels: {{app: web}}, ports: [{{port: 8080}}], workers: 2}}
- {{name: client, workers: 2}}
services:
- {{name: web, port: 80, targetPort: 8080, selector: {{app: web}}}}
"
    );
    for engine in ENGINES {
        let file = Scratch::new("mesh.yaml", mesh.replace("TELEMETRY", "{}"));
        let mut run = start(&file, engine);
        let admin = address(&run.line_with("admin at")).to_owned();
        run.line_with("client.default");
        let street = listens(&run.line_with("calls services on port 80"));
        let admins = [admin, address(&run.line_with("admin at")).to_owned()];
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    for _ in 0..REQUESTS {
                        let answer = ask(&street, "web");
                        assert!(answer.starts_with("HTTP/1.1 200"), "{engine}: {answer}");
                    }
                });
            }
            for telemetry in [
                "{metrics: [{tags_to_remove: [source_app]}]}",
                "{metrics: [{dimensions: {request_protocol: request.protocol}}], profile: minimal}",
                "{}",
            ] {
                file.replace(mesh.replace("TELEMETRY", telemetry));
                run.line_with("reloaded");
            }
        });
        // An exchange is counted when it is over, which its client does not wait for.
        let all = [CLIENTS * REQUESTS; 2];
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut counts = [0; 2];
        while counts != all && Instant::now() < deadline {
            counts = admins.each_ref().map(|admin| counted(admin));
        }
        assert_eq!(counts, all, "{engine}");
        assert_eq!(run.interrupt(), Some(0));
    }
}

/// Sends requests over connections that are kept as long as the proxy wants, until it is told to end; each has to get a 200.
fn ask_on(to: &str, until: &AtomicBool) -> u32 {
    let mut asked = 0;
    while !until.load(Ordering::Relaxed) {
        let mut client = TcpStream::connect(to).unwrap();
        let mut answers = BufReader::new(client.try_clone().unwrap());
        let mut is_open = true;
        while is_open && !until.load(Ordering::Relaxed) {
            client.write_all(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n").unwrap();
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert!(answers.read_line(&mut head).unwrap() > 0, "no answer after {asked} requests: {head}");
            }
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            answers.read_exact(&mut vec![0; length.parse().unwrap()]).unwrap();
            is_open = !head.contains("connection: close");
            asked += 1;
        }
    }
    asked
}

#[test]
fn no_request_fails_while_chains_change() {
    let mesh = "kind: Mesh\nmtls: DISABLE\nworkloads: [{name: web, ports: [{port: 8080}], workers: 2}]\n";
    for engine in ENGINES {
        let file = Scratch::new("mesh.yaml", mesh);
        let mut run = start(&file, engine);
        let web = listens(&run.line_with("serves port 8080"));
        run.line_with("stop it");
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let clients = [(); 3].map(|()| scope.spawn(|| ask_on(&web, &done)));
            let second = plugin("b", "hello", "");
            for plugins in [sets(1), sets(2), sets(3) + &second, second.clone(), sets(4), String::new()] {
                file.replace(mesh.to_owned() + &plugins);
                run.line_with("reloaded");
                let answer = ask(&web, "web");
                assert_eq!(answer.contains("x-hello: wasm"), plugins.contains("hello"), "{engine}: {answer}");
                assert_eq!(answer.contains("x-a: "), plugins.contains("x-a: "), "{engine}: {answer}");
            }
            done.store(true, Ordering::Relaxed);
            for client in clients {
                assert!(client.join().unwrap() > 0);
            }
        });
        assert_eq!(run.interrupt(), Some(0));
    }
}

#[test]
fn what_is_under_way_ends_in_the_chain_that_it_began_in() {
    for engine in ENGINES {
        let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
        let mesh = format!(
            "kind: Mesh\nmtls: DISABLE\nworkloads: [{{name: web, ports: [{{port: 8080, upstream: '{}'}}]}}]\n",
            upstream.local_addr().unwrap()
        );
        let file = Scratch::new("mesh.yaml", mesh.clone() + &sets(1));
        let mut run = start(&file, engine);
        let web = listens(&run.line_with("serves port 8080"));
        run.line_with("stop it");
        let mut client = TcpStream::connect(&web).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n").unwrap();
        let (mut server, _) = upstream.accept().unwrap();
        let mut request = String::new();
        let mut lines = BufReader::new(server.try_clone().unwrap());
        while !request.ends_with("\r\n\r\n") {
            lines.read_line(&mut request).unwrap();
        }
        // Another listener for Envoy, not only another configuration.
        file.replace(mesh + &plugin("b", "hello", ""));
        run.line_with("reloaded");
        server.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"), "{engine}: {answer}");
        assert!(answer.contains("x-a: 1") && !answer.contains("x-hello"), "{engine}: {answer}");
        assert_eq!(run.interrupt(), Some(0));
    }
}

#[test]
fn what_needs_a_restart_is_told_and_stays_as_it_was() {
    let mesh = "kind: Mesh\nmtls: DISABLE\nworkloads: [{name: web, ports: [{port: 8080}]}]\n";
    for engine in ENGINES {
        let (file, errors) = (Scratch::new("mesh.yaml", mesh), Scratch::new("errors", ""));
        let told = std::fs::File::create(errors.path()).unwrap();
        let arguments = ["run", file.path(), "--watch", "--engine", engine];
        let mut run = Going::of(command(&arguments).stderr(Stdio::from(told)));
        let web = listens(&run.line_with("serves port 8080"));
        run.line_with("stop it");
        for changed in [mesh.replace("ports:", "workers: 3, labels: {a: b}, ports:"), mesh.to_owned()] {
            file.replace(changed);
            run.line_with("reloaded");
            assert!(ask(&web, "web").starts_with("HTTP/1.1 200"), "{engine}");
        }
        let told = std::fs::read_to_string(errors.path()).unwrap();
        let restarts: Vec<_> = told.lines().filter(|line| line.contains("needs a restart")).collect();
        let [node, workers] = restarts[..] else { panic!("{engine}: {told}") };
        assert!(node.contains("web.default: what plugins read of the workload itself"), "{node}");
        assert!(workers.contains("web.default: the number of threads (`workers`)"), "{workers}");
        assert_eq!(run.interrupt(), Some(0));
    }
}

#[test]
fn an_envoy_tells_what_it_refuses() {
    let mesh = "kind: Mesh\nmtls: DISABLE\nworkloads: [{name: web, ports: [{port: 8080}]}]\n";
    let (file, errors) = (Scratch::new("mesh.yaml", mesh.to_owned() + &sets(1)), Scratch::new("errors", ""));
    let arguments = ["run", file.path(), "--watch", "--engine", "envoy"];
    let told = std::fs::File::create(errors.path()).unwrap();
    let mut run = Going::of(command(&arguments).stderr(Stdio::from(told)));
    let web = listens(&run.line_with("serves port 8080"));
    run.line_with("stop it");
    let mut change = |resources: String, says: &str| {
        file.replace(resources);
        run.line_with("reloaded");
        let told = std::fs::read_to_string(errors.path()).unwrap();
        assert!(told.contains(says), "`{says}` is not in {told}");
        let answer = ask(&web, "web");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let headers = answer.lines().take_while(|line| !line.is_empty());
        headers.filter(|line| line.starts_with("x-a") || line.starts_with("x-hello")).collect::<Vec<_>>().join(", ")
    };
    let bad = plugin("a", "configured-headers", ", pluginConfig: {headerz: {}}");
    let refused = "web.default, inbound_0.0.0.0_8080: `default.a~istio-translated-wasmplugin` is refused, so its old \
                   configuration goes on: invalid plugin configuration: missing field `headers`";
    assert_eq!(change(mesh.to_owned() + &bad, refused), "x-a: 1");
    // As in a cluster: Envoy makes no listener with a plugin that it has refused.
    let other = plugin("b", "hello", "");
    let stays = "web.default, inbound_0.0.0.0_8080: the listener is refused, so it stays as it was: ";
    assert_eq!(change(mesh.to_owned() + &bad + &other, stays), "x-a: 1");
    assert_eq!(change(mesh.to_owned() + &sets(2) + &other, ""), "x-hello: wasm, x-a: 2");
    assert_eq!(run.interrupt(), Some(0));
}

/// Waits until a file has so many lines with that text, and returns them.
fn lines_with(file: &Scratch, text: &str, count: usize) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let all = std::fs::read_to_string(file.path()).unwrap();
        let lines: Vec<_> =
            all.split_inclusive('\n').filter(|line| line.contains(text) && line.ends_with('\n')).collect();
        if lines.len() >= count {
            return lines.into_iter().map(str::to_owned).collect();
        }
        assert!(Instant::now() < deadline, "`{text}` is not {count} times in {all}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn clusters_that_an_envoy_has_refused_are_sent_again() {
    let mesh = "kind: Mesh\nworkloads:\n\
                - {name: web, labels: {app: web}, ports: [{port: 8080}, {port: 8081, upstream: '127.0.0.1:1'}]}\n\
                - {name: client}\n\
                services:\n- {name: web, port: 80, targetPort: 8080, selector: {app: web}}\n";
    // No name in TLS is that long; the service beside it goes elsewhere meanwhile.
    let long = "a".repeat(250);
    let refused = mesh.replace("targetPort: 8080", "targetPort: 8081")
        + &format!("- {{name: {long}, port: 80, targetPort: 8080, selector: {{app: web}}}}\n");
    let (file, errors) = (Scratch::new("mesh.yaml", mesh), Scratch::new("errors", ""));
    let told = std::fs::File::create(errors.path()).unwrap();
    let arguments = ["run", file.path(), "--watch", "--engine", "envoy"];
    let mut run = Going::of(command(&arguments).stderr(Stdio::from(told)));
    run.line_with("client.default");
    let street = listens(&run.line_with("calls services on port 80"));
    run.line_with("stop it");
    for (time, resources) in [refused.clone(), refused + "# again\n"].into_iter().enumerate() {
        file.replace(resources);
        let line = lines_with(&errors, "stays as it was", time + 1).pop().unwrap();
        for workload in ["web", "client"] {
            let refusal = format!("`{workload}.default` stays as it was: Envoy refuses cluster `outbound|80||{long}.");
            assert!(line.contains(&refusal), "{line}");
        }
    }
    file.replace(mesh);
    run.line_with("reloaded");
    let answer = ask(&street, "web");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(run.interrupt(), Some(0));
}
