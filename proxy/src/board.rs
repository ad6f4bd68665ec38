//! What the front and the admin port know in common: the workers, the settings, and whether the proxy lives.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use wasmplugin_host::services::Services;

use crate::settings::Settings;
use crate::stats::{Count, WorkerStats};
use crate::worker_thread::Order;

/// What the front's thread knows.
#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) services: Arc<Services>,
    /// Those that serve clients.
    pub(crate) workers: Vec<Desk>,
    /// Whether connections are taken.
    pub(crate) phase: watch::Sender<Phase>,
    /// Connections that were closed because there were too many.
    pub(crate) overflows: AtomicU64,
    /// Connections that were taken, over all listeners; each gets its number from here.
    pub(crate) accepted: AtomicU64,
    changing: Mutex<Changing>,
}

/// What an update changes.
#[derive(Debug)]
struct Changing {
    settings: Arc<Settings>,
    /// Where the listeners listen.
    addresses: BTreeMap<String, SocketAddr>,
    /// The worker of the singletons, if there are any.
    main: Option<Arc<WorkerStats>>,
    updates: u64,
    updates_refused: u64,
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

impl Board {
    pub(crate) fn new(services: Arc<Services>, settings: Arc<Settings>, workers: Vec<Desk>) -> Self {
        let changing = Changing { settings, addresses: BTreeMap::new(), main: None, updates: 0, updates_refused: 0 };
        Self {
            services,
            workers,
            phase: watch::Sender::new(Phase::Live),
            overflows: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            changing: Mutex::new(changing),
        }
    }

    /// The settings that are in force.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.changing().settings)
    }

    pub(crate) fn set_settings(&self, settings: Arc<Settings>) {
        self.changing().settings = settings;
    }

    /// Where the listeners listen.
    pub(crate) fn addresses(&self) -> BTreeMap<String, SocketAddr> {
        self.changing().addresses.clone()
    }

    pub(crate) fn set_address(&self, listener: &str, address: Option<SocketAddr>) {
        let addresses = &mut self.changing().addresses;
        match address {
            Some(address) => addresses.insert(listener.to_owned(), address),
            None => addresses.remove(listener),
        };
    }

    pub(crate) fn set_main(&self, stats: Option<Arc<WorkerStats>>) {
        self.changing().main = stats;
    }

    /// Counts an update, and how many of its plugins were refused.
    pub(crate) fn count_update(&self, refused: u64) {
        let mut changing = self.changing();
        changing.updates += 1;
        changing.updates_refused += refused;
    }

    /// Updates, and plugins that were refused in them.
    pub(crate) fn updates(&self) -> (u64, u64) {
        let changing = self.changing();
        (changing.updates, changing.updates_refused)
    }

    /// What all threads with plugins count.
    pub(crate) fn all_stats(&self) -> Vec<Arc<WorkerStats>> {
        let workers = self.workers.iter().map(|worker| Arc::clone(&worker.stats));
        workers.chain(self.changing().main.clone()).collect()
    }

    /// Takes no further connections, and closes those that there are as soon as their clients wait for nothing.
    pub(crate) fn drain(&self) {
        self.enter(Phase::Draining);
        for worker in &self.workers {
            // Fails only if the worker has ended by itself.
            worker.orders.send(Order::Drain).ok();
        }
    }

    /// Goes on to a later phase; there is no way back.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let later = *now != Phase::Ended && *now != phase;
            if later {
                *now = phase;
            }
            later
        });
    }

    pub(crate) fn next_connection(&self) -> u64 {
        self.accepted.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn changing(&self) -> MutexGuard<'_, Changing> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
