//! Measures the embedded proxy beside a real Envoy: the same module, the same upstream, one after the other in
//! short slices of `wrk`, so that a machine that becomes slower does so for both.
//!
//! Run with `cargo run -p wasmplugin-proxy --example compare -- --seconds 30`; `--module FILE` takes another module
//! than `hello`, `--only proxy` leaves Envoy out (a soak: one slice per 5 seconds, with memory before and after).

use std::error::Error;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs, thread};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use wasmplugin_host::envoy::{binary, config, process};
use wasmplugin_host::{module, test, wasm};
use wasmplugin_proxy::{Cluster, Code, FailPolicy, Listener, Plugin, Proxy, Routes, Settings};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// What to measure.
struct Arguments {
    seconds: u64,
    slice: u64,
    connections: u32,
    workers: usize,
    module: Option<PathBuf>,
    only: Option<String>,
}

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        // The two that are measured against, each in a process of its own.
        ["serve-upstream"] => serve_upstream(),
        ["serve-proxy", module, upstream, workers] => serve_proxy(module, upstream, workers),
        words => parse(words).and_then(|arguments| compare(&arguments)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut words: &[&str]) -> Result<Arguments> {
    let mut arguments = Arguments { seconds: 30, slice: 3, connections: 32, workers: 1, module: None, only: None };
    while let [name, value, rest @ ..] = words {
        let number = || value.parse::<u64>().map_err(|_| format!("`{name}` needs a number, not `{value}`"));
        match *name {
            "--seconds" => arguments.seconds = number()?,
            "--slice" => arguments.slice = number()?.max(1),
            "--connections" => arguments.connections = u32::try_from(number()?)?,
            "--workers" => arguments.workers = usize::try_from(number()?)?,
            "--module" => arguments.module = Some(value.into()),
            "--only" if matches!(*value, "proxy" | "envoy") => arguments.only = Some((*value).to_owned()),
            _ => return Err(format!("`{name} {value}` is not understood").into()),
        }
        words = rest;
    }
    match words {
        [] => Ok(arguments),
        [word, ..] => Err(format!(
            "`{word}` is not understood; there are --seconds N, --slice N, --connections N, --workers N, --module FILE and \
             --only proxy|envoy"
        )
        .into()),
    }
}

fn compare(arguments: &Arguments) -> Result<()> {
    if Command::new("wrk").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        return Err("`wrk` is not installed: `apt-get install wrk`, or `brew install wrk`".into());
    }
    let module = match &arguments.module {
        Some(module) => module.clone(),
        None => {
            let options = module::build::Options {
                directory: Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")),
                ..Default::default()
            };
            module::build::build(&["hello"], &options)?.into_iter().next().ok_or("`hello` was not built")?.path
        }
    };
    let upstream = Server::start(&["serve-upstream"])?;
    let wants = |name: &str| arguments.only.as_deref().is_none_or(|only| only == name);
    let mut contestants = Vec::new();
    if wants("proxy") {
        let module = module.to_str().ok_or("the module's path is not UTF-8")?;
        let (upstream, workers) = (upstream.address.to_string(), arguments.workers.to_string());
        let server = Server::start(&["serve-proxy", module, &upstream, &workers])?;
        let (address, pid) = (server.address, server.child.id());
        contestants.push(Contestant::new("embedded", address, pid, Box::new(server)));
    }
    if wants("envoy") {
        let (address, pid, process) = start_envoy(&module, upstream.address, arguments.workers)?;
        contestants.push(Contestant::new("envoy", address, pid, process));
    }
    for contestant in &mut contestants {
        // Warm-up: connections, pools, code.
        contestant.measure(1, arguments.connections)?;
        contestant.rates.clear();
        contestant.memory_before = memory(contestant.pid)?;
    }
    let rounds = (arguments.seconds / (arguments.slice * contestants.len() as u64)).max(1);
    for round in 1..=rounds {
        for contestant in &mut contestants {
            contestant.measure(arguments.slice, arguments.connections)?;
        }
        let rates: Vec<String> =
            contestants.iter().filter_map(|one| Some(format!("{} {:.0}/s", one.name, one.rates.last()?))).collect();
        println!("slice {round} of {rounds}: {}", rates.join(", "));
    }
    println!(
        "\n{:<10} {:>12} {:>12} {:>8} {:>14} {:>14}",
        "", "median/s", "best/s", "errors", "KiB before", "KiB after"
    );
    let mut medians = Vec::new();
    for contestant in &mut contestants {
        contestant.rates.sort_by(f64::total_cmp);
        let median = contestant.rates.get(contestant.rates.len() / 2).copied().unwrap_or_default();
        let best = contestant.rates.last().copied().unwrap_or_default();
        let (before, after) = (contestant.memory_before, memory(contestant.pid)?);
        println!(
            "{:<10} {median:>12.0} {best:>12.0} {:>8} {before:>14} {after:>14}",
            contestant.name, contestant.errors
        );
        medians.push((median, best));
    }
    if let [(median, best), (other_median, other_best)] = medians.as_slice() {
        println!("\nratio (embedded / envoy): median {:.2}, best {:.2}", median / other_median, best / other_best);
    }
    let errors: u64 = contestants.iter().map(|contestant| contestant.errors).sum();
    if errors == 0 { Ok(()) } else { Err(format!("{errors} requests failed").into()) }
}

