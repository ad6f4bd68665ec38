//! Drives a real Envoy as the facade asks.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::backend::Backend;
use super::binary;
use super::client::{self, Conversation};
use super::codec::Codec;
use super::config::{self, Bootstrap, STATS};
use super::files;
use super::http1::Http1;
use super::http2::Http2;
use super::process::{Options, Process};
use super::stream::Stream;
use super::{tcp, tls};
use crate::prometheus::metric_name;
use crate::test::{
    Cluster, Code, Driver, Failure, Headers, Leaks, LogLine, PluginSetup, Response, Samples, Setup, StartError,
    TcpRead, TcpWait, TraceLine,
};

/// An answer that was due is on its way for no longer than this.
const DUE: Duration = Duration::from_millis(100);
/// The log is complete when nothing came for so long, and Envoy has nothing to do.
const QUIET: Duration = Duration::from_millis(30);
/// A client that left, or a connection that was cut, is noticed within this time.
const CLOSING: Duration = Duration::from_secs(5);
/// Between two looks at a counter that is about to move.
const POLL: Duration = Duration::from_millis(2);

/// Two and a half of the intervals in which Envoy merges what its workers have sampled.
const FLUSHED: Duration = Duration::from_millis(250);

/// Envoy is declared before the servers so that it ends before they do.
struct Engine {
    process: Process,
    conversations: HashMap<u64, Conversation>,
    clients: HashMap<u64, tcp::Client>,
    /// How many TCP connections this driver has opened.
    connected: u64,
    upstream: String,
    clusters: Vec<String>,
    http2: bool,
    client: Option<SocketAddr>,
    tls: Option<tls::Client>,
    patience: Duration,
    /// Plugins run on the main thread, so that its log counts.
    main_thread: bool,
    _servers: Vec<Backend>,
    tcp_server: Option<tcp::Server>,
}

/// Starts an Envoy, the servers of its clusters, and waits until it is ready.
pub(crate) fn start(setup: Setup) -> Result<Box<dyn Driver>, StartError> {
    if setup.faults.is_some() {
        return Err(refusal("a real Envoy makes no mistakes on purpose: `faults` needs an engine in memory"));
    }
    if setup.tcp.is_some() && !setup.envoy_filters.is_empty() {
        return Err(refusal("Envoy's own HTTP filters see no TCP connection: leave out `envoy_filter` or `tcp`"));
    }
    let tls = setup.surroundings.tls.as_ref().map(tls::Client::new).transpose().map_err(refusal)?;
    let binary = binary::find().map_err(|error| refusal(error.to_string()))?;
    if let Some(warning) = binary.warning() {
        eprintln!("{warning}");
    }

    files::allow_many();
    let mut servers = Vec::new();
    let mut serve = |cluster: &Cluster| {
        let server = Backend::start(cluster.clone())
            .map_err(|error| refusal(format!("no server for the cluster `{}`: {error}", cluster.name())))?;
        let address = server.address();
        servers.push(server);
        Ok(config::Cluster { name: cluster.name().to_owned(), address, http2: cluster.speaks_grpc() })
    };
    let tcp_server = setup.tcp.map(tcp::Server::start).transpose();
    let tcp_server = tcp_server.map_err(|error| refusal(format!("no server for TCP: {error}")))?;
    let elsewhere = setup.upstream_at.or(tcp_server.as_ref().map(tcp::Server::address));
    let upstream = match elsewhere {
        Some(address) => {
            let http2 = setup.http2 && setup.upstream_at.is_some();
            config::Cluster { name: setup.upstream.name().to_owned(), address, http2 }
        }
        None => serve(&setup.upstream)?,
    };
    let mut bootstrap = Bootstrap::new(upstream);
    bootstrap.tls = setup.surroundings.tls.as_ref().map(tls::listener).transpose().map_err(refusal)?;
    bootstrap.upstream_tls = setup.surroundings.upstream_tls.as_ref().map(tls::cluster).transpose().map_err(refusal)?;
    bootstrap.tcp = tcp_server.is_some();
    bootstrap.clusters = setup.clusters.iter().map(serve).collect::<Result<_, _>>()?;
    bootstrap.plugins = setup.plugins.into_iter().map(plugin).collect::<Result<_, _>>()?;
    bootstrap.singletons = setup.singletons.into_iter().map(plugin).collect::<Result<_, _>>()?;
    bootstrap.buffer_limit = setup.buffer_limit;
    bootstrap.filters = setup.envoy_filters;
    bootstrap.stats_tags = setup.stats_tags;
    let client = setup.surroundings.client;
    bootstrap.surroundings = setup.surroundings;

    let options = Options { workers: setup.workers, trace: setup.trace };
    let process = Process::start(&binary.path, &bootstrap, options)?;
    Ok(Box::new(Engine {
        process,
        conversations: HashMap::new(),
        clients: HashMap::new(),
        connected: 0,
        upstream: setup.upstream.name().to_owned(),
        clusters: setup.clusters.iter().map(|cluster| cluster.name().to_owned()).collect(),
        http2: setup.http2,
        client,
        tls,
        patience: setup.patience,
        main_thread: !bootstrap.singletons.is_empty(),
        _servers: servers,
        tcp_server,
    }))
}

