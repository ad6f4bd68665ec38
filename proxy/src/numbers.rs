//! What the proxy counts, under Envoy's names, added up over all workers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::board::{Board, Phase};
use crate::stats::{ClusterStats, Count, ListenerStats, WorkerStats};

/// One number.
#[derive(Debug, Clone)]
pub(crate) struct Number {
    pub(crate) scope: Scope,
    /// Without the scope's part of it.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) labels: Vec<(&'static str, String)>,
    pub(crate) value: u64,
}

/// What a number is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// The listeners with that prefix.
    Http(String),
    /// That cluster.
    Cluster(String),
    /// All listeners.
    Listener,
    /// The proxy.
    Server,
    /// Something that Envoy does not count.
    Own,
}

/// How a number moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

impl Scope {
    /// How names of this scope begin where Prometheus reads them.
    pub(crate) const fn family(&self) -> &'static str {
        match self {
            Self::Http(_) => "envoy_http_",
            Self::Cluster(_) => "envoy_cluster_",
            Self::Listener => "envoy_listener_",
            Self::Server => "envoy_",
            Self::Own => "wasmplugin_",
        }
    }

    /// How names of this scope begin where Envoy lists them.
    pub(crate) fn path(&self) -> String {
        match self {
            Self::Http(prefix) => format!("http.{prefix}."),
            Self::Cluster(name) => format!("cluster.{name}."),
            Self::Listener => "listener.".to_owned(),
            Self::Server => String::new(),
            Self::Own => "wasmplugin.".to_owned(),
        }
    }
}

/// Everything, but for what plugins count and how long exchanges took.
pub(crate) fn numbers(board: &Board) -> Vec<Number> {
    let mut all = Vec::new();
    for (prefix, stats) in of_listeners(board) {
        listener(&mut all, &prefix, &stats);
    }
    for (name, stats) in of_clusters(board) {
        cluster(&mut all, &name, &stats);
    }
    let mut add = |scope, name: &str, kind, value| {
        all.push(Number { scope, name: name.to_owned(), kind, labels: Vec::new(), value });
    };
    add(Scope::Listener, "downstream_cx_overflow", Kind::Counter, board.overflows.load(Ordering::Relaxed));
    let live = u64::from(*board.phase.borrow() == Phase::Live);
    add(Scope::Server, "server_live", Kind::Gauge, live);
    add(Scope::Server, "server_concurrency", Kind::Gauge, board.workers.len() as u64);
    add(Scope::Own, "workers", Kind::Gauge, board.workers.len() as u64);
    let (updates, refused) = board.updates();
    add(Scope::Own, "updates_total", Kind::Counter, updates);
    add(Scope::Own, "updates_refused_plugins_total", Kind::Counter, refused);
    let threads = board.all_stats();
    let mut one = |scope, name, kind, which: fn(&WorkerStats) -> &Count| {
        add(scope, name, kind, threads.iter().map(|stats| which(stats).get()).sum());
    };
    one(Scope::Server, "wasm_envoy_wasm_runtime_wasmtime_active", Kind::Gauge, |stats| &stats.vms);
    one(Scope::Server, "wasm_envoy_wasm_runtime_wasmtime_created", Kind::Counter, |stats| &stats.vms_started);
    one(Scope::Own, "callouts_total", Kind::Counter, |stats| &stats.callouts);
    one(Scope::Own, "callouts_failed_total", Kind::Counter, |stats| &stats.callouts_failed);
    one(Scope::Own, "host_calls_total", Kind::Counter, |stats| &stats.host_calls);
    one(Scope::Own, "guest_allocations_total", Kind::Counter, |stats| &stats.allocations);
    one(Scope::Own, "guest_memory_bytes", Kind::Gauge, |stats| &stats.guest_memory);
    one(Scope::Own, "traps_total", Kind::Counter, |stats| &stats.traps);
    plugins(&mut all, &threads);
    all
}

/// The counts of the listeners, by their prefix, one per worker.
pub(crate) fn of_listeners(board: &Board) -> BTreeMap<String, Vec<Arc<ListenerStats>>> {
    by_name(board.workers.iter().flat_map(|worker| worker.stats.listeners()))
}

/// The counts of the clusters, one per worker.
pub(crate) fn of_clusters(board: &Board) -> BTreeMap<String, Vec<Arc<ClusterStats>>> {
    by_name(board.all_stats().iter().flat_map(|stats| stats.clusters()))
}

