//! `cargo wasmplugin doctor`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use wasmplugin_host::module::build;

use crate::command::{Going, Run, command, finish, wasmplugin, workspace};
use crate::registry::{Kind, PASSWORD, RealRegistry, USER};

/// A machine with a home of its own, where programs can be put that are found first.
struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn program(&self, name: &str, script: &str) {
        fs::create_dir_all(self.path("bin")).unwrap();
        fs::write(self.path("bin").join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(self.path("bin").join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        let mut command = command(&[&["doctor"], arguments].concat());
        command.env("PATH", path).env("WASMPLUGIN_CACHE", self.path("cache")).env("DOCKER_CONFIG", self.path("none"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        finish(&mut self.command(arguments))
    }

    fn told(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let run = self.run(&[arguments, &["--output", "json"]].concat());
        (run.code, serde_json::from_str(&run.out).unwrap_or_else(|_| panic!("{run:#?}")))
    }
}

/// The checks of that name, or whose name begins with it.
fn checks<'a>(told: &'a Value, name: &str) -> Vec<&'a Value> {
    let all = told["checks"].as_array().unwrap().iter();
    all.filter(|check| check["name"].as_str().is_some_and(|known| known.starts_with(name))).collect()
}

#[test]
fn this_machine_has_what_is_needed() {
    let machine = Machine::new();
    let (code, told) = machine.told(&[]);
    assert_eq!((code, &told["ok"]), (Some(0), &true.into()), "{told:#}");
    for name in ["rust", "cargo", "target", "cache"] {
        assert_eq!(checks(&told, name)[0]["state"], "ok", "{told:#}");
    }
    let text = machine.run(&[]).out;
    assert!(text.contains("ok    rust     rustc 1."), "{text}");
}

#[test]
fn what_is_missing_is_told_with_what_to_type() {
    let machine = Machine::new();
    machine.program("rustc", "echo 'rustc 1.70.0 (abc 2023-06-01)'");
    let (code, told) = machine.told(&[]);
    assert_eq!((code, &told["ok"]), (Some(1), &false.into()), "{told:#}");
    assert_eq!(checks(&told, "rust")[0]["help"], "type `rustup update stable`");
    let target = checks(&told, "target")[0];
    assert!(target["state"] != "ok" && target["help"].as_str().unwrap().contains("rustup target add"), "{told:#}");
    let machine = Machine::new();
    machine.program("kubectl", "exit 1");
    fs::write(machine.path("cache"), "a file").unwrap();
    let (_, told) = machine.told(&[]);
    assert_eq!(checks(&told, "kubectl")[0]["state"], "warn", "{told:#}");
    assert_eq!(checks(&told, "cache")[0]["state"], "fail", "{told:#}");
}

#[test]
fn an_image_is_pulled_with_the_secret_of_the_cluster() {
    let (registry, machine) = (RealRegistry::start(Kind { password: true, tls: true }), Machine::new());
    let hello = build::wasm(workspace().join("examples/hello")).unwrap();
    let (image, authority) = (format!("{}/me/hello:1", registry.host()), registry.authority());
    let trusted = ["--ca", authority.to_str().unwrap()];
    let logins = json!({"auths": {(registry.host()): {"username": USER, "password": PASSWORD}}}).to_string();
    fs::write(machine.path("config.json"), &logins).unwrap();
    let secret = ["--pull-secret", machine.path("config.json").to_str().unwrap()].map(str::to_owned);
    let secret = secret.each_ref().map(String::as_str);
    let push = wasmplugin(&[&["push", hello.to_str().unwrap(), &image][..], &trusted, &secret].concat());
    assert_eq!(push.code, Some(0), "{push:#?}");

    let look = [&["--image", &image][..], &trusted].concat();
    let (code, told) = machine.told(&look);
    assert_eq!((code, &checks(&told, &image)[0]["state"]), (Some(1), &"fail".into()), "{told:#}");
    let (code, told) = machine.told(&[&look[..], &secret].concat());
    let said = checks(&told, &image)[0]["message"].as_str().unwrap();
    assert!(code == Some(0) && said.contains(&format!("pulled as `{USER}`")), "{told:#}");

    let kubectl = |kind: &str| {
        use base64::Engine as _;
        let data = base64::engine::general_purpose::STANDARD.encode(&logins);
        let secret = json!({"type": kind, "data": {".dockerconfigjson": data}});
        machine.program("kubectl", &format!("[ \"$1 $2 $3 $5\" = 'get secret regcred apps' ] && echo '{secret}'"));
    };
    kubectl("kubernetes.io/dockerconfigjson");
    let (code, told) = machine.told(&[&look[..], &["--secret", "apps/regcred"]].concat());
    assert_eq!((code, &checks(&told, &image)[0]["state"]), (Some(0), &"ok".into()), "{told:#}");
    kubectl("Opaque");
    let (code, told) = machine.told(&[&look[..], &["--secret", "apps/regcred"]].concat());
    let said = checks(&told, &image)[0]["message"].as_str().unwrap();
    assert!(code == Some(1) && said.contains("create secret docker-registry"), "{told:#}");
    assert!(!told.to_string().contains(PASSWORD), "{told:#}");
}

#[test]
fn a_running_proxy_is_asked() {
    let machine = Machine::new();
    let hello = build::wasm(workspace().join("examples/hello")).unwrap();
    for (engine, version) in [("embedded", "wasmplugin-proxy"), ("envoy", "1.")] {
        let mut proxy = Going::start(&[
            "run",
            hello.to_str().unwrap(),
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--engine",
            engine,
        ]);
        let line = proxy.line_with("its admin interface on");
        let admin = line.trim().rsplit_once("http://").unwrap().1.to_owned();
        let (code, told) = machine.told(&["--envoy", &format!("http://{admin}")]);
        assert_eq!(code, Some(0), "{told:#}");
        let said = checks(&told, "envoy 127")[0]["message"].as_str().unwrap();
        assert!(said.contains(version) || engine == "embedded" && said.contains(", LIVE, up "), "{told:#}");
        if engine == "envoy" {
            let vms = checks(&told, "wasm")[0];
            assert!(vms["state"] == "ok" && vms["message"].as_str().unwrap().contains("VMs are active"), "{told:#}");
        }
        assert_eq!(proxy.interrupt(), Some(0));
        let (code, told) = machine.told(&["--envoy", &admin]);
        assert_eq!((code, &checks(&told, "envoy 127")[0]["state"]), (Some(1), &"fail".into()), "{told:#}");
    }
}

#[test]
fn an_agent_that_could_not_fetch_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let agent = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        let body = "istio_agent_wasm_remote_fetch_count{result=\"download_failure\"} 2\n";
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
        line
    });
    let (code, told) = Machine::new().told(&["--agent", &address]);
    assert_eq!(agent.join().unwrap().trim(), "GET /stats/prometheus HTTP/1.1");
    let check = checks(&told, "agent")[0];
    assert_eq!((code, &check["state"]), (Some(0), &"warn".into()), "{told:#}");
    assert!(check["message"].as_str().unwrap().contains("2 download_failure"), "{told:#}");
}
