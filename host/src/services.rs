//! What all workers of one proxy share: time, shared data, queues, metrics, the log, the known clusters.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use crate::abi::LogLevel;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::recording::Recorder;
use crate::shared::{Queues, SharedData};
use crate::surroundings::Node;

/// One line that a plugin logged.
#[derive(Debug, Clone, Copy)]
pub struct LogRecord<'a> {
    /// How loud.
    pub level: LogLevel,
    /// The plugin's name; empty while a module starts.
    pub plugin: &'a str,
    /// The plugin's root id.
    pub root_id: &'a str,
    /// The VM's id.
    pub vm_id: &'a str,
    /// Whether a stream's context logged it, not a root's.
    pub stream: bool,
    /// Whether the host itself says it about a plugin, such as that it has trapped.
    pub host: bool,
    /// The text; a guest may send any bytes.
    pub message: &'a [u8],
}

impl fmt::Display for LogRecord<'_> {
    /// As Envoy prefixes it: `wasm log[ name][ root_id][ vm_id]: message`; root contexts omit the plugin's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("wasm log")?;
        let name = if self.stream { self.plugin } else { "" };
        for part in [name, self.root_id, self.vm_id] {
            if !part.is_empty() {
                write!(f, " {part}")?;
            }
        }
        write!(f, ": {}", String::from_utf8_lossy(self.message))
    }
}

/// Where log lines go.
pub type LogSink = Box<dyn Fn(LogRecord<'_>) + Send + Sync>;

/// What all workers of one proxy share.
pub struct Services {
    node: Node,
    clock: Clock,
    log: LogSink,
    log_level: AtomicU32,
    clusters: RwLock<HashSet<String>>,
    shared: SharedData,
    queues: Queues,
    /// How many VMs there are of each id, over all workers.
    vms: Mutex<HashMap<Box<str>, usize>>,
    metrics: Metrics,
    recorder: Recorder,
}

impl Services {
    /// Fresh services that know no cluster.
    #[must_use]
    pub fn new(clock: Clock, log: LogSink) -> Self {
        Self {
            node: Node::default(),
            clock,
            log,
            log_level: AtomicU32::new(LogLevel::Trace as u32),
            clusters: RwLock::default(),
            shared: SharedData::default(),
            queues: Queues::default(),
            vms: Mutex::default(),
            metrics: Metrics::default(),
            recorder: Recorder::default(),
        }
    }

    /// The same with the proxy's identity.
    #[must_use]
    pub fn with_node(mut self, node: Node) -> Self {
        self.node = node;
        self
    }

    /// The time that plugins see.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The values that plugins share.
    #[must_use]
    pub fn shared(&self) -> &SharedData {
        &self.shared
    }

    /// The queues between plugins.
    #[must_use]
    pub fn queues(&self) -> &Queues {
        &self.queues
    }

    /// A VM of this id has begun.
    pub(crate) fn vm_began(&self, vm_id: &str) {
        *self.vms().entry(vm_id.into()).or_default() += 1;
    }

    /// A VM of this id has ended; the last one takes along what they shared, as in Envoy.
    pub(crate) fn vm_ended(&self, vm_id: &str) {
        let mut vms = self.vms();
        let Some(count) = vms.get_mut(vm_id) else { return };
        *count -= 1;
        if *count == 0 {
            vms.remove(vm_id);
            self.shared().clear(vm_id);
            self.queues().clear(vm_id);
        }
    }

    fn vms(&self) -> MutexGuard<'_, HashMap<Box<str>, usize>> {
        self.vms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The plugins' metrics.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What keeps recordings of exchanges; switched off at first.
    #[must_use]
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// The proxy's identity.
    #[must_use]
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// Declares the clusters that callouts may name, in place of those before.
    pub fn set_clusters(&self, names: impl IntoIterator<Item = String>) {
        if let Ok(mut clusters) = self.clusters.write() {
            *clusters = names.into_iter().collect();
        }
    }

    /// Whether a callout may name this cluster.
    #[must_use]
    pub fn has_cluster(&self, name: &str) -> bool {
        self.clusters.read().is_ok_and(|clusters| clusters.contains(name))
    }

    /// The level that plugins are told; 6 stands for off, as in Envoy.
    #[must_use]
    pub fn log_level(&self) -> u32 {
        self.log_level.load(Ordering::Relaxed)
    }

    /// Sets the level that plugins are told; quieter lines are dropped.
    pub fn set_log_level(&self, level: u32) {
        self.log_level.store(level, Ordering::Relaxed);
    }

    /// Hands one line to the log, if its level is on.
    pub fn log(&self, record: LogRecord<'_>) {
        if record.level as u32 >= self.log_level() {
            (self.log)(record);
        }
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").field("clock", &self.clock).finish_non_exhaustive()
    }
}
