//! `cargo wasmplugin push`, `pull`, `inspect`, `verify` and `cache`, with a real registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::command::{Run, command, finish};
use crate::registry::{Kind, PASSWORD, RealRegistry, USER, run, skopeo};

/// A user's machine: a folder with a home and a cache of its own.
struct Machine {
    folder: TempDir,
}

impl Machine {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// A module of about that many bytes.
    fn module(&self, size: usize) -> String {
        let text = r#"(module (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param i32) (result i32) i32.const 0)
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) i32.const 0))"#;
        let module = wat::parse_str(text).unwrap();
        // What gzip cannot make smaller.
        let mut state = 1u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .take(size)
        .collect();
        let path = self.path("plugin.wasm");
        fs::write(&path, wasmplugin_host::module::with_section(&module, "noise", &noise)).unwrap();
        path
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(arguments);
        command
            .env("HOME", self.folder.path())
            .env("WASMPLUGIN_CACHE", self.path("cache"))
            .current_dir(self.folder.path());
        for variable in ["DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "WASM_INSECURE_REGISTRIES"] {
            command.env_remove(variable);
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        finish(&mut self.command(arguments))
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let run = self.run(&[arguments, &["--output", "json"]].concat());
        assert_eq!(run.code, Some(0), "{arguments:?}: {run:#?}");
        serde_json::from_str(&run.out).unwrap()
    }

    /// Every file of the cache holds what its name says, and `cache ls` can be asked.
    #[track_caller]
    fn assert_sound(&self) -> usize {
        let blobs = fs::read_dir(Path::new(&self.path("cache")).join("blobs"));
        for blob in blobs.into_iter().flatten().map(|entry| entry.unwrap().path()) {
            let bytes = fs::read(&blob).unwrap();
            let digest = wasmplugin_deploy::image::digest::Digest::of(&bytes);
            assert_eq!(blob.file_stem().unwrap().to_str(), Some(digest.hex()), "{}", blob.display());
        }
        self.json(&["cache", "ls"]).as_array().unwrap().len()
    }
}