/// One of the two.
struct Contestant {
    name: &'static str,
    address: SocketAddr,
    pid: u32,
    rates: Vec<f64>,
    errors: u64,
    memory_before: u64,
    _process: Box<dyn std::any::Any>,
}

impl Contestant {
    fn new(name: &'static str, address: SocketAddr, pid: u32, process: Box<dyn std::any::Any>) -> Self {
        Self { name, address, pid, rates: Vec::new(), errors: 0, memory_before: 0, _process: process }
    }

    /// One slice of `wrk`.
    fn measure(&mut self, seconds: u64, connections: u32) -> Result<()> {
        let output = Command::new("wrk")
            .args(["-t1", "-d", &format!("{seconds}s"), "-c", &connections.to_string()])
            .arg(format!("http://{}/", self.address))
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let number = |line: &str| line.rsplit(' ').next().and_then(|number| number.parse::<f64>().ok());
        let rate = text.lines().find(|line| line.starts_with("Requests/sec")).and_then(number);
        let Some(rate) = rate else { return Err(format!("`wrk` says: {text}").into()) };
        self.rates.push(rate);
        for line in text.lines().map(str::trim) {
            if let Some(numbers) = line.strip_prefix("Socket errors: ") {
                let numbers = numbers.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse::<u64>().ok());
                self.errors += numbers.sum::<u64>();
            } else if line.starts_with("Non-2xx") {
                self.errors += number(line).map_or(1, |count| count as u64);
            }
        }
        Ok(())
    }
}

/// A process of this program that says on its first line where it listens.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(words: &[&str]) -> Result<Self> {
        let mut child =
            Command::new(env::current_exe()?).args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("the child has no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        Ok(Self { child, address: line.trim().parse().map_err(|_| format!("`{}` does not start", words.join(" ")))? })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its standard input closes, and so it ends.
        drop(self.child.stdin.take());
        self.child.wait().ok();
    }
}

/// Says where this process listens, and stays until whoever started it has ended.
fn serve_until_closed(address: SocketAddr) -> Result<()> {
    println!("{address}");
    std::io::stdout().flush()?;
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

/// A server that answers at once, and with little.
fn serve_upstream() -> Result<()> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::spawn(move || {
        runtime.block_on(async move {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            while let Ok((socket, _)) = listener.accept().await {
                socket.set_nodelay(true).ok();
                tokio::spawn(async move {
                    let answer = |_: Request<Incoming>| async {
                        Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from_static(
                            b"hello from upstream",
                        ))))
                    };
                    http1::Builder::new().serve_connection(TokioIo::new(socket), service_fn(answer)).await.ok();
                });
            }
        });
    });
    serve_until_closed(address)
}

fn serve_proxy(module: &str, upstream: &str, workers: &str) -> Result<()> {
    let mut settings = Settings::new(Cluster::new("upstream", [upstream.parse::<SocketAddr>()?]));
    settings.workers = workers.parse()?;
    let mut listener = Listener::new("listener", Routes::all("upstream"));
    listener.plugins.push(Plugin {
        name: "plugin".to_owned(),
        root_id: String::new(),
        vm_id: String::new(),
        configuration: Bytes::new(),
        vm_configuration: Bytes::new(),
        fail: FailPolicy::Closed,
        environment: Vec::new(),
        allow_on_headers_stop_iteration: false,
        code: Code::Wasm(Arc::new(wasm::Module::read(module)?)),
    });
    settings.listeners = vec![listener];
    let proxy = Proxy::start(settings)?;
    serve_until_closed(proxy.address())?;
    proxy.stop(Duration::from_secs(1));
    Ok(())
}

fn start_envoy(
    module: &Path,
    upstream: SocketAddr,
    workers: usize,
) -> Result<(SocketAddr, u32, Box<dyn std::any::Any>)> {
    let binary = binary::find()?;
    let mut bootstrap =
        config::Bootstrap::new(config::Cluster { name: "upstream".to_owned(), address: upstream, http2: false });
    bootstrap.plugins.push(config::Plugin {
        name: "plugin".to_owned(),
        root_id: String::new(),
        vm_id: String::new(),
        module: module.to_owned(),
        configuration: Bytes::new(),
        vm_configuration: Bytes::new(),
        environment: Vec::new(),
        fail: test::FailPolicy::Closed,
        allow_on_headers_stop_iteration: false,
    });
    let process = process::Process::start(&binary.path, &bootstrap, process::Options { workers, trace: false })?;
    Ok((process.listener(), process.id()?, Box::new(process)))
}

/// What a process has in memory, in KiB.
fn memory(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no memory is reported")?;
    Ok(line.split_whitespace().next().unwrap_or_default().parse()?)
}
