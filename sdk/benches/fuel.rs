//! What the SDK costs per exchange, beside the same plugin on the raw `proxy-wasm` crate.
//!
//! `cargo bench --profile dev --bench fuel` prints Wasmtime fuel (about one unit per instruction), host calls, blocks
//! that the host allocates in the guest, and the bytes of the module; and the ratios. These are the same on every
//! machine, so a change shows at once. It fails when a ratio is over its budget.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use wasmplugin_host::clock::Clock;
use wasmplugin_host::entrance::Entrance;
use wasmplugin_host::headers::HeaderMap;
use wasmplugin_host::module::build::{self, Options as BuildOptions};
use wasmplugin_host::services::Services;
use wasmplugin_host::wasm::{Module, Settings};
use wasmplugin_host::worker::{ChainId, Code, Connection, Options, Plugin, Worker};

/// Exchanges that are measured, after as many that are not.
const EXCHANGES: u64 = 1_000;

/// A plugin of ours, its twin, and the most that ours may cost.
const PAIRS: [(&str, &str, &str, f64); 2] =
    [("sync hook", "hello", "bench-raw-hook", 1.05), ("handler", "bench-handler", "bench-raw-handler", 1.10)];

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let packages: Vec<_> = PAIRS.iter().flat_map(|(_, ours, raw, _)| [*ours, *raw]).collect();
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let options = BuildOptions { directory: Some(root), quiet: true, ..BuildOptions::default() };
    let built = build::build(&packages, &options)?;
    let measure = |package: &str| -> Result<Cost, Box<dyn Error>> {
        let module = built.iter().find(|module| module.package == package).ok_or("every guest was built")?;
        Cost::of(&module.path)
    };
    println!("{:<28}{:>10}{:>12}{:>12}{:>10}", "per exchange", "fuel", "host calls", "allocations", "bytes");
    let mut within = true;
    for (name, ours, raw, budget) in PAIRS {
        let (ours, raw) = (measure(ours)?, measure(raw)?);
        let ratio = ours.fuel / raw.fuel;
        let fits = ratio <= budget && ours.host_calls <= raw.host_calls;
        within &= fits;
        ours.print(&format!("{name}, wasmplugin"));
        raw.print(&format!("{name}, proxy-wasm"));
        let verdict = if fits { "within" } else { "OVER" };
        println!("{name}: {ratio:.3} x the fuel, {verdict} the budget of {budget:.2} x and no more host calls\n");
    }
    Ok(if within { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Cost {
    fuel: f64,
    host_calls: f64,
    allocations: f64,
    bytes: u64,
}

impl Cost {
    fn of(path: &Path) -> Result<Self, Box<dyn Error>> {
        let source = wasmplugin_host::module::Module::read(path)?;
        let bytes = source.bytes().len() as u64;
        let settings = Settings { fuel: true };
        let module = Arc::new(Module::compile(source, settings)?);
        let meter = Arc::clone(module.meter().ok_or("fuel is counted")?);
        let services = Arc::new(Services::new(Clock::manual(std::time::Duration::ZERO), Box::new(|_| {})));
        let plugin = Plugin::new("bench", Code::Wasm(module));
        let mut worker = Worker::new(services, Options::default());
        worker.add_chain(&[plugin], Entrance::default())?;
        (0..EXCHANGES).for_each(|_| exchange(&mut worker));
        let before = worker.counters();
        meter.reset();
        (0..EXCHANGES).for_each(|_| exchange(&mut worker));
        let after = worker.counters();
        if std::env::var_os("BY_CALLBACK").is_some() {
            for used in meter.used() {
                println!("    {:<28}{:>6.1}", used.callback, used.fuel as f64 / EXCHANGES as f64);
            }
        }
        let each = |count: u64| count as f64 / EXCHANGES as f64;
        Ok(Self {
            fuel: each(meter.total()),
            host_calls: each(after.host_calls - before.host_calls),
            allocations: each(after.allocations - before.allocations),
            bytes,
        })
    }

    fn print(&self, name: &str) {
        println!("{name:<28}{:>10.0}{:>12.1}{:>12.1}{:>10}", self.fuel, self.host_calls, self.allocations, self.bytes);
    }
}

/// A `GET` as Envoy shows it, and its answer with a body.
fn exchange(worker: &mut Worker) {
    let request =
        [(":authority", "example.com"), (":path", "/"), (":method", "GET"), (":scheme", "http"), ("accept", "*/*")];
    let response = [(":status", "200"), ("content-type", "text/plain"), ("content-length", "5")];
    let id = worker.open(ChainId::FIRST, Connection::default());
    worker.request_headers(id, map(&request), true);
    while worker.next_effect().is_some() {}
    worker.response_headers(id, map(&response), false);
    worker.response_data(id, Bytes::from_static(b"hello"), false);
    worker.response_data(id, Bytes::new(), true);
    worker.finished(id);
    while worker.next_effect().is_some() {}
}

fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| (Bytes::from_static(name.as_bytes()), Bytes::from_static(value.as_bytes())))
        .collect()
}