#[test]
fn what_is_pushed_can_be_inspected_verified_and_pulled() {
    let (registry, machine) = (RealRegistry::start(Kind::default()), Machine::new());
    let module = machine.module(1000);
    let image = format!("{}/me/hello:1", registry.host());
    let pushed = machine.json(&["push", &module, &image]);
    let digest = pushed["digest"].as_str().unwrap();
    assert_eq!(pushed["url"], format!("oci://{}/me/hello@{digest}", registry.host()));
    let theirs = skopeo(&["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &format!("docker://{image}")]);
    assert_eq!(theirs.trim(), digest);

    let inspected = machine.json(&["inspect", &image]);
    assert_eq!(inspected["digest"], digest);
    assert_eq!(inspected["abi"], "0.2.1");
    for consumer in ["istio", "envoyGateway", "higress"] {
        assert_eq!(inspected["accepted"][consumer]["ok"], true, "{inspected:#}");
    }
    let text = machine.run(&["inspect", &image]).out;
    assert!(text.contains(digest) && text.contains("Envoy Gateway  yes"), "{text}");
    assert_eq!(machine.json(&["verify", &image, "--digest", digest])["ok"], true);
    let other = format!("sha256:{}", "0".repeat(64));
    assert!(machine.run(&["verify", &image, "--digest", &other]).message().contains("checksum mismatch"));

    assert_eq!(machine.json(&["pull", &image])["cached"], false);
    assert_eq!(fs::read(machine.path("hello.wasm")).unwrap(), fs::read(&module).unwrap());
    assert_eq!(machine.json(&["pull", &image, "-o", "other.wasm"])["cached"], true);
    assert_eq!(machine.json(&["pull", &image, "--refresh", "-o", "other.wasm"])["cached"], false);
    let pinned = pushed["url"].as_str().unwrap();
    assert_eq!(machine.json(&["pull", pinned, "-o", "other.wasm"])["cached"], true);
}

#[test]
fn layouts_go_in_and_out() {
    let (registry, machine) = (RealRegistry::start(Kind::default()), Machine::new());
    let module = machine.module(100);
    let digest = machine.json(&["push", &module, "./layout"])["digest"].clone();
    assert_eq!(machine.json(&["push", &module, "layout.tar"])["digest"], digest);
    for place in ["./layout", "layout", "oci:layout", "layout.tar", "oci-archive:layout.tar"] {
        let inspected = machine.json(&["inspect", place]);
        assert_eq!((&inspected["digest"], &inspected["accepted"]["istio"]["ok"]), (&digest, &true.into()), "{place}");
    }
    let bare = machine.json(&["inspect", &module]);
    assert!(bare["digest"] != digest && bare["accepted"]["istio"]["ok"] == true, "{bare:#}");
    for source in ["layout", "layout.tar"] {
        let image = format!("{}/me/{source}:1", registry.host());
        assert_eq!(machine.json(&["push", source, &image])["digest"], digest);
    }
    let image = format!("{}/me/layout:1", registry.host());
    assert_eq!(machine.json(&["pull", &image, "--image", "-o", "back.tar"])["digest"], digest);
    assert_eq!(machine.json(&["inspect", "back.tar"])["digest"], digest);
    skopeo(&[
        "copy",
        "--quiet",
        &format!("oci-archive:{}", machine.path("back.tar")),
        &format!("dir:{}", machine.path("dir")),
    ]);
}

#[test]
fn what_istio_refuses_is_said_with_the_reason_and_the_fix() {
    let machine = Machine::new();
    let module = machine.module(100);
    let pushed = machine.run(&["push", &module, "./cncf", "--format", "cncf"]);
    assert!(pushed.err.contains("refuse this form"), "{pushed:#?}");
    let inspected = machine.json(&["inspect", "cncf"]);
    let istio = &inspected["accepted"]["istio"];
    assert_eq!(istio["ok"], false);
    let reason = istio["reason"].as_str().unwrap();
    assert!(
        reason.contains("number of layers must be 2 but got 1") && reason.contains("cargo wasmplugin push"),
        "{reason}"
    );
    // What is in it is shown all the same.
    assert_eq!(inspected["abi"], "0.2.1");
    assert!(machine.run(&["verify", "cncf"]).message().contains("Istio refuses"));
}

#[test]
fn a_signature_by_the_key_is_wanted() {
    let (registry, machine) = (RealRegistry::start(Kind::default()), Machine::new());
    let module = machine.module(100);
    let keys = |name: &str| {
        let (private, public) = (machine.path(&format!("{name}.key")), machine.path(&format!("{name}.pub")));
        run("openssl", "openssl", &["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &private]);
        run("openssl", "openssl", &["ec", "-in", &private, "-pubout", "-out", &public]);
        (private, public)
    };
    let (own, stranger) = (keys("own"), keys("stranger"));
    let image = format!("{}/me/hello:1", registry.host());
    assert_eq!(machine.json(&["push", &module, &image])["signed"], false);
    assert!(machine.run(&["verify", &image, "--key", &own.1]).message().contains("is not signed"));
    assert_eq!(machine.json(&["push", &module, &image, "--sign", &stranger.0])["signed"], true);
    assert!(machine.run(&["verify", &image, "--key", &own.1]).message().contains("made with another key"));
    assert_eq!(machine.json(&["push", &module, &image, "--sign", &own.0])["signed"], true);
    for key in [&own.1, &stranger.1] {
        assert_eq!(machine.json(&["verify", &image, "--key", key])["signed"], true);
    }
    assert!(machine.run(&["push", &module, &image, "--sign", &own.1]).message().contains("no private key"));
}

#[test]
fn logins_are_those_of_docker() {
    let (registry, machine) = (RealRegistry::start(Kind { password: true, tls: true }), Machine::new());
    let module = machine.module(100);
    let (image, authority) = (format!("{}/me/hello:1", registry.host()), registry.authority());
    let trusted = ["--ca", authority.to_str().unwrap()];
    let push = [&["push", &module, &image][..], &trusted].concat();
    assert!(machine.run(&push).message().contains("docker login"));
    let login = |password: &str| {
        let config =
            format!(r#"{{"auths":{{"{}":{{"username":"{USER}","password":"{password}"}}}}}}"#, registry.host());
        fs::create_dir_all(machine.path(".docker")).unwrap();
        fs::write(machine.path(".docker/config.json"), config).unwrap();
    };
    login("wrong");
    let refused = machine.run(&push);
    assert!(refused.message().contains("password is wrong") && !refused.err.contains("wrong\""), "{refused:#?}");
    login(PASSWORD);
    assert!(machine.json(&push)["digest"].is_string());
    assert!(machine.run(&["pull", &image]).message().contains("--insecure"));
    assert!(machine.json(&[&["pull", &image][..], &trusted].concat())["file"].is_string());
}

#[test]
fn the_cache_is_listed_cleaned_and_carried() {
    let (registry, machine) = (RealRegistry::start(Kind::default()), Machine::new());
    let module = machine.module(100);
    let image = format!("{}/me/hello:1", registry.host());
    machine.json(&["push", &module, &image]);
    assert!(machine.run(&["cache", "ls"]).out.ends_with("is empty\n"));
    machine.json(&["pull", &image]);
    let listed = machine.json(&["cache", "ls"]);
    assert_eq!(listed[0]["name"], format!("oci://{}/me/hello", registry.host()));
    assert_eq!(listed[0]["urls"][0], image);
    assert!(machine.run(&["cache", "ls"]).out.starts_with("module  "));
    assert_eq!(machine.json(&["cache", "export", "cache.tar"])["exported"], 1);
    assert_eq!(machine.json(&["cache", "gc"])["removed"], 0);
    assert!(machine.run(&["cache", "rm", "nobody"]).message().contains("cache ls"));
    assert_eq!(machine.json(&["cache", "rm", "me/hello"])["removed"], 1);
    assert_eq!(machine.assert_sound(), 0);
    assert_eq!(machine.json(&["cache", "import", "cache.tar"])["imported"], 1);
    drop(registry);
    // Nobody is there to be asked.
    assert_eq!(machine.json(&["pull", &image])["cached"], true);
    assert!(machine.run(&["cache", "import", "plugin.wasm"]).message().contains("cannot import"));
}

#[test]
fn two_processes_fetch_once_and_both_have_it() {
    let (registry, machine) = (RealRegistry::start(Kind::default()), Machine::new());
    let module = machine.module(8 << 20);
    let image = format!("{}/me/hello:1", registry.host());
    machine.json(&["push", &module, &image]);
    let outs: Vec<_> = (0..4).map(|number| format!("out-{number}.wasm")).collect();
    let running: Vec<_> = outs
        .iter()
        .map(|out| {
            machine.command(&["pull", &image, "-o", out, "--output", "json"]).stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let mut fetched = 0;
    for child in running {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
        fetched += u32::from(printed["cached"] == false);
    }
    assert_eq!((fetched, machine.assert_sound()), (1, 1));
    for out in outs {
        assert_eq!(fs::read(machine.path(&out)).unwrap(), fs::read(&module).unwrap());
    }
}

#[test]
fn a_cache_survives_a_hundred_kills() {
    let (registry, machine) = (RealRegistry::start(Kind::default()), Machine::new());
    let module = machine.module(4 << 20);
    let image = format!("{}/me/hello:1", registry.host());
    machine.json(&["push", &module, &image]);
    let pull = ["pull", &image, "--refresh", "-o", "out.wasm"];
    // How long a whole pull takes here and now, so that the kills fall into it.
    let began = std::time::Instant::now();
    assert_eq!(machine.run(&pull).code, Some(0));
    let whole = began.elapsed();
    let mut unfinished = 0;
    for round in 0..100u32 {
        if round % 10 == 0 {
            machine.run(&["cache", "rm", "--all"]);
        }
        let mut child = machine.command(&pull).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole * (round % 25) / 25);
        unfinished += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        if round % 5 == 4 {
            machine.assert_sound();
        }
    }
    assert!(unfinished > 30, "only {unfinished} of 100 were killed on their way");
    assert_eq!(machine.run(&pull).code, Some(0));
    assert_eq!(machine.assert_sound(), 1);
    assert_eq!(fs::read(machine.path("out.wasm")).unwrap(), fs::read(&module).unwrap());
}

#[test]
fn a_full_disk_costs_the_cache_and_not_the_module() {
    let (registry, machine) = (RealRegistry::start(Kind::default()), Machine::new());
    let module = machine.module(1 << 20);
    let image = format!("{}/me/hello:1", registry.host());
    machine.json(&["push", &module, &image]);
    // Files of at most 64 KiB stand for a full disk; the standard output is no file.
    let pull = machine.command(&["pull", &image, "-o", "-"]);
    let mut limited = Command::new("bash");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\" | cat", "bash"])
        .arg(pull.get_program())
        .args(pull.get_args());
    limited.current_dir(machine.folder.path());
    for (name, value) in pull.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let output = limited.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.stdout, fs::read(&module).unwrap(), "{said}");
    assert!(said.contains("cache gc"), "{said}");
    assert_eq!(machine.assert_sound(), 0);
    let leftovers: Vec<PathBuf> =
        fs::read_dir(machine.path("cache/tmp")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(leftovers, Vec::<PathBuf>::new());
    // With room again all is well.
    assert_eq!(machine.json(&["pull", &image])["cached"], false);
    assert_eq!(machine.assert_sound(), 1);
}

#[test]
fn ctrl_c_ends_a_transfer_that_hangs() {
    let machine = Machine::new();
    // A registry that accepts and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let image = format!("{}/me/hello:1", silent.local_addr().unwrap());
    let mut child = machine.command(&["pull", &image]).stderr(Stdio::piped()).spawn().unwrap();
    // It has connected, so it listens for Ctrl-C.
    let _connection = silent.accept().unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!Path::new(&machine.path("hello.wasm")).exists());
}

#[test]
fn what_makes_no_sense_is_said() {
    let machine = Machine::new();
    let module = machine.module(10);
    for (arguments, reason) in [
        (&["push", "missing.wasm", "ghcr.io/me/a:1"][..], "there is no file or folder `missing.wasm`"),
        (&["push", &module, "ghcr.io/Me"], "lower-case"),
        (&["pull", "docker://ghcr.io/a/b"], "use `oci://`"),
        (&["inspect", "./nowhere"], "there is no file or folder"),
        (&["inspect", "."], "no OCI image layout"),
    ] {
        let run = machine.run(arguments);
        assert!(run.message().contains(reason), "{arguments:?}: {run:#?}");
    }
    let digest = format!("ghcr.io/me/a@sha256:{}", "0".repeat(64));
    assert_eq!(machine.run(&["push", &module, &digest]).code, Some(2));
    assert_eq!(machine.run(&["verify", "x/y", "--digest", "short"]).code, Some(2));
}
