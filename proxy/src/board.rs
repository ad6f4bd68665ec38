//! What the front and the admin port know in common: the workers, and whether the proxy lives.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;
use wasmplugin_host::services::Services;

use crate::settings::Settings;
use crate::stats::{Count, WorkerStats};
use crate::worker_thread::Order;

/// What the front's thread knows.
#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) settings: Arc<Settings>,
    pub(crate) services: Arc<Services>,
    pub(crate) workers: Vec<Desk>,
    /// Connections that were closed because there were too many.
    pub(crate) overflows: Count,
}

/// What the front is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Connections are taken.
    Live,
    /// There are no new connections; the admin port still answers.
    Draining,
    /// Nothing is served.
    Ended,
}

/// How the front reaches a worker.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) orders: UnboundedSender<Order>,
    pub(crate) stats: Arc<WorkerStats>,
    /// Connections that were given to the worker.
    pub(crate) dealt: Count,
}

impl Desk {
    /// Connections that the worker has, or will find.
    pub(crate) fn in_hand(&self) -> u64 {
        let ended = self.stats.connections.get().saturating_sub(self.stats.connections_active.get());
        self.dealt.get().saturating_sub(ended)
    }
}
