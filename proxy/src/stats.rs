//! Counters of the proxy's own: each worker has its set, which nobody else writes; the admin port adds them up.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

    /// Follows a number that stood at `before` when it was last looked at.
    pub(crate) fn follow(&self, before: u64, now: u64) {
        self.add(now.wrapping_sub(before));
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

/// What one worker counts, apart from what belongs to a listener or a cluster.
#[derive(Debug, Default)]
pub(crate) struct WorkerStats {
    /// Connections of clients, over all listeners.
    pub(crate) connections: Count,
    pub(crate) connections_active: Count,
    pub(crate) callouts: Count,
    pub(crate) callouts_failed: Count,
    pub(crate) traps: Count,
    pub(crate) vms: Count,
    pub(crate) vms_started: Count,
    pub(crate) host_calls: Count,
    /// Blocks that host calls took from the plugins' allocators, to hand over bytes.
    pub(crate) allocations: Count,
    /// Bytes of linear memory.
    pub(crate) guest_memory: Count,
    tables: Mutex<Tables>,
}

/// What comes and goes while the proxy runs.
#[derive(Debug, Default)]
struct Tables {
    listeners: BTreeMap<String, Arc<ListenerStats>>,
    clusters: BTreeMap<String, Arc<ClusterStats>>,
    plugins: BTreeMap<Place, bool>,
}

/// A plugin's place: the listener, and where in its chain, beginning with 0.
pub(crate) type Place = (String, usize, String);

/// What one worker counts about one listener, or several with one prefix.
#[derive(Debug, Default)]
pub(crate) struct ListenerStats {
    pub(crate) connections: Count,
    pub(crate) connections_active: Count,
    /// Connections that were cut because they took too long or sent no HTTP.
    pub(crate) connection_timeouts: Count,
    pub(crate) protocol_errors: Count,
    /// Handshakes of TLS that have failed.
    pub(crate) handshake_errors: Count,
    pub(crate) requests: Count,
    pub(crate) requests_active: Count,
    pub(crate) responses: Classes,
    pub(crate) times: Times,
    /// Exchanges that the client ended early.
    pub(crate) client_resets: Count,
    /// Exchanges that the proxy cut.
    pub(crate) server_resets: Count,
    pub(crate) idle_timeouts: Count,
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
    /// The counts of all listeners with this prefix.
    pub(crate) fn listener(&self, prefix: &str) -> Arc<ListenerStats> {
        Arc::clone(self.tables().listeners.entry(prefix.to_owned()).or_default())
    }

    /// The counts of the cluster of this name.
    pub(crate) fn cluster(&self, name: &str) -> Arc<ClusterStats> {
        Arc::clone(self.tables().clusters.entry(name.to_owned()).or_default())
    }

    /// Notes whether a plugin's VM is down.
    pub(crate) fn set_failed(&self, place: Place, failed: bool) {
        self.tables().plugins.insert(place, failed);
    }

    /// A listener's chain is gone, or another one has come.
    pub(crate) fn forget_plugins(&self, listener: &str) {
        self.tables().plugins.retain(|(of, ..), _| of != listener);
    }

    pub(crate) fn listeners(&self) -> Vec<(String, Arc<ListenerStats>)> {
        self.tables().listeners.iter().map(|(name, stats)| (name.clone(), Arc::clone(stats))).collect()
    }

    pub(crate) fn clusters(&self) -> Vec<(String, Arc<ClusterStats>)> {
        self.tables().clusters.iter().map(|(name, stats)| (name.clone(), Arc::clone(stats))).collect()
    }

    pub(crate) fn plugins(&self) -> BTreeMap<Place, bool> {
        self.tables().plugins.clone()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
