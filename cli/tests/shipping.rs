//! The whole way of a plugin: from `new` to an answer of a real Envoy that has pulled it.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::command::{Going, Run, command, finish};
use crate::new;
use crate::registry::{Kind, RealRegistry};
use crate::run::{ask_with, listens};

/// What Kubernetes would know by itself.
const MESH: &str = "kind: Mesh
workloads:
- {name: web, namespace: apps, labels: {app: web}, ports: [{port: 8080}]}
- {name: client, namespace: apps}
services:
- {name: web, namespace: apps, port: 80, targetPort: 8080, selector: {app: web}}
";

/// A machine with a cache of its own.
struct Machine(TempDir);

impl Machine {
    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn run(&self, arguments: &[&str]) -> Run {
        finish(command(arguments).env("WASMPLUGIN_CACHE", self.path("cache")).current_dir(self.0.path()))
    }
}

#[test]
fn a_new_plugin_goes_through_a_registry_into_a_real_envoy() {
    let (registry, machine) = (RealRegistry::start(Kind::default()), Machine(TempDir::new().unwrap()));
    let (package, ..) = new::built();
    let module = package.join("made/out.wasm");
    let module = module.to_str().unwrap();

    let image = format!("{}/apps/require-header:0.1.0", registry.host());
    let run = machine.run(&["push", module, &image, "--output", "json"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    let pushed: Value = serde_json::from_str(&run.out).unwrap();

    // A misspelt field comes no further than this.
    let common =
        ["deploy", &image, "--namespace", "apps", "--label", "app=web", "--phase", "authz", "--match", "server"];
    let run = machine.run(&[&common[..], &["--config", "{\"requiredHeadr\": \"x-user\"}"]].concat());
    assert_eq!((run.code, run.out.as_str()), (Some(1), ""), "{run:#?}");
    assert!(run.err.contains("did you mean `requiredHeader`?"), "{run:#?}");
    let run = machine.run(&[&common[..], &["--config", "{\"requiredHeader\": \"x-user\"}"]].concat());
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert!(run.out.contains(pushed["url"].as_str().unwrap()), "{run:#?}");
    fs::write(machine.path("deploy.yaml"), &run.out).unwrap();

    let run = machine.run(&["lint", "deploy.yaml", "--module", module]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    let misspelt = fs::read_to_string(machine.path("deploy.yaml")).unwrap().replace("requiredHeader", "requiredHeadr");
    fs::write(machine.path("misspelt.yaml"), misspelt).unwrap();
    let run = machine.run(&["lint", "misspelt.yaml", "--module", module]);
    assert_eq!(run.code, Some(1), "{run:#?}");
    assert!(run.out.contains("did you mean `requiredHeader`?"), "{run:#?}");

    fs::write(machine.path("mesh.yaml"), MESH).unwrap();
    let files = [machine.path("deploy.yaml"), machine.path("mesh.yaml")];
    let mut start = command(&["run", &files[0], &files[1], "--engine", "envoy"]);
    let mut mesh = Going::of(start.env("WASMPLUGIN_CACHE", machine.path("cache")));
    mesh.line_with("client.apps");
    let address = listens(&mesh.line_with("calls services on port 80"));
    assert!(ask_with(&address, "web", "").starts_with("HTTP/1.1 403"), "{}", mesh.seen);
    let passed = ask_with(&address, "web", "x-user: ada\r\n");
    assert!(passed.starts_with("HTTP/1.1 200"), "{passed}");
    assert_eq!(mesh.interrupt(), Some(0));

    // It came from the registry.
    let run = machine.run(&["cache", "ls", "--output", "json"]);
    let listed: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(listed[0]["digest"], pushed["digest"], "{listed}");
    let blobs = fs::read_dir(Path::new(&machine.path("cache")).join("blobs")).unwrap();
    assert_eq!(blobs.count(), 1);
}
