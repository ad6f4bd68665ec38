//! How long a push and a pull of 1 MiB take, beside `skopeo copy`, against a registry on this machine; and a pull from the
//! cache.
//!
//! `cargo bench --profile dev -p cargo-wasmplugin --bench transfer` prints the medians of processes that take turns. Each
//! push is of a module of its own, so that no blob is there already; ours makes the image as well, skopeo has it made.

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
    for round in 0..ROUNDS {
        let module = module(folder.path(), round);
        let image = build(&Contents { module: other(round).into(), ..Contents::default() }, Format::Oci).unwrap();
        let made = folder.path().join("layout");
        layout::write_folder(&made, &image, "v1").unwrap();

        let place = format!("{}/ours/{round}:v1", registry.host());
        ours.push.push(timed(wasmplugin(folder.path(), &["push", &module, &place])));
        let their_place = format!("docker://{}/theirs/{round}:v1", registry.host());
        let from = format!("oci:{}:v1", made.display());
        theirs.push.push(timed(skopeo(&["copy", "--quiet", "--dest-tls-verify=false", &from, &their_place])));

        let out = folder.path().join("out.wasm").display().to_string();
        ours.pull.push(timed(wasmplugin(folder.path(), &["pull", &place, "-o", &out])));
        let into = format!("dir:{}", folder.path().join(format!("dir-{round}")).display());
        theirs.pull.push(timed(skopeo(&["copy", "--quiet", "--src-tls-verify=false", &their_place, &into])));

        ours.cached.push(timed(wasmplugin(folder.path(), &["pull", &place, "-o", &out])));
        assert_eq!(fs::read(&out).unwrap(), fs::read(&module).unwrap());
    }
    print("push of 1 MiB", ours.push, theirs.push);
    print("pull of 1 MiB", ours.pull, theirs.pull);
    println!("pull from the cache {:6.1} ms", milliseconds(median(ours.cached)));
}

#[derive(Default)]
struct Times {
    push: Vec<Duration>,
    pull: Vec<Duration>,
    cached: Vec<Duration>,
}

fn print(what: &str, ours: Vec<Duration>, theirs: Vec<Duration>) {
    let (ours, theirs) = (milliseconds(median(ours)), milliseconds(median(theirs)));
    println!("{what}       {ours:6.1} ms, skopeo copy {theirs:6.1} ms, ratio {:.2}", ours / theirs);
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

/// A valid module, different in each round.
fn module(folder: &Path, round: usize) -> String {
    let text = r#"(module (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) i32.const 0))"#;
    let bytes = wasmplugin_host::module::with_section(&wat::parse_str(text).unwrap(), "code", &half_noise(2 * round));
    let path = folder.join("plugin.wasm");
    fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

fn other(round: usize) -> Vec<u8> {
    [b"\0asm\x01\0\0\0".to_vec(), half_noise(2 * round + 1)].concat()
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
