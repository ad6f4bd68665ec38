//! Counters of the proxy's own: each worker has its set, which nobody else writes; the admin port adds them up.

use std::sync::atomic::{AtomicU64, Ordering};

use wasmplugin_host::metrics::BOUNDS;

/// A number that one thread changes and others read.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    // There is a single writer, so a load and a store do what an exchange would, for less.
    pub(crate) fn add(&self, more: u64) {
        self.0.store(self.get().wrapping_add(more), Ordering::Relaxed);
    }

    pub(crate) fn up(&self) {
        self.add(1);
    }

    pub(crate) fn down(&self) {
        self.0.store(self.get().saturating_sub(1), Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Responses by the first digit of their status.
#[derive(Debug, Default)]
pub(crate) struct Classes([Count; 5]);

impl Classes {
    pub(crate) fn count(&self, status: u16) {
        if let Some(class) = (status / 100).checked_sub(1).and_then(|class| self.0.get(usize::from(class))) {
            class.up();
        }
    }

    /// The counts of 1xx to 5xx.
    pub(crate) fn get(&self) -> [u64; 5] {
        self.0.each_ref().map(Count::get)
    }
}

/// How long something took.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// One more than there are bounds: the last is beyond all of them.
    buckets: [Count; BOUNDS.len() + 1],
    micros: Count,
}

impl Times {
    pub(crate) fn record(&self, took: std::time::Duration) {
        let millis = took.as_secs_f64() * 1000.0;
        let at = BOUNDS.iter().position(|bound| millis <= *bound).unwrap_or(BOUNDS.len());
        if let Some(bucket) = self.buckets.get(at) {
            bucket.up();
        }
        self.micros.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// The number of samples per bucket.
    pub(crate) fn buckets(&self) -> [u64; BOUNDS.len() + 1] {
        self.buckets.each_ref().map(Count::get)
    }

    pub(crate) fn micros(&self) -> u64 {
        self.micros.get()
    }
}

/// What one worker counts.
#[derive(Debug)]
pub(crate) struct WorkerStats {
    pub(crate) connections: Count,
    pub(crate) connections_active: Count,
    /// Connections that were cut because they took too long or sent no HTTP.
    pub(crate) connection_timeouts: Count,
    pub(crate) protocol_errors: Count,
    pub(crate) requests: Count,
    pub(crate) requests_active: Count,
    pub(crate) responses: Classes,
    pub(crate) times: Times,
    /// Exchanges that the client ended early.
    pub(crate) client_resets: Count,
    /// Exchanges that the proxy cut.
    pub(crate) server_resets: Count,
    pub(crate) idle_timeouts: Count,
    pub(crate) callouts: Count,
    pub(crate) callouts_failed: Count,
    pub(crate) traps: Count,
    pub(crate) vms: Count,
    pub(crate) vms_started: Count,
    pub(crate) host_calls: Count,
    /// Whether the plugin's VM is down, by the plugin's place in the chain.
    pub(crate) failed: Vec<Count>,
    /// By the cluster's place in the settings.
    pub(crate) clusters: Vec<ClusterStats>,
}

/// What one worker counts about one cluster.
#[derive(Debug, Default)]
pub(crate) struct ClusterStats {
    pub(crate) connections: Count,
    pub(crate) connections_active: Count,
    pub(crate) connect_failures: Count,
    pub(crate) connect_timeouts: Count,
    pub(crate) requests: Count,
    pub(crate) requests_active: Count,
    pub(crate) timeouts: Count,
    pub(crate) resets: Count,
    pub(crate) responses: Classes,
}

impl WorkerStats {
    pub(crate) fn new(plugins: usize, clusters: usize) -> Self {
        Self {
            connections: Count::default(),
            connections_active: Count::default(),
            connection_timeouts: Count::default(),
            protocol_errors: Count::default(),
            requests: Count::default(),
            requests_active: Count::default(),
            responses: Classes::default(),
            times: Times::default(),
            client_resets: Count::default(),
            server_resets: Count::default(),
            idle_timeouts: Count::default(),
            callouts: Count::default(),
            callouts_failed: Count::default(),
            traps: Count::default(),
            vms: Count::default(),
            vms_started: Count::default(),
            host_calls: Count::default(),
            failed: (0..plugins).map(|_| Count::default()).collect(),
            clusters: (0..clusters).map(|_| ClusterStats::default()).collect(),
        }
    }
}
