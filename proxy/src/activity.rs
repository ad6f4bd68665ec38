//! What a proxy is doing at one moment.

use std::ops::Add;

use crate::hub::Hub;

/// What is open in a proxy at one moment; all zero when nobody asks anything of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Activity {
    /// Connections of clients.
    pub connections: usize,
    /// Exchanges that have not ended.
    pub exchanges: usize,
    /// Contexts of exchanges that plugins still know.
    pub contexts: usize,
    /// Callouts that wait for their answer.
    pub callouts: usize,
    /// Connections to servers, most of them waiting for the next request.
    pub upstream_connections: usize,
}

impl Activity {
    /// What a thread is doing.
    pub(crate) fn of(hub: &Hub) -> Self {
        let thread = &hub.thread;
        let upstream = thread.stats.clusters().iter().map(|(_, stats)| stats.connections_active.get()).sum::<u64>();
        hub.ask(|worker| Self {
            connections: thread.clients.borrow().len(),
            upstream_connections: usize::try_from(upstream).unwrap_or(usize::MAX),
            exchanges: worker.open_exchanges(),
            contexts: worker.open_contexts(),
            callouts: worker.open_callouts(),
        })
    }
}

impl Add for Activity {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            connections: self.connections + other.connections,
            exchanges: self.exchanges + other.exchanges,
            contexts: self.contexts + other.contexts,
            callouts: self.callouts + other.callouts,
            upstream_connections: self.upstream_connections + other.upstream_connections,
        }
    }
}
