//! One worker of a proxy: its VMs and exchanges, without any I/O of its own.
//!
//! Messages go in through methods, [`Effect`]s come out of [`Worker::next_effect`]; time is told by
//! [`Worker::advance_to`]. Whoever owns the sockets, or plays them, sits around it.

mod arrival;
mod callee;
mod callouts;
mod chains;
mod deferred;
mod departure;
mod end;
mod error;
mod grpc;
mod home;
mod http;
mod lint;
mod parts;
mod plugin;
mod reply;
mod roots;
mod tcp;
mod vms;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::callback::Callback;
use crate::filter::Direction;
use crate::finding::Finding;
use crate::headers::{HeaderMap, Side};
use crate::id_map::IdMap;
use crate::services::Services;
use crate::shared::Reader;
use crate::surroundings::{Cluster, Metadata, Route, UpstreamHost};
use crate::tcp::{Peer, Stage};
use crate::trace_line::TraceLine;
use crate::vm::{Owner, VmData, VmState};
use home::Home;

pub use crate::callout::{CalloutId, CalloutOutcome, CalloutRequest};
pub use crate::connection::{Connection, Protocol, Tls};
pub use crate::effect::{Effect, Item, UpstreamFailure};
pub use crate::exchange::{ExchangeId, LocalReply};
pub use crate::grpc::GrpcRequest;
pub use crate::options::{EndStyle, Options};
pub use crate::tcp::{TcpEffect, TcpId};
pub use crate::vm::Counters;
pub use chains::ChainId;
pub use error::StartError;
pub use parts::Worker;
pub use plugin::{Code, FailPolicy, Plugin};

impl Worker {
    /// A worker without chains.
    #[must_use]
    pub fn new(services: Arc<Services>, options: Options) -> Self {
        let state = Home(Some(Box::new(VmState::new(services, options))));
        Self { state, chains: IdMap::default(), last_chain: 0, plugins: Vec::new(), vms: Vec::new() }
    }

    /// Begins an exchange in a chain. If that has been removed, the request is answered with 404.
    pub fn open(&mut self, chain: ChainId, connection: Connection) -> ExchangeId {
        self.begin(chain, connection)
    }

    /// The connection of the exchange ends with its response: plugins find `connection: close` in it when it is over.
    pub fn last_of_connection(&mut self, id: ExchangeId) {
        if let Some(exchange) = self.state.exchanges.get_mut(id) {
            exchange.last = true;
        }
    }

    /// The request's headers have come.
    pub fn request_headers(&mut self, id: ExchangeId, headers: HeaderMap, end: bool) {
        self.headers_in(id, Direction::Request, headers.into_side(Side::Request), end);
    }

    /// A piece of the request's body has come.
    pub fn request_data(&mut self, id: ExchangeId, data: Bytes, end: bool) {
        self.data_in(id, Direction::Request, data, end);
    }

    /// The request's trailers have come.
    pub fn request_trailers(&mut self, id: ExchangeId, trailers: HeaderMap) {
        self.trailers_in(id, Direction::Request, trailers);
    }

    /// The client is gone.
    pub fn downstream_reset(&mut self, id: ExchangeId) {
        self.client_gone(id);
    }

    /// What native filters before the plugins have left: dynamic metadata, and objects of filter state.
    pub fn prepare<'a>(
        &mut self,
        id: ExchangeId,
        metadata: &Metadata,
        filter_state: impl IntoIterator<Item = (&'a str, Bytes)>,
    ) {
        let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
        exchange.metadata.clone_from(metadata);
        for (name, value) in filter_state {
            exchange.filter_state.leave(name, value);
        }
    }

    /// Where the request goes; nothing where no route matches, or there is no route table.
    #[must_use]
    pub fn route(&self, id: ExchangeId) -> Option<&Arc<Route>> {
        self.state.exchanges.get(id)?.routing.route.as_ref()
    }

    /// The request is on its way to this host.
    pub fn sent_to(&mut self, id: ExchangeId, host: Arc<UpstreamHost>) {
        let now = self.state.services.clock().now();
        let Some(exchange) = self.state.exchanges.get_mut(id) else { return };
        exchange.upstream = Some(host);
        exchange.attempts += 1;
        exchange.sent = Some(now);
    }

    /// The response's headers have come.
    pub fn response_headers(&mut self, id: ExchangeId, headers: HeaderMap, end: bool) {
        self.headers_in(id, Direction::Response, headers.into_side(Side::Response), end);
    }

    /// A piece of the response's body has come.
    pub fn response_data(&mut self, id: ExchangeId, data: Bytes, end: bool) {
        self.data_in(id, Direction::Response, data, end);
    }

