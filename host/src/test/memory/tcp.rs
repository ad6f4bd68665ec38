//! TCP connections of the engine in memory: the client and the upstream around the worker.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::http::host_of;
use super::{Due, Engine, PATIENCE, STEPS};
use crate::surroundings;
use crate::test::{Failure, TcpAction, TcpEnding, TcpEvent, TcpRead, TcpWait};
use crate::worker::{ChainId, Connection, TcpEffect, TcpId, Worker};

/// One connection as client and upstream see it.
pub(super) struct Wire {
    worker: usize,
    id: TcpId,
    /// The worker knows of it.
    alive: bool,
    /// The client has cut it, and does not look any more.
    left: bool,
    /// Its place in the upstream's record, once it got there.
    server: Option<usize>,
    /// What the client has not asked for yet.
    received: Vec<u8>,
    ending: Option<TcpEnding>,
}

/// What happens to a connection later.
pub(super) enum TcpDue {
    Connected,
    Unreachable,
    Server(TcpAction),
}

impl Engine {
    pub(super) fn tcp_open(&mut self, number: u64, source: SocketAddr) -> Result<(), Failure> {
        if self.tcp.is_none() {
            return Err(Failure::Refused("this proxy is for HTTP: build it with `.tcp(..)`".to_owned()));
        }
        let turn = usize::try_from(number.saturating_sub(1)).unwrap_or_default();
        let worker = turn % self.workers.len().max(1);
        let Some(place) = self.workers.get_mut(worker) else { return Ok(()) };
        let connection = Connection {
            id: number,
            source: Some(source),
            destination: Some(([127, 0, 0, 1], 10_000).into()),
            tls: self.surroundings.tls.clone(),
            ..Connection::default()
        };
        let id = place.open_tcp(ChainId::FIRST, connection);
        self.tcp_numbers.insert((worker, id), number);
        let wire = Wire { worker, id, alive: true, left: false, server: None, received: Vec::new(), ending: None };
        self.wires.insert(number, wire);
        self.settle();
        Ok(())
    }

    pub(super) fn tcp_effect(&mut self, worker: usize, id: TcpId, effect: TcpEffect) {
        let Some(number) = self.tcp_numbers.get(&(worker, id)).copied() else { return };
        match effect {
            TcpEffect::Connect => {
                let reachable = self.tcp.as_ref().is_some_and(crate::test::TcpServer::is_reachable);
                let due = if reachable { TcpDue::Connected } else { TcpDue::Unreachable };
                self.schedule(std::time::Duration::ZERO, Due::Tcp(number, due));
            }
            TcpEffect::ToUpstream(data, end) => {
                if !data.is_empty() {
                    self.tcp_tell_server(number, TcpEvent::Data(&data));
                }
                if end {
                    self.tcp_tell_server(number, TcpEvent::Finished);
                }
            }
            TcpEffect::ToDownstream(data, end) => {
                if let Some(wire) = self.wires.get_mut(&number) {
                    wire.received.extend_from_slice(&data);
                    if end {
                        wire.ending.get_or_insert(TcpEnding::Finished);
                    }
                }
            }
            TcpEffect::Close => {
                self.tcp_numbers.remove(&(worker, id));
                if self.wires.get(&number).is_some_and(|wire| wire.left) {
                    self.wires.remove(&number);
                } else if let Some(wire) = self.wires.get_mut(&number) {
                    wire.alive = false;
                    wire.ending.get_or_insert(TcpEnding::Finished);
                }
            }
        }
    }

    pub(super) fn tcp_happen(&mut self, number: u64, due: TcpDue) {
        match due {
            TcpDue::Connected => {
                let Some(wire) = self.wires.get_mut(&number).filter(|wire| wire.alive) else { return };
                wire.server = self.tcp.as_ref().map(crate::test::TcpServer::accepted);
                self.tcp_tell_server(number, TcpEvent::Connected);
                let name = self.upstream.name();
                let metadata = self.surroundings.cluster_metadata(name);
                let cluster = Arc::new(surroundings::Cluster { name: name.to_owned(), metadata, endpoints: 1 });
                let host = Arc::new(host_of(&self.upstream, &self.surroundings));
                self.tcp_tell_worker(number, |worker, id| {
                    worker.tcp_to(id, cluster, host);
                    worker.tcp_connected(id);
                });
            }
            TcpDue::Unreachable => self.tcp_tell_worker(number, Worker::tcp_upstream_gone),
            TcpDue::Server(TcpAction::Send(bytes)) => {
                self.tcp_tell_worker(number, |worker, id| worker.tcp_from_upstream(id, bytes, false));
            }
            TcpDue::Server(TcpAction::Finish) => {
                self.tcp_tell_worker(number, |worker, id| worker.tcp_from_upstream(id, Bytes::new(), true));
            }
            TcpDue::Server(TcpAction::Reset) => self.tcp_tell_worker(number, Worker::tcp_upstream_gone),
        }
    }

    /// Lets the upstream see something, and notes what it does then.
    fn tcp_tell_server(&mut self, number: u64, event: TcpEvent<'_>) {
        let Some(place) = self.wires.get(&number).and_then(|wire| wire.server) else { return };
        let actions = self.tcp.as_ref().map(|server| server.happened(place, event)).unwrap_or_default();
        for (delay, action) in actions {
            self.schedule(delay, Due::Tcp(number, TcpDue::Server(action)));
        }
    }

    fn tcp_tell_worker(&mut self, number: u64, tell: impl FnOnce(&mut Worker, TcpId)) {
        let Some(wire) = self.wires.get(&number).filter(|wire| wire.alive) else { return };
        if let Some(worker) = self.workers.get_mut(wire.worker) {
            tell(worker, wire.id);
        }
    }

    pub(super) fn tcp_client_sends(&mut self, number: u64, data: Bytes, end: bool) {
        self.tcp_tell_worker(number, |worker, id| worker.tcp_from_downstream(id, data, end));
        self.settle();
    }

    pub(super) fn tcp_client_leaves(&mut self, number: u64) {
        match self.wires.get_mut(&number) {
            // The worker may notice later; until then it is there.
            Some(wire) if wire.alive => wire.left = true,
            _ => drop(self.wires.remove(&number)),
        }
        self.tcp_tell_worker(number, Worker::tcp_downstream_gone);
        self.settle();
    }

    pub(super) fn tcp_client_reads(&mut self, number: u64, until: TcpWait) -> Result<TcpRead, Failure> {
        self.settle();
        let began = self.now();
        for _ in 0..STEPS {
            let wire = self.wire(number)?;
            let enough = match until {
                TcpWait::Now => true,
                TcpWait::Bytes(count) => wire.received.len() >= count,
                TcpWait::End => false,
            };
            if enough || wire.ending.is_some() {
                break;
            }
            match self.next_time() {
                Some(next) if next <= began + PATIENCE => {
                    self.step(next);
                    self.carry_out();
                }
                _ => {
                    self.collect();
                    return Err(Failure::Hung(self.now() - began));
                }
            }
        }
        self.collect();
        let wire = self.wire(number)?;
        Ok(TcpRead { bytes: std::mem::take(&mut wire.received), ending: wire.ending })
    }

    fn wire(&mut self, number: u64) -> Result<&mut Wire, Failure> {
        let unknown = || Failure::Refused("this connection is over, or of another proxy".to_owned());
        self.wires.get_mut(&number).ok_or_else(unknown)
    }
}
