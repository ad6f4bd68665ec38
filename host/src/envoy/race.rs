//! A race between real Envoys: what one request costs each of them in CPU time.
//!
//! Every contestant is an Envoy with one worker that answers its requests itself, behind whatever filters it is given.
//! All are started first and then measured in turn, in many short slices, so that a machine that becomes slower does so
//! for all of them. A slice is the CPU time of all of Envoy's threads over the requests that it answered meanwhile; noise
//! only adds to it, so the least slice is what to compare, and the median says how noisy the machine is.
//!
//! ```no_run
//! use serde_json::json;
//! use wasmplugin_host::envoy::race::{Contestant, Race};
//!
//! let contestants = vec![
//!     Contestant::new("no filter"),
//!     Contestant::new("native").filter(json!({"name": "envoy.filters.http.cors", "typed_config": {
//!         "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors",
//!     }})),
//!     Contestant::new("ours").plugin("target/modules/hello.wasm", &json!({})).request([(":path", "/a")]),
//! ];
//! let standings = Race::default().run(contestants)?;
//! print!("{standings}");
//! let [baseline, native, ours] = standings.as_slice() else { return Ok(()) };
//! println!("ours / native: {:.2}", ours.over(baseline) / native.over(baseline));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What a contestant cannot say by [`Contestant`]'s methods (an upstream, clusters, a node's metadata) it says by
//! [`Contestant::bootstrap`]. Linux only: the time comes from `/proc`.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::binary;
use super::config::{Bootstrap, Cluster, Plugin};
use super::process::{Options, Process};
use super::tls;
use crate::test::{Headers, Tls};

mod load;

use load::Load;

/// Slices that are measured and forgotten, in which engines compile what is hot.
const WARM_UP: usize = 5;

/// How to race.
#[derive(Debug, Clone)]
pub struct Race {
    /// How many slices of each contestant count.
    pub rounds: usize,
    /// How long one slice is at least.
    pub slice: Duration,
    /// How many connections send requests; each sends the next one when it has its answer.
    pub connections: usize,
}

impl Default for Race {
    fn default() -> Self {
        // Many short slices: on a shared machine it is rare that one of them is undisturbed.
        Self { rounds: 80, slice: Duration::from_millis(40), connections: 8 }
    }
}

/// One Envoy with its filters, and what it is asked.
#[derive(Debug, Clone)]
pub struct Contestant {
    name: String,
    bootstrap: Bootstrap,
    request: Headers,
    status: u16,
    tls: Option<Tls>,
}

impl Contestant {
    /// An Envoy without any filter that is asked for `GET /`.
    pub fn new(name: impl Into<String>) -> Self {
        // Never called: the answer is Envoy's own.
        let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let mut bootstrap = Bootstrap::new(Cluster { name: "upstream".to_owned(), address: nobody, http2: false });
        bootstrap.answers_itself = true;
        let request = [(":method", "GET"), (":path", "/"), (":authority", "race.example.com")].into_iter().collect();
        Self { name: name.into(), bootstrap, request, status: 200, tls: None }
    }

    /// Adds one of Envoy's own HTTP filters, with its `name` and `typed_config`. It stands before all plugins.
    pub fn filter(mut self, filter: Value) -> Self {
        self.bootstrap.filters.push(filter);
        self
    }

    /// Adds a plugin with its configuration, behind those that are there.
    pub fn plugin(mut self, module: impl Into<PathBuf>, configuration: &Value) -> Self {
        let name = format!("plugin-{}", self.bootstrap.plugins.len());
        let configuration = configuration.to_string().into();
        self.bootstrap.plugins.push(Plugin { configuration, ..Plugin::new(name, module) });
        self
    }

    /// Changes the configuration that Envoy is started with.
    pub fn bootstrap(mut self, change: impl FnOnce(&mut Bootstrap)) -> Self {
        change(&mut self.bootstrap);
        self
    }

    /// Sets headers of the request, pseudo headers among them.
    pub fn request<'a>(mut self, headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        for (name, value) in headers {
            self.request.set(name, value.to_owned());
        }
        self
    }

    /// Has the requests come over TLS, on connections that are made once; both ends' names are those given here.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The status that every answer must have; 200 if nothing is said.
    pub fn expects(mut self, status: u16) -> Self {
        self.status = status;
        self
    }
}

