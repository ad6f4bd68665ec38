//! How long the verbs take that people wait for: a push and a pull of 1 MiB beside `skopeo copy`, against a registry on this
//! machine; a pull from the cache; `lint` of 1,000 documents.
//!
//! `cargo bench --profile dev --workspace --bench transfer` prints the medians of processes that take turns. Each push is of
//! an image of its own, so that no blob is there already.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a bench fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use wasmplugin_deploy::image::build::{Contents, Format, build};
use wasmplugin_deploy::image::layout;

#[path = "../../deploy/tests/registry.rs"]
#[expect(dead_code, reason = "tests use more of it")]
mod registry;

use registry::{Kind, RealRegistry};

const ROUNDS: usize = 15;
const SIZE: usize = 1 << 20;

fn main() {
    let registry = RealRegistry::start(Kind::default());
    let folder = tempfile::TempDir::new().unwrap();
    let (mut ours, mut theirs) = (Times::default(), Times::default());
    let documents = documents(folder.path());
    for round in 0..ROUNDS {
        let module = module(folder.path(), 3 * round);
        let place = format!("{}/made/{round}:v1", registry.host());
        ours.made.push(timed(wasmplugin(folder.path(), &["push", &module, &place])));

        let (layout, contents) = layout(folder.path(), 3 * round + 1);
        let place = format!("{}/ours/{round}:v1", registry.host());
        ours.push.push(timed(wasmplugin(folder.path(), &["push", &layout, &place])));
        let (layout, _) = self::layout(folder.path(), 3 * round + 2);
        let their_place = format!("docker://{}/theirs/{round}:v1", registry.host());
        let from = format!("oci:{layout}:v1");
        theirs.push.push(timed(skopeo(&["copy", "--quiet", "--dest-tls-verify=false", &from, &their_place])));

        let out = folder.path().join("out.wasm").display().to_string();
        ours.pull.push(timed(wasmplugin(folder.path(), &["pull", &place, "-o", &out])));
        let into = format!("dir:{}", folder.path().join(format!("dir-{round}")).display());
        theirs.pull.push(timed(skopeo(&["copy", "--quiet", "--src-tls-verify=false", &their_place, &into])));

        ours.cached.push(timed(wasmplugin(folder.path(), &["pull", &place, "-o", &out])));
        assert_eq!(fs::read(&out).unwrap(), contents);
        ours.lint.push(timed(wasmplugin(folder.path(), &["lint", &documents])));
    }
    beside("push of an image of 1 MiB", ours.push, theirs.push);
    beside("pull of an image of 1 MiB", ours.pull, theirs.pull);
    alone("push of a module, which becomes the image", ours.made);
    alone("pull from the cache", ours.cached);
    alone("lint of 1,000 documents", ours.lint);
}

#[derive(Default)]
struct Times {
    made: Vec<Duration>,
    push: Vec<Duration>,
    pull: Vec<Duration>,
    cached: Vec<Duration>,
    lint: Vec<Duration>,
}

fn beside(what: &str, ours: Vec<Duration>, theirs: Vec<Duration>) {
    let (ours, theirs) = (milliseconds(median(ours)), milliseconds(median(theirs)));
    println!("{what:42} {ours:7.1} ms, skopeo copy {theirs:7.1} ms, ratio {:.2}", ours / theirs);
}

fn alone(what: &str, ours: Vec<Duration>) {
    println!("{what:42} {:7.1} ms", milliseconds(median(ours)));
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn timed(mut command: Command) -> Duration {
    let began = Instant::now();
    let status = command.stdout(Stdio::null()).status().unwrap();
    let took = began.elapsed();
    assert!(status.success(), "{command:?}");
    took
}

fn wasmplugin(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-wasmplugin"));
    command.args(arguments).env("HOME", folder).env("WASMPLUGIN_CACHE", folder.join("cache"));
    command
}

fn skopeo(arguments: &[&str]) -> Command {
    let mut command = Command::new("skopeo");
    command.args(arguments);
    command
}

/// A valid module.
fn contents(seed: usize) -> Vec<u8> {
    let text = r#"(module (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) i32.const 0))"#;
    wasmplugin_host::module::with_section(&wat::parse_str(text).unwrap(), "code", &half_noise(seed))
}

/// The same in a file.
fn module(folder: &Path, seed: usize) -> String {
    let path = folder.join("plugin.wasm");
    fs::write(&path, contents(seed)).unwrap();
    path.display().to_string()
}

/// The same in an OCI layout.
fn layout(folder: &Path, seed: usize) -> (String, Vec<u8>) {
    let module = contents(seed);
    let image = build(&Contents { module: module.clone().into(), ..Contents::default() }, Format::Oci).unwrap();
    let path = folder.join(format!("layout-{seed}"));
    layout::write_folder(&path, &image, "v1").unwrap();
    (path.display().to_string(), module)
}

/// 1,000 valid WasmPlugins in one file.
fn documents(folder: &Path) -> String {
    let document = |number: usize| {
        format!(
            "apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {{name: plugin-{number}, namespace: apps}}
spec:
  selector: {{matchLabels: {{app: web-{number}}}}}
  url: oci://ghcr.io/example/plugin:1.{number}
  sha256: {}
  imagePullPolicy: IfNotPresent
  phase: AUTHN
  priority: {number}
  pluginConfig: {{header: x-user-{number}, status: 403}}
",
            "0123456789abcdef".repeat(4)
        )
    };
    let path = folder.join("plugins.yaml");
    fs::write(&path, (0..1_000).map(document).collect::<Vec<_>>().join("---\n")).unwrap();
    path.display().to_string()
}

/// Compresses about as well as Wasm does, to a third.
fn half_noise(seed: usize) -> Vec<u8> {
    let mut state = u32::try_from(seed).unwrap().wrapping_mul(2_654_435_761) | 1;
    std::iter::from_fn(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some((state >> 29).to_be_bytes()[3])
    })
    .take(SIZE)
    .collect()
}