    /// The response's trailers have come.
    pub fn response_trailers(&mut self, id: ExchangeId, trailers: HeaderMap) {
        self.trailers_in(id, Direction::Response, trailers);
    }

    /// The upstream request failed.
    pub fn upstream_reset(&mut self, id: ExchangeId, failure: UpstreamFailure) {
        self.upstream_failed(id, failure);
    }

    /// Answers in place of the upstream: what a router says where it has no route or no host. The answer travels
    /// through the filters as Envoy's own does.
    pub fn reply(&mut self, id: ExchangeId, reply: LocalReply) {
        self.router_reply(id, reply);
    }

    /// Refuses a request in place of [`request_headers`](Self::request_headers): what a codec says of headers that it
    /// cannot take. No filter sees it; their `proxy_on_log` is told of it, with the client's headers as far as they were read.
    pub fn refused(&mut self, id: ExchangeId, headers: Option<HeaderMap>, reply: LocalReply) {
        self.refuse(id, headers.map(|headers| headers.into_side(Side::Request)), reply);
    }

    /// The exchange is over, whether it went well or not. Doing it twice does nothing.
    pub fn finished(&mut self, id: ExchangeId) {
        self.end(id);
    }

    /// Bytes of the request that filters hold back; a proxy stops reading beyond its own limit.
    #[must_use]
    pub fn request_backlog(&self, id: ExchangeId) -> usize {
        self.state.exchanges.get(id).map_or(0, |exchange| exchange.backlog(Direction::Request))
    }

    /// Bytes of the response that filters hold back.
    #[must_use]
    pub fn response_backlog(&self, id: ExchangeId) -> usize {
        self.state.exchanges.get(id).map_or(0, |exchange| exchange.backlog(Direction::Response))
    }

    /// Begins a TCP connection in a chain. Its first effect is [`TcpEffect::Connect`], as soon as all filters let it pass; or
    /// [`TcpEffect::Close`] if the chain has been removed.
    pub fn open_tcp(&mut self, chain: ChainId, connection: Connection) -> TcpId {
        self.tcp_begin(chain, connection)
    }

    /// Says where a TCP connection goes, as plugins then learn it; before it is connected.
    pub fn tcp_to(&mut self, id: TcpId, cluster: Arc<Cluster>, host: Arc<UpstreamHost>) {
        self.tcp_sent_to(id, cluster, host);
    }

    /// The upstream of a TCP connection is connected; before, nothing of what the client sends reaches a filter.
    pub fn tcp_connected(&mut self, id: TcpId) {
        self.tcp_reached(id);
    }

    /// Bytes of the client have come; with `end`, no more will.
    pub fn tcp_from_downstream(&mut self, id: TcpId, data: Bytes, end: bool) {
        self.tcp_downstream_in(id, data, end);
    }

    /// Bytes of the upstream have come; with `end`, no more will.
    pub fn tcp_from_upstream(&mut self, id: TcpId, data: Bytes, end: bool) {
        self.tcp_upstream_in(id, data, end);
    }

    /// Bytes of a TCP connection, of both peers, that filters hold back or that are not read yet; a proxy stops reading
    /// beyond its own limit.
    #[must_use]
    pub fn tcp_backlog(&self, id: TcpId) -> usize {
        self.state.tcp.get(&id).map_or(0, |tcp| tcp.downstream.backlog() + tcp.upstream.backlog())
    }

    /// The client of a TCP connection is gone; before the upstream is connected, nobody notices, as in Envoy.
    pub fn tcp_downstream_gone(&mut self, id: TcpId) {
        self.tcp_left(id);
    }

    /// The upstream of a TCP connection is gone, or was never there.
    pub fn tcp_upstream_gone(&mut self, id: TcpId) {
        let reached = self.state.tcp.get(&id).is_some_and(|tcp| tcp.stage == Stage::Connected);
        let why = if reached { "the server is gone" } else { "the server could not be reached" };
        self.tcp_over(id, Peer::Local, why);
    }

    /// A callout has ended.
    pub fn callout_answered(&mut self, id: CalloutId, outcome: CalloutOutcome) {
        let Some(pending) = self.state.unexpect(id) else { return };
        self.deliver(&pending, outcome);
    }

