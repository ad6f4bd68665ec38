//! One proxy that is measured, in a process of its own.

use std::any::Any;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use wasmplugin_host::envoy::process::cpu_time;

use super::load::{Load, Slice};
use crate::client;
use crate::engine::{Chain, Engine, Running, envoy_folder};

/// How long the admin port may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often its counters are asked for until they stand still, and how long between.
const SETTLING: usize = 10;
const MOMENT: Duration = Duration::from_millis(600);

/// What the embedded proxy has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counted {
    host_calls: u64,
    allocations: u64,
    memory: u64,
    requests: u64,
}

/// What the guests of the embedded proxy did, over all slices that count.
#[derive(Debug, Clone, Copy)]
pub(super) struct GuestCost {
    /// Per request.
    pub(super) host_calls: f64,
    /// Blocks per request that host calls took from the guests' allocators, to hand over bytes.
    pub(super) allocations: f64,
    /// Bytes of linear memory at the end.
    pub(super) memory: u64,
    /// By how many bytes that grew meanwhile.
    pub(super) growth: u64,
}

/// One proxy that is measured.
pub(super) struct Contestant {
    pub(super) name: String,
    address: SocketAddr,
    pid: u32,
    /// Where the embedded proxy tells what its guests do; Envoy does not.
    admin: Option<SocketAddr>,
    pub(super) slices: Vec<Slice>,
    /// CPU time per request of each slice.
    pub(super) costs: Vec<Duration>,
    /// What was counted when measuring began.
    before: Option<Counted>,
    /// Ends with the contestant.
    _process: Box<dyn Any>,
}

/// This program once more, as an embedded proxy.
struct Server(Child);

impl Contestant {
    /// The embedded proxy, in a process of its own so that its time and memory can be told from ours. With `restless`, its
    /// chain changes all the time.
    pub(super) fn embedded(what: &str, chain: &Chain, restless: bool) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe().context("this program does not find itself")?);
        command.args(["bench", "--serve", &chain.upstream.to_string()]).args(restless.then_some("--reload"));
        for plugin in &chain.plugins {
            command.arg(&plugin.module).arg(format!("--config={}", plugin.configuration));
        }
        command.args(chain.clusters.iter().map(|(name, address)| format!("--cluster={name}={address}")));
        let mut server = Server(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
        let output = server.0.stdout.take().context("the proxy has no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let (address, admin) = line.trim().split_once(' ').context("the embedded proxy does not start")?;
        let (address, admin) = (address.parse()?, admin.parse()?);
        let pid = server.0.id();
        Ok(Self::new(format!("{}, {what}", Engine::Embedded.name()), address, pid, Some(admin), Box::new(server)))
    }

    /// A real Envoy.
    pub(super) fn envoy(what: &str, chain: &Chain) -> Result<Self> {
        let running = Engine::Envoy.prepare(&envoy_folder())?.start(chain)?;
        let Running::Envoy(process) = &running else { anyhow::bail!("no Envoy was started") };
        let (address, pid) = (process.listener(), process.id()?);
        Ok(Self::new(format!("{}, {what}", Engine::Envoy.name()), address, pid, None, Box::new(running)))
    }

    fn new(name: String, address: SocketAddr, pid: u32, admin: Option<SocketAddr>, process: Box<dyn Any>) -> Self {
        let (slices, costs) = (Vec::new(), Vec::new());
        Self { name, address, pid, admin, slices, costs, before: None, _process: process }
    }

    /// A slice that does not count.
    pub(super) fn warm_up(&mut self, load: &Load) -> Result<()> {
        load.run(self.address).with_context(|| self.name.clone())?;
        self.before = self.settled()?;
        Ok(())
    }

    /// A slice that counts.
    pub(super) fn measure(&mut self, load: &Load) -> Result<()> {
        let before = cpu_time(self.pid)?;
        let slice = load.run(self.address).with_context(|| self.name.clone())?;
        let used = cpu_time(self.pid)?.saturating_sub(before);
        self.costs.push(used / u32::try_from(slice.requests.max(1)).unwrap_or(u32::MAX));
        self.slices.push(slice);
        Ok(())
    }

    /// What its guests did, as far as the proxy tells it.
    pub(super) fn guest_cost(&self) -> Result<Option<GuestCost>> {
        let Some((before, now)) = self.before.zip(self.settled()?) else { return Ok(None) };
        let requests = now.requests.saturating_sub(before.requests).max(1) as f64;
        let per_request = |count: fn(&Counted) -> u64| count(&now).saturating_sub(count(&before)) as f64 / requests;
        Ok(Some(GuestCost {
            host_calls: per_request(|counted| counted.host_calls),
            allocations: per_request(|counted| counted.allocations),
            memory: now.memory,
            growth: now.memory.saturating_sub(before.memory),
        }))
    }

    /// The counters once nothing is under way any more and all of it is counted, which takes the proxy a moment.
    fn settled(&self) -> Result<Option<Counted>> {
        let Some(admin) = self.admin else { return Ok(None) };
        let mut seen = Counted::ask(admin)?;
        for _ in 0..SETTLING {
            thread::sleep(MOMENT);
            let now = Counted::ask(admin)?;
            if std::mem::replace(&mut seen, now) == now {
                break;
            }
        }
        Ok(Some(seen))
    }

    /// Where clients connect.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Files and sockets that the process has open.
    pub(super) fn descriptors(&self) -> Result<usize> {
        let folder = fs::read_dir(format!("/proc/{}/fd", self.pid)).context("the kernel does not tell open files")?;
        Ok(folder.count())
    }

    /// What the process has in memory, in KiB.
    pub(super) fn memory(&self) -> Result<u64> {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.pid)).context("the kernel does not tell memory")?;
        let line =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the kernel does not tell memory")?;
        Ok(line.split_whitespace().next().unwrap_or_default().parse()?)
    }
}

impl Counted {
    fn ask(admin: SocketAddr) -> Result<Self> {
        let request = client::Request { method: "GET", path: "/stats/prometheus", ..client::Request::default() };
        let page = client::send(admin, &request, PATIENCE)?.text();
        let of = |name: &str| {
            let found = page.lines().find_map(|line| line.strip_prefix(name)?.rsplit_once(' ')?.1.parse().ok());
            found.with_context(|| format!("the proxy does not tell `{name}`"))
        };
        Ok(Self {
            host_calls: of("wasmplugin_host_calls_total")?,
            allocations: of("wasmplugin_guest_allocations_total")?,
            memory: of("wasmplugin_guest_memory_bytes")?,
            requests: of("envoy_http_downstream_rq_total")?,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its input closes, and so it ends.
        drop(self.0.stdin.take());
        let _ended = self.0.wait();
    }
}