fn plugin(setup: PluginSetup) -> Result<config::Plugin, StartError> {
    #[cfg_attr(
        not(feature = "native"),
        expect(
            clippy::infallible_destructuring_match,
            reason = "with the feature `native` there are two kinds of code"
        )
    )]
    let module = match setup.code {
        Code::Wasm(module) => module,
        #[cfg(feature = "native")]
        Code::Native(_) => {
            return Err(refusal(format!("the plugin `{}` has no module, which a real Envoy needs", setup.name)));
        }
    };
    // Envoy would say the same, but not as clearly.
    let module =
        module.canonicalize().map_err(|error| refusal(format!("no module `{}`: {error}", module.display())))?;
    Ok(config::Plugin {
        name: setup.name,
        root_id: setup.root_id,
        vm_id: setup.vm_id,
        module,
        configuration: setup.configuration,
        vm_configuration: setup.vm_configuration,
        environment: Vec::new(),
        capabilities: setup.capabilities,
        fail: setup.fail,
        allow_on_headers_stop_iteration: setup.allow_on_headers_stop_iteration,
    })
}

fn refusal(message: impl Into<String>) -> StartError {
    StartError::new(message, Vec::new())
}

impl Engine {
    fn conversation(&mut self, number: u64) -> Result<&mut Conversation, Failure> {
        self.conversations.get_mut(&number).ok_or_else(unknown)
    }

    /// What Envoy itself counts as under way; how many contexts a module holds it does not tell.
    fn open_requests(&self) -> Leaks {
        let active = |name: String| self.process.stat(&name).and_then(|count| count.try_into().ok()).unwrap_or(0);
        Leaks {
            exchanges: active(match self.tcp_server {
                // The `tcp_proxy` does not count what is open; a connection that is has one to the upstream.
                Some(_) => format!("cluster.{}.upstream_cx_active", self.upstream),
                None => format!("http.{STATS}.downstream_rq_active"),
            }),
            callouts: self.clusters.iter().map(|name| active(format!("cluster.{name}.upstream_rq_active"))).sum(),
            ..Leaks::default()
        }
    }

    /// Waits until the proxy has taken in every connection so far. Where a client finishes before Envoy has read the line
    /// of the PROXY protocol, Envoy drops the connection with all that it has sent.
    fn await_acceptance(&self) {
        let deadline = Instant::now() + self.patience;
        let accepted = || self.process.stat(&format!("tcp.{STATS}.downstream_cx_total")).unwrap_or_default();
        while accepted() < self.connected && Instant::now() < deadline && !self.process.log().is_closed() {
            thread::sleep(POLL);
        }
    }

    /// Whether something may still be due: on a busy machine Envoy waits for its turn.
    fn is_busy_before(&self, deadline: Instant) -> bool {
        self.process.is_busy() && Instant::now() < deadline
    }

    /// A cut exchange looks different once it is known that there is no Envoy any more.
    fn judge(&self, failure: Failure) -> Failure {
        if matches!(failure, Failure::Hung(_)) {
            return failure;
        }
        if self.process.is_running() {
            return failure;
        }
        Failure::Refused(format!("envoy has ended by itself: {}", self.process.last_words()))
    }
}

impl Driver for Engine {
    fn address(&self) -> Option<SocketAddr> {
        Some(self.process.listener())
    }

    fn open(&mut self, number: u64, headers: Headers, end: bool) -> Result<(), Failure> {
        let codec: Box<dyn Codec> = if self.http2 { Box::new(Http2::new()) } else { Box::new(Http1::new(&headers)) };
        let preface = self.client.map(|client| proxy_line(client, self.process.listener())).unwrap_or_default();
        let stream = Stream::open(self.process.listener(), preface.as_bytes(), self.tls.as_ref(), self.patience)
            .map_err(|error| self.judge(client::refused(error)))?;
        self.conversations.insert(number, Conversation::open(stream, codec, &headers, end));
        Ok(())
    }

    fn data(&mut self, number: u64, data: Bytes, end: bool) -> Result<(), Failure> {
        self.conversation(number)?.data(&data, end);
        Ok(())
    }