/// A race that could not be run to its end.
#[derive(Debug, thiserror::Error)]
#[error("{contestant}: {reason}")]
pub struct RaceError {
    contestant: String,
    reason: String,
}

/// What one contestant's requests cost.
#[derive(Debug, Clone)]
pub struct Standing {
    name: String,
    /// CPU time per request of each slice, the least first.
    slices: Vec<Duration>,
}

impl Standing {
    /// The contestant's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The CPU time per request in the best slice.
    pub fn least(&self) -> Duration {
        self.slices.first().copied().unwrap_or_default()
    }

    /// The CPU time per request in the middle of all slices.
    pub fn median(&self) -> Duration {
        self.slices.get(self.slices.len() / 2).copied().unwrap_or_default()
    }

    /// How many microseconds a request costs more than at another, best slice against best slice; not less than a tenth
    /// of one, so that ratios stay finite.
    pub fn over(&self, baseline: &Self) -> f64 {
        let more = self.least().as_secs_f64() - baseline.least().as_secs_f64();
        (more * 1e6).max(0.1)
    }
}

/// The outcome of a race, in the order of its contestants; displays itself as a table.
#[derive(Debug, Clone)]
pub struct Standings(Vec<Standing>);

impl Standings {
    /// All of them; the first is what the table compares with.
    pub fn as_slice(&self) -> &[Standing] {
        &self.0
    }

    /// The one of this name.
    pub fn of(&self, name: &str) -> Option<&Standing> {
        self.0.iter().find(|standing| standing.name == name)
    }
}

impl fmt::Display for Standings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.0.first() else { return Ok(()) };
        writeln!(f, "{:<40} {:>10} {:>10} {:>14}", "CPU per request, us", "least", "median", "over the first")?;
        for standing in &self.0 {
            let us = |time: Duration| time.as_secs_f64() * 1e6;
            let over = us(standing.least()) - us(first.least());
            let (least, median) = (us(standing.least()), us(standing.median()));
            writeln!(f, "{:<40} {least:>10.1} {median:>10.1} {over:>+14.1}", standing.name)?;
        }
        Ok(())
    }
}

impl Race {
    /// Starts all contestants and measures them in turn. An answer with another status than the expected one ends it.
    pub fn run(&self, contestants: Vec<Contestant>) -> Result<Standings, RaceError> {
        let mut runners = contestants.into_iter().map(|one| self.start(one)).collect::<Result<Vec<_>, _>>()?;
        for round in 0..WARM_UP + self.rounds {
            for runner in &mut runners {
                let cost = runner.slice(self.slice).map_err(|reason| runner.failed(reason))?;
                if round >= WARM_UP {
                    runner.slices.push(cost);
                }
            }
        }
        let standing = |mut runner: Runner| {
            runner.slices.sort();
            Standing { name: runner.name, slices: runner.slices }
        };
        Ok(Standings(runners.into_iter().map(standing).collect()))
    }

    fn start(&self, contestant: Contestant) -> Result<Runner, RaceError> {
        let Contestant { name, mut bootstrap, request, status, tls } = contestant;
        let mut start = || {
            bootstrap.tls = tls.as_ref().map(tls::listener).transpose()?;
            let client = tls.as_ref().map(tls::Client::new).transpose()?;
            let binary = binary::find().map_err(|error| error.to_string())?;
            let process = Process::start(&binary.path, &bootstrap, Options { workers: 1, trace: false });
            let process = process.map_err(|error| error.to_string())?;
            let load = Load::connect(process.listener(), client.as_ref(), &request, status, self.connections)?;
            Ok((process, load))
        };
        match start() {
            Ok((process, load)) => Ok(Runner { name, process, load, slices: Vec::new() }),
            Err(reason) => Err(RaceError { contestant: name, reason }),
        }
    }
}

/// A contestant that runs.
struct Runner {
    name: String,
    process: Process,
    load: Load,
    slices: Vec<Duration>,
}

impl Runner {
    /// The CPU time per request over a time.
    fn slice(&mut self, time: Duration) -> Result<Duration, String> {
        let used = |process: &Process| process.cpu_time().map_err(|error| error.to_string());
        let before = used(&self.process)?;
        let requests = self.load.run(time)?;
        let after = used(&self.process)?;
        Ok(after.saturating_sub(before) / requests.max(1))
    }

    fn failed(&self, reason: String) -> RaceError {
        RaceError { contestant: self.name.clone(), reason }
    }
}
