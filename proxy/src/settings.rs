//! What a proxy is to do: where it listens, through which plugins requests go, and where they end.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use wasmplugin_host::prometheus::StatsTag;
use wasmplugin_host::recording::Secrets;
use wasmplugin_host::surroundings::{self, Node};
use wasmplugin_host::worker::Plugin;

use crate::error::StartError;
use crate::path::PathNormalization;
use crate::routes::Routes;
use crate::tls::{ClientTls, ServerTls};

/// Everything that a proxy needs to know before it starts.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where clients come in, each under a name of its own.
    pub listeners: Vec<Listener>,
    /// Where the admin port listens, if there is one; port 0 takes a free one.
    pub admin: Option<SocketAddr>,
    /// The servers that requests and callouts can go to.
    pub clusters: Vec<Cluster>,
    /// Plugins that run once per proxy, apart from all traffic.
    pub singletons: Vec<Plugin>,
    /// What happens where a plugin refuses to start.
    pub refused: Refused,
    /// Threads that serve requests, each with VMs of its own.
    pub workers: usize,
    /// How much of a body a stopped filter may collect; beyond it a request is answered with 413.
    pub buffer_limit: usize,
    /// How large a callout's answer may be; beyond it the callout fails.
    pub callout_limit: usize,
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
    /// What becomes a label of a plugin's metric.
    pub stats_tags: Vec<StatsTag>,
    /// What recordings must not contain; they are switched on at the admin port, or by `Proxy::services`.
    pub secrets: Secrets,
}

/// What happens where a plugin refuses to start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Refused {
    /// The proxy does not start: Envoy with plugins in its bootstrap.
    #[default]
    Stops,
    /// The plugin's place stays as it was, and answers with 500 if it was empty: Envoy with plugins that are discovered,
    /// as Istio sends them.
    Stays,
}

/// A place where clients come in.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Its name; no two listeners have the same.
    pub name: String,
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// Its name in the statistics.
    pub stat_prefix: String,
    /// What plugins learn about it.
    pub facts: surroundings::Listener,
    /// Whether clients have to speak TLS.
    pub tls: Option<ServerTls>,
    /// What is done to the paths of requests before the chain.
    pub path_normalization: PathNormalization,
    /// The chain, in the order in which a request meets it.
    pub plugins: Vec<Plugin>,
    /// What is behind the chain.
    pub serves: Serves,
}

/// What is behind a listener's chain.
#[derive(Debug, Clone, PartialEq)]
pub enum Serves {
    /// HTTP requests, which go where the routes say.
    Http(Routes),
    /// Bytes for one cluster; the plugins are network filters.
    Tcp {
        /// The cluster's name.
        cluster: String,
    },
}

/// When the proxy gives up; the defaults are Envoy's where it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// From the first byte of a request's headers to their last, and from a connection's start to the end of its TLS
    /// handshake.
    pub request_headers: Duration,
    /// From the end of a request to the end of its response; `None` for never.
    pub route: Option<Duration>,
    /// Without any byte in either direction of an exchange. It also bounds how long an exchange hangs
    /// that waits for a plugin whose VM has failed.
    pub stream_idle: Duration,
    /// Without any exchange on a connection, and without any byte on one of TCP.
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
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// How routes and plugins name it.
    pub name: String,
    /// Its servers, asked in turn.
    pub endpoints: Vec<SocketAddr>,
    /// Whether the servers speak HTTP/2, without asking first.
    pub http2: bool,
    /// When to give up on a new connection.
    pub connect_timeout: Duration,
    /// Whether the proxy speaks TLS to them.
    pub tls: Option<ClientTls>,
    /// What plugins learn about it.
    pub metadata: surroundings::Metadata,
    /// What plugins learn about its servers.
    pub host_metadata: surroundings::Metadata,
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
            tls: None,
            metadata: surroundings::Metadata::default(),
            host_metadata: surroundings::Metadata::default(),
        }
    }

    /// The same with HTTP/2.
    #[must_use]
    pub fn http2(mut self) -> Self {
        self.http2 = true;
        self
    }
}

impl Listener {
    /// A listener for HTTP on a free port of this machine, without plugins.
    #[must_use]
    pub fn new(name: impl Into<String>, routes: Routes) -> Self {
        Self {
            name: name.into(),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            stat_prefix: "ingress".to_owned(),
            facts: surroundings::Listener::default(),
            tls: None,
            path_normalization: PathNormalization::default(),
            plugins: Vec::new(),
            serves: Serves::Http(routes),
        }
    }

    /// The clusters that it sends clients to.
    fn clusters(&self) -> Vec<&str> {
        match &self.serves {
            Serves::Http(routes) => routes.clusters().collect(),
            Serves::Tcp { cluster } => vec![cluster],
        }
    }

    /// Whether a chain for one would do for the other: everything but the sockets is equal.
    pub(crate) fn same_chain(&self, other: &Self) -> bool {
        self.serves == other.serves
            && self.facts == other.facts
            && self.path_normalization == other.path_normalization
            && self.plugins.len() == other.plugins.len()
            && self.plugins.iter().zip(&other.plugins).all(|(one, other)| one.same(other))
    }
}

impl Settings {
    /// A proxy on free ports of this machine that hands requests to one cluster and has no plugins.
    #[must_use]
    pub fn new(upstream: Cluster) -> Self {
        Self {
            listeners: vec![Listener::new("listener", Routes::all(upstream.name.clone()))],
            admin: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            clusters: vec![upstream],
            singletons: Vec::new(),
            refused: Refused::default(),
            workers: 1,
            buffer_limit: 1 << 20,
            callout_limit: 16 << 20,
            max_connections: 100_000,
            max_header_size: 60 * 1024,
            timeouts: Timeouts::default(),
            log_level: 2,
            node: Node::default(),
            stats_tags: Vec::new(),
            secrets: Secrets::default(),
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
        let mut listeners = HashSet::new();
        for listener in &self.listeners {
            if !listeners.insert(listener.name.as_str()) {
                return Err(StartError::settings(format!("there are two listeners named `{}`", listener.name)));
            }
            if let Some(missing) = listener.clusters().into_iter().find(|cluster| !names.contains(cluster)) {
                return Err(StartError::settings(format!(
                    "requests are to go to cluster `{missing}`, which does not exist; known clusters: {}",
                    listed(names)
                )));
            }
        }
        if listeners.is_empty() {
            return Err(StartError::settings("at least one listener is needed, but there are none".to_owned()));
        }
        if self.workers == 0 {
            return Err(StartError::settings("at least one worker is needed, but there are to be `0`".to_owned()));
        }
        Ok(())
    }
}

fn listed(names: HashSet<&str>) -> String {
    let mut names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    names.sort_unstable();
    if names.is_empty() { "there are none".to_owned() } else { names.join(", ") }
}