fn by_name<T>(all: impl Iterator<Item = (String, T)>) -> BTreeMap<String, Vec<T>> {
    let mut table: BTreeMap<String, Vec<T>> = BTreeMap::new();
    for (name, stats) in all {
        table.entry(name).or_default().push(stats);
    }
    table
}

fn listener(all: &mut Vec<Number>, prefix: &str, stats: &[Arc<ListenerStats>]) {
    let mut one = |name: &str, kind, which: fn(&ListenerStats) -> &Count| {
        let value = stats.iter().map(|stats| which(stats).get()).sum();
        let scope = Scope::Http(prefix.to_owned());
        all.push(Number { scope, name: name.to_owned(), kind, labels: Vec::new(), value });
    };
    one("downstream_cx_total", Kind::Counter, |stats| &stats.connections);
    one("downstream_cx_active", Kind::Gauge, |stats| &stats.connections_active);
    one("downstream_cx_idle_timeout", Kind::Counter, |stats| &stats.connection_timeouts);
    one("downstream_cx_protocol_error", Kind::Counter, |stats| &stats.protocol_errors);
    one("downstream_cx_ssl_connection_error", Kind::Counter, |stats| &stats.handshake_errors);
    one("downstream_rq_total", Kind::Counter, |stats| &stats.requests);
    one("downstream_rq_active", Kind::Gauge, |stats| &stats.requests_active);
    one("downstream_rq_rx_reset", Kind::Counter, |stats| &stats.client_resets);
    one("downstream_rq_tx_reset", Kind::Counter, |stats| &stats.server_resets);
    one("downstream_rq_idle_timeout", Kind::Counter, |stats| &stats.idle_timeouts);
    let rows = stats.iter().map(|stats| stats.responses.get());
    classes(all, &Scope::Http(prefix.to_owned()), "downstream_rq_xx", rows);
}

fn cluster(all: &mut Vec<Number>, name: &str, stats: &[Arc<ClusterStats>]) {
    let scope = Scope::Cluster(name.to_owned());
    let mut one = |name: &str, kind, which: fn(&ClusterStats) -> &Count| {
        let value = stats.iter().map(|stats| which(stats).get()).sum();
        all.push(Number { scope: scope.clone(), name: name.to_owned(), kind, labels: Vec::new(), value });
    };
    one("upstream_cx_total", Kind::Counter, |stats| &stats.connections);
    one("upstream_cx_active", Kind::Gauge, |stats| &stats.connections_active);
    one("upstream_cx_connect_fail", Kind::Counter, |stats| &stats.connect_failures);
    one("upstream_cx_connect_timeout", Kind::Counter, |stats| &stats.connect_timeouts);
    one("upstream_rq_total", Kind::Counter, |stats| &stats.requests);
    one("upstream_rq_active", Kind::Gauge, |stats| &stats.requests_active);
    one("upstream_rq_timeout", Kind::Counter, |stats| &stats.timeouts);
    one("upstream_rq_rx_reset", Kind::Counter, |stats| &stats.resets);
    classes(all, &scope, "upstream_rq_xx", stats.iter().map(|stats| stats.responses.get()));
}

fn classes(all: &mut Vec<Number>, scope: &Scope, name: &str, rows: impl Iterator<Item = [u64; 5]>) {
    let total = rows.fold([0; 5], |mut total, row| {
        for (total, more) in total.iter_mut().zip(row) {
            *total += more;
        }
        total
    });
    for (class, value) in (1..).zip(total) {
        let labels = vec![("envoy_response_code_class", format!("{class}"))];
        all.push(Number { scope: scope.clone(), name: name.to_owned(), kind: Kind::Counter, labels, value });
    }
}

fn plugins(all: &mut Vec<Number>, threads: &[Arc<WorkerStats>]) {
    let mut failed = BTreeMap::new();
    for (place, down) in threads.iter().flat_map(|stats| stats.plugins()) {
        *failed.entry(place).or_insert(0) += u64::from(down);
    }
    for ((listener, place, plugin), value) in failed {
        let labels = vec![("listener", listener), ("place", place.to_string()), ("plugin", plugin)];
        let name = "plugin_failed_workers".to_owned();
        all.push(Number { scope: Scope::Own, name, kind: Kind::Gauge, labels, value });
    }
}