    fn trailers(&mut self, number: u64, trailers: Headers) -> Result<(), Failure> {
        self.conversation(number)?.end(&trailers);
        Ok(())
    }

    fn abort(&mut self, number: u64) {
        if let Some(conversation) = self.conversations.remove(&number) {
            conversation.abort();
        }
    }

    fn finish(&mut self, number: u64) -> Result<Response, Failure> {
        let mut conversation = self.conversations.remove(&number).ok_or_else(unknown)?;
        conversation.end(&Headers::new());
        conversation.poll(self.patience);
        conversation.finish(self.patience).map_err(|failure| self.judge(failure))
    }

    fn connect(&mut self, number: u64, source: SocketAddr) -> Result<(), Failure> {
        if self.tcp_server.is_none() {
            return Err(Failure::Refused("this proxy is for HTTP: build it with `.tcp(..)`".to_owned()));
        }
        let client = tcp::Client::open(self.process.listener(), source, self.tls.as_ref(), self.patience)?;
        self.clients.insert(number, client);
        self.connected += 1;
        self.await_acceptance();
        Ok(())
    }

    fn tcp_send(&mut self, number: u64, data: Bytes, end: bool) -> Result<(), Failure> {
        self.clients.get_mut(&number).ok_or_else(unknown)?.send(&data, end);
        Ok(())
    }

    fn tcp_reset(&mut self, number: u64) {
        if let Some(client) = self.clients.remove(&number) {
            client.reset();
        }
    }

    fn tcp_read(&mut self, number: u64, until: TcpWait) -> Result<TcpRead, Failure> {
        let deadline = Instant::now() + self.patience;
        loop {
            let client = self.clients.get_mut(&number).ok_or_else(unknown)?;
            let read = client.read(until, DUE, self.patience).map_err(|failure| self.judge(failure))?;
            let nothing = read.bytes.is_empty() && read.ending.is_none();
            if !nothing || !self.is_busy_before(deadline) {
                return Ok(read);
            }
        }
    }

    fn waiting(&mut self, number: u64) -> bool {
        let deadline = Instant::now() + self.patience;
        while self.conversations.get_mut(&number).is_some_and(|conversation| !conversation.poll(DUE)) {
            if !self.is_busy_before(deadline) {
                return true;
            }
        }
        false
    }

    fn advance(&mut self, time: Duration) {
        thread::sleep(time);
        // On a busy machine Envoy may not have had its turn by then.
        let deadline = Instant::now() + self.patience;
        while self.is_busy_before(deadline) {
            thread::sleep(POLL);
        }
    }

    fn logs(&mut self) -> Vec<LogLine> {
        self.process.settle(QUIET);
        self.process.log().plugin_lines(self.main_thread)
    }

    fn metric(&mut self, name: &str) -> Option<u64> {
        // What a plugin counts at the end of an exchange comes just after the client saw that end.
        self.process.settle(QUIET);
        self.process.stat(&format!("wasmcustom.{name}"))
    }

    fn histogram(&mut self, name: &str) -> Option<Samples> {
        let text = self.prometheus();
        let name = metric_name(name);
        let value = |suffix: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}_{suffix}{{}} ")))?;
            line.parse::<f64>().ok()
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count is a whole number")]
        Some(Samples { count: value("count")? as u64, sum: value("sum")? })
    }

    fn prometheus(&mut self) -> String {
        self.process.settle(QUIET);
        // Envoy shows a histogram's samples after the next flush but one: they are merged in the background.
        thread::sleep(FLUSHED);
        self.process.prometheus()
    }

    fn leaks(&mut self) -> Leaks {
        let deadline = Instant::now() + CLOSING;
        loop {
            let leaks = self.open_requests();
            if leaks.is_empty() || Instant::now() > deadline {
                return leaks;
            }
            thread::sleep(QUIET);
        }
    }

    fn trace(&mut self) -> Vec<TraceLine> {
        self.process.settle(QUIET);
        self.process.log().calls()
    }
}

/// How a client says through the PROXY protocol who it is; both addresses have to be of one family.
fn proxy_line(client: SocketAddr, proxy: SocketAddr) -> String {
    let (family, to) = match client {
        SocketAddr::V4(_) => ("TCP4", "127.0.0.1"),
        SocketAddr::V6(_) => ("TCP6", "::1"),
    };
    format!("PROXY {family} {} {to} {} {}\r\n", client.ip(), client.port(), proxy.port())
}

fn unknown() -> Failure {
    Failure::Refused("this exchange is over, or of another proxy".to_owned())
}
