//! What a proxy is to do: where it listens, through which plugins requests go, and where they end.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use wasmplugin_host::limits::Limits;
use wasmplugin_host::surroundings::Node;
use wasmplugin_host::worker::Plugin;

use crate::error::StartError;

/// Everything that a proxy needs to know before it starts.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where clients connect; port 0 takes a free one.
    pub listener: SocketAddr,
    /// Where the admin port listens, if there is one; port 0 takes a free one.
    pub admin: Option<SocketAddr>,
    /// The chain, in the order in which a request meets it.
    pub plugins: Vec<Plugin>,
    /// The servers that requests and callouts can go to.
    pub clusters: Vec<Cluster>,
    /// The cluster that requests go to.
    pub route: String,
    /// Threads that serve requests, each with VMs of its own.
    pub workers: usize,
    /// How much of a body a stopped filter may collect; beyond it a request is answered with 413.
    pub buffer_limit: usize,
    /// How large a callout's answer may be; beyond it the callout fails.
    pub callout_limit: usize,
    /// What plugins may use.
    pub limits: Limits,
    /// Client connections at the same time; further ones are closed at once.
    pub max_connections: usize,
    /// How large the headers of a request may be; beyond it the answer is 431.
    pub max_header_size: usize,
    /// When to give up.
    pub timeouts: Timeouts,
    /// The quietest lines of plugins that are logged: 0 is trace, 2 is info, 6 is off.
    pub log_level: u32,
    /// The proxy's own identity, as plugins read it.
    pub node: Node,
    /// The listener's name in the statistics.
    pub stat_prefix: String,
}

/// When the proxy gives up; the defaults are Envoy's where it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// From the first byte of a request's headers to their last.
    pub request_headers: Duration,
    /// From the end of a request to the end of its response; `None` for never.
    pub route: Option<Duration>,
    /// Without any byte in either direction of an exchange. It also bounds how long an exchange hangs
    /// that waits for a plugin whose VM has failed.
    pub stream_idle: Duration,
    /// Without any exchange on a connection.
    pub connection_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            request_headers: Duration::from_secs(60),
            route: Some(Duration::from_secs(15)),
            stream_idle: Duration::from_secs(300),
            connection_idle: Duration::from_secs(3600),
        }
    }
}

impl Timeouts {
    /// How often to look for what has taken too long: often enough to be at most a quarter late.
    pub(crate) fn sweep(&self) -> Duration {
        let shortest = [Some(self.request_headers), self.route, Some(self.stream_idle), Some(self.connection_idle)];
        let shortest = shortest.into_iter().flatten().min().unwrap_or(Duration::from_secs(1));
        (shortest / 4).clamp(Duration::from_millis(10), Duration::from_millis(500))
    }
}

/// Servers behind one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// How routes and plugins name it.
    pub name: String,
    /// Its servers, asked in turn.
    pub endpoints: Vec<SocketAddr>,
    /// Whether the servers speak HTTP/2, without asking first.
    pub http2: bool,
    /// When to give up on a new connection.
    pub connect_timeout: Duration,
}

impl Cluster {
    /// A cluster that speaks HTTP/1.1.
    #[must_use]
    pub fn new(name: impl Into<String>, endpoints: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self {
            name: name.into(),
            endpoints: endpoints.into_iter().collect(),
            http2: false,
            connect_timeout: Duration::from_secs(5),
        }
    }

    /// The same with HTTP/2.
    #[must_use]
    pub fn http2(mut self) -> Self {
        self.http2 = true;
        self
    }
}

impl Settings {
    /// A proxy on free ports of this machine that hands requests to one cluster and has no plugins.
    #[must_use]
    pub fn new(upstream: Cluster) -> Self {
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            listener: free,
            admin: Some(free),
            plugins: Vec::new(),
            route: upstream.name.clone(),
            clusters: vec![upstream],
            workers: 1,
            buffer_limit: 1 << 20,
            callout_limit: 16 << 20,
            limits: Limits::default(),
            max_connections: 100_000,
            max_header_size: 60 * 1024,
            timeouts: Timeouts::default(),
            log_level: 2,
            node: Node::default(),
            stat_prefix: "ingress".to_owned(),
        }
    }

    /// Finds what cannot work.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        let mut names = HashSet::new();
        for cluster in &self.clusters {
            if !names.insert(cluster.name.as_str()) {
                return Err(StartError::settings(format!("there are two clusters named `{}`", cluster.name)));
            }
        }
        if !names.contains(self.route.as_str()) {
            let mut known: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            known.sort_unstable();
            let known = if known.is_empty() { "there are none".to_owned() } else { known.join(", ") };
            return Err(StartError::settings(format!(
                "requests are to go to cluster `{}`, which does not exist; known clusters: {known}",
                self.route
            )));
        }
        if self.workers == 0 {
            return Err(StartError::settings("at least one worker is needed, but there are to be `0`".to_owned()));
        }
        Ok(())
    }
}