    /// When [`advance_to`](Self::advance_to) has something to do; nothing if only messages can wake this worker.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        if !self.state.options.inbox.is_empty() {
            return Some(Duration::ZERO);
        }
        let ticks = self.state.roots.iter().filter_map(|root| root.next_tick);
        let callouts = self.state.deadlines.first().map(|(deadline, _)| *deadline);
        ticks.chain(callouts).min()
    }

    /// Tells the time since the clock's start: runs ticks and timeouts that are due, and delivers notices of queues.
    pub fn advance_to(&mut self, now: Duration) {
        while let Some(notice) = self.state.options.inbox.take() {
            let Reader { vm, generation, root } = notice.reader;
            let alive = |vm: &VmData| vm.generation == generation && vm.contexts.contains_key(&root);
            if self.state.vms.get(vm).is_some_and(alive) {
                self.call(vm, Callback::QueueReady { root, queue: notice.queue });
            }
        }
        while let Some(id) = self.state.deadlines.first().filter(|(due, _)| *due <= now).map(|(_, id)| *id) {
            if self.state.grpc_call(id).is_some() {
                self.grpc_late(id);
                continue;
            }
            let Some(pending) = self.state.unexpect(id) else { break };
            self.state.effects.push_back(Effect::CancelCallout(id));
            self.deliver(&pending, CalloutOutcome::timeout());
        }
        for index in 0..self.state.roots.len() {
            self.tick(index, now);
        }
    }

    /// What is to be done next.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.state.effects.pop_front()
    }

    /// Ends everything: the exchanges under way, then the plugins.
    pub fn stop(&mut self) {
        for id in self.state.exchanges.ids() {
            self.end(id);
        }
        let connections: Vec<TcpId> = self.state.tcp.keys().copied().collect();
        for id in connections {
            self.tcp_over(id, Peer::Local, "the proxy stops");
        }
        for index in 0..self.state.roots.len() {
            self.end_root(index);
        }
    }

    /// Exchanges and TCP connections that have not ended.
    #[must_use]
    pub fn open_exchanges(&self) -> usize {
        self.state.exchanges.len() + self.state.tcp.len()
    }

    /// Contexts of exchanges that the guests still know, over all VMs.
    #[must_use]
    pub fn open_contexts(&self) -> usize {
        let streams = |vm: &VmData| vm.contexts.values().filter(|owner| !matches!(owner, Owner::Root(_))).count();
        self.state.vms.iter().map(streams).sum()
    }

    /// Callouts that wait for their answer.
    #[must_use]
    pub fn open_callouts(&self) -> usize {
        self.state.pending.len()
    }

    /// VMs that run.
    #[must_use]
    pub fn running_vms(&self) -> usize {
        self.state.vms.iter().filter(|vm| !vm.failed).count()
    }

    /// VMs that have been started, in place of failed ones too.
    #[must_use]
    pub fn started_vms(&self) -> u64 {
        self.state.vms.iter().map(|vm| u64::from(vm.generation)).sum()
    }

    /// Bytes of linear memory that the VMs have.
    #[must_use]
    pub fn guest_memory(&self) -> u64 {
        self.vms.iter().filter_map(|vm| vm.guest.as_ref()).map(|guest| guest.memory()).sum()
    }

    /// How often guests were entered and called back.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.state.counters
    }

    /// The trace lines since the last time, if [`Options::trace`] is on.
    pub fn take_trace(&mut self) -> Vec<TraceLine> {
        self.state.trace.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The mistakes found since the last time, if [`Options::lint`] is on.
    pub fn take_findings(&mut self) -> Vec<Finding> {
        self.state.findings.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Calls every plugin, by its root context, with what nothing has led to; what it tries then is no mistake of its own.
    #[cfg(any(feature = "native", feature = "wasm"))]
    pub(crate) fn stray(&mut self, callback: &dyn Fn(u32) -> Callback) {
        let findings = self.state.findings.take();
        for index in 0..self.state.roots.len() {
            let Some(root) = self.state.roots.get(index).filter(|root| root.context != 0) else { continue };
            self.call(root.vm, callback(root.context));
        }
        self.state.findings = findings;
    }

    /// The fault of the callout that the driver is about to send, if the plan has one.
    #[cfg(any(feature = "native", feature = "wasm"))]
    pub(crate) fn callout_fault(&mut self) -> Option<crate::fault::CalloutFault> {
        self.state.options.faults.as_mut()?.at_callout()
    }

    /// Runs a plugin's timer if it is due.
    fn tick(&mut self, index: usize, now: Duration) {
        let Some(root) = self.state.roots.get_mut(index) else { return };
        let (vm, context) = (root.vm, root.context);
        if root.next_tick.is_none_or(|due| due > now) {
            return;
        }
        root.next_tick = None;
        self.call(vm, Callback::Tick { root: context });
        if let Some(root) = self.state.roots.get_mut(index)
            && root.next_tick.is_none()
        {
            // Armed again after the tick has returned, as in Envoy.
            root.next_tick = root.tick.map(|period| now + period);
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("chains", &self.chains.len())
            .field("exchanges", &self.open_exchanges())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
