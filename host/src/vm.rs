//! What a running guest can reach: the worker's contexts, exchanges and callouts, and which of them it acts on.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::abi::{AbiVersion, LogLevel, Status};
use crate::callback::{Callback, Trap};
use crate::callout::{CalloutId, Delivery, Pending};
use crate::date::http_date;
use crate::effect::Effect;
use crate::exchange::{Exchange, ExchangeId, Exchanges, LocalReply};
use crate::filter::Direction;
use crate::filter_state::Declaration;
use crate::finding::Finding;
use crate::grpc::GrpcCall;
use crate::id_map::IdMap;
use crate::ids::Ids;
use crate::memory::Memory;
use crate::metrics::MetricIds;
use crate::options::Options;
use crate::recording::Event;
use crate::sandbox::{Family, RESTRICTED, Sandbox};
use crate::services::{LogRecord, Services};
use crate::tcp::{Tcp, TcpId};
use crate::trace_line::TraceLine;
use crate::witness::{self, Segment};

/// Headers of a response that are about one connection alone.
const HOP_BY_HOP: [&[u8]; 5] = [b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"];

/// The state of one worker: it travels into the guest that is running and comes back with its answer.
#[derive(Debug)]
pub struct VmState {
    pub(crate) services: Arc<Services>,
    pub(crate) options: Options,
    pub(crate) vms: Vec<VmData>,
    /// The plugins' root contexts; the place of one that has ended is used again.
    pub(crate) roots: Vec<Root>,
    pub(crate) exchanges: Exchanges,
    pub(crate) tcp: IdMap<TcpId, Box<Tcp>>,
    pub(crate) last_tcp: u64,
    pub(crate) pending: IdMap<CalloutId, Pending>,
    /// When callouts are given up, soonest first.
    pub(crate) deadlines: BTreeSet<(Duration, CalloutId)>,
    /// The gRPC callouts by root and token.
    pub(crate) grpc_tokens: HashMap<(usize, u32), CalloutId>,
    pub(crate) last_callout: u64,
    pub(crate) effects: VecDeque<Effect>,
    pub(crate) running: Running,
    /// What host calls asked for; done as soon as the guest has returned.
    pub(crate) deferred: VecDeque<Deferred>,
    pub(crate) scratch: Vec<u8>,
    /// The last second for which a date was written, and the date.
    pub(crate) date: (u64, Bytes),
    pub(crate) counters: Counters,
    pub(crate) trace: Option<Vec<TraceLine>>,
    pub(crate) findings: Option<Vec<Finding>>,
    /// Exchanges and TCP connections under way that are recorded.
    pub(crate) recorded: usize,
    /// The callback that is running, while anything is recorded.
    pub(crate) segment: Option<Box<Segment>>,
}

/// One VM: what plugins of equal code, VM id and VM configuration share.
#[derive(Debug)]
pub(crate) struct VmData {
    pub(crate) vm_id: Box<str>,
    pub(crate) configuration: Bytes,
    pub(crate) environment: Arc<[(String, String)]>,
    pub(crate) sandbox: Sandbox,
    pub(crate) contexts: IdMap<u32, Owner>,
    pub(crate) ids: Ids,
    pub(crate) metrics: MetricIds,
    /// What plugins have said about objects of filter state.
    pub(crate) declared: HashMap<Bytes, Declaration>,
    pub(crate) abi: AbiVersion,
    /// Counts the guests that were started for this VM; contexts of an earlier one are dead.
    pub(crate) generation: u32,
    pub(crate) failed: bool,
    #[cfg(feature = "foreign")]
    pub(crate) expressions: crate::expressions::Expressions,
}

/// Who a context id stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A plugin's root context.
    Root(usize),
    /// A plugin's context of one exchange.
    Stream(ExchangeId, usize),
    /// A plugin's context of one TCP connection.
    Tcp(TcpId, usize),
}

/// One plugin's root context.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) name: Box<str>,
    pub(crate) root_id: Box<str>,
    pub(crate) configuration: Bytes,
    pub(crate) vm: usize,
    /// 0 before it has begun, and after its end.
    pub(crate) context: u32,
    /// The filters of exchanges and connections under way that belong to it.
    pub(crate) users: usize,
    /// No chain has it any more; it ends with its last filter.
    pub(crate) retired: bool,
    pub(crate) tick: Option<Duration>,
    pub(crate) next_tick: Option<Duration>,
    pub(crate) status: u32,
    pub(crate) status_message: Bytes,
    /// The plugin said `false` to `proxy_on_done` and owes a `proxy_done`.
    pub(crate) pending_done: bool,
}

/// What the guest is running for.
#[derive(Debug, Default)]
pub(crate) struct Running {
    pub(crate) vm: usize,
    pub(crate) context: u32,
    /// 0 for none.
    pub(crate) effective: u32,
    /// Nothing while a module starts, and between callbacks.
    pub(crate) callback: Option<Callback>,
    pub(crate) calls: u32,
    /// The answer to a callout that is being delivered.
    pub(crate) delivery: Option<Delivery>,
    /// Set by a door that cannot trap inside of a host call.
    pub(crate) stop: Option<String>,
}

/// What a host call wants done once the guest has returned.
#[derive(Debug)]
pub(crate) enum Deferred {
    Continue(ExchangeId, usize, Direction),
    Close(ExchangeId),
    Reply(ExchangeId, usize, Box<LocalReply>),
    Done(usize),
    ContinueTcp(TcpId, usize),
    CloseTcp(TcpId),
}

/// How often a worker's guests were entered and called back; costs nothing to keep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Callbacks that entered a guest.
    pub callbacks: u64,
    /// Host calls that guests made.
    pub host_calls: u64,
    /// Blocks that the host took from the guests' allocators.
    pub allocations: u64,
    /// Callbacks that trapped.
    pub traps: u64,
    /// Time inside of guests, if [`Options::measure_time`] asks for it.
    pub guest_time: Duration,
}

impl VmState {
    pub(crate) fn new(services: Arc<Services>, options: Options) -> Self {
        let trace = options.trace.then(Vec::new);
        let findings = options.lint.then(Vec::new);
        Self {
            services,
            options,
            vms: Vec::new(),
            roots: Vec::new(),
            exchanges: Exchanges::default(),
            tcp: IdMap::default(),
            last_tcp: 0,
            pending: IdMap::default(),
            deadlines: BTreeSet::new(),
            grpc_tokens: HashMap::new(),
            last_callout: 0,
            effects: VecDeque::new(),
            running: Running::default(),
            deferred: VecDeque::new(),
            scratch: Vec::new(),
            date: (0, Bytes::new()),
            counters: Counters::default(),
            trace,
            findings,
            recorded: 0,
            segment: None,
        }
    }

    /// What the guest that is running, or starts, may do.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        self.vm().map_or(&Sandbox::OPEN, |vm| &vm.sandbox)
    }

    /// What all workers share.
    #[must_use]
    pub const fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// The environment of the guest that is running, or starts.
    #[must_use]
    pub fn environment(&self) -> Arc<[(String, String)]> {
        self.vms.get(self.running.vm).map(|vm| Arc::clone(&vm.environment)).unwrap_or_default()
    }

    /// Logs a line in the name of the guest that is running.
    pub fn log(&mut self, level: LogLevel, message: &[u8]) {
        self.watch(|| Event::Log { level, text: witness::text(message) });
        let vm_id = self.vms.get(self.running.vm).map_or("", |vm| &vm.vm_id);
        let (root, stream) = match self.actor() {
            Some(Owner::Root(root)) => (self.roots.get(root), false),
            Some(Owner::Stream(exchange, filter)) => {
                let root = self.exchanges.get(exchange).and_then(|exchange| exchange.filters.get(filter));
                (root.and_then(|filter| self.roots.get(filter.root)), true)
            }
            Some(Owner::Tcp(..)) => (self.root().and_then(|root| self.roots.get(root)), true),
            None => (None, false),
        };
        let (plugin, root_id) = root.map_or(("", ""), |root| (&root.name, &root.root_id));
        self.services.log(LogRecord { level, plugin, root_id, vm_id, stream, host: false, message });
    }

    /// Who the guest acts for: the effective context if there is one and it lives, else the callback's.
    pub(crate) fn actor(&self) -> Option<Owner> {
        let contexts = &self.vms.get(self.running.vm)?.contexts;
        if self.running.effective != 0
            && let Some(owner) = contexts.get(&self.running.effective)
        {
            return Some(*owner);
        }
        contexts.get(&self.running.context).copied()
    }

    /// The exchange that the guest acts on, with its filter's place.
    pub(crate) fn stream(&self) -> Option<(&Exchange, usize)> {
        match self.actor()? {
            Owner::Stream(exchange, filter) => Some((self.exchanges.get(exchange)?, filter)),
            Owner::Root(_) | Owner::Tcp(..) => None,
        }
    }

    /// As [`stream`](Self::stream), to change it.
    pub(crate) fn stream_mut(&mut self) -> Option<(&mut Exchange, usize)> {
        match self.actor()? {
            Owner::Stream(exchange, filter) => Some((self.exchanges.get_mut(exchange)?, filter)),
            Owner::Root(_) | Owner::Tcp(..) => None,
        }
    }

    /// The TCP connection that the guest acts on, with its filter's place.
    pub(crate) fn tcp(&self) -> Option<(&Tcp, usize)> {
        match self.actor()? {
            Owner::Tcp(id, filter) => Some((self.tcp.get(&id)?, filter)),
            Owner::Root(_) | Owner::Stream(..) => None,
        }
    }

    /// As [`tcp`](Self::tcp), to change it.
    pub(crate) fn tcp_mut(&mut self) -> Option<(&mut Tcp, usize)> {
        match self.actor()? {
            Owner::Tcp(id, filter) => Some((self.tcp.get_mut(&id)?, filter)),
            Owner::Root(_) | Owner::Stream(..) => None,
        }
    }

    /// The plugin that the guest acts for.
    pub(crate) fn root(&self) -> Option<usize> {
        match self.actor()? {
            Owner::Root(root) => Some(root),
            Owner::Stream(exchange, filter) => Some(self.exchanges.get(exchange)?.filters.get(filter)?.root),
            Owner::Tcp(id, filter) => Some(self.tcp.get(&id)?.filters.get(filter)?.root),
        }
    }

    pub(crate) fn vm(&self) -> Option<&VmData> {
        self.vms.get(self.running.vm)
    }

    pub(crate) fn vm_mut(&mut self) -> Option<&mut VmData> {
        self.vms.get_mut(self.running.vm)
    }

    pub(crate) fn abi(&self) -> AbiVersion {
        self.vm().map_or(AbiVersion::V0_2_1, |vm| vm.abi)
    }

    /// The root context's callback that is running, if it is one.
    pub(crate) const fn callback(&self) -> Option<Callback> {
        self.running.callback
    }

    /// Prepares the entry of a guest; the answer puts back what it took the place of.
    pub(crate) fn before_callback(&mut self, vm: usize, callback: Callback) -> Running {
        self.counters.callbacks += 1;
        if let Some(trace) = &mut self.trace {
            trace.push(TraceLine::enter(callback));
        }
        let delivery = self.running.delivery.take();
        let running =
            Running { vm, context: callback.context(), callback: Some(callback), delivery, ..Running::default() };
        let outer = std::mem::replace(&mut self.running, running);
        self.watch_callback(callback);
        outer
    }

    /// Undoes [`before_callback`](Self::before_callback).
    pub(crate) fn after_callback(&mut self, callback: Callback, result: &Result<u32, Trap>, outer: Running) {
        if let (Some(trace), Ok(answer)) = (&mut self.trace, result) {
            trace.push(TraceLine::leave(callback, *answer));
        }
        self.watch_return(callback, result);
        let delivery = self.running.delivery.take();
        self.running = Running { delivery, ..outer };
    }

    /// Logs that the guest has called a function that it may not, as Envoy does.
    pub(crate) fn log_restricted(&mut self, family: Family, function: &str) {
        self.log(LogLevel::Error, format!("{RESTRICTED}{family} capability: {function}").as_bytes());
    }

    /// Logs the end of a guest as Envoy does.
    pub(crate) fn log_trap(&self, vm: usize, trap: &Trap) {
        let vm_id = self.vms.get(vm).map_or("", |vm| &vm.vm_id);
        let root = self.roots.iter().find(|root| root.vm == vm && root.context != 0);
        let (plugin, root_id) = root.map_or(("", ""), |root| (&root.name, &root.root_id));
        let message = format!("Function: {} failed: {}", trap.function, trap.reason);
        let message = message.as_bytes();
        let level = LogLevel::Error;
        self.services.log(LogRecord { level, plugin, root_id, vm_id, stream: true, host: true, message });
    }

    /// Remembers that a callout is on its way.
    pub(crate) fn expect(&mut self, id: CalloutId, pending: Pending) {
        if let Some(deadline) = pending.deadline {
            self.deadlines.insert((deadline, id));
        }
        if pending.grpc.is_some() {
            self.grpc_tokens.insert((pending.root, pending.token), id);
        }
        self.pending.insert(id, pending);
    }

    /// The gRPC callout of this token, of the plugin that the guest acts for.
    pub(crate) fn grpc_id(&self, token: u32) -> Option<CalloutId> {
        self.grpc_tokens.get(&(self.root()?, token)).copied()
    }

    /// Forgets a token that the guest will not use again.
    pub(crate) fn forget_grpc(&mut self, token: u32) {
        if let Some(root) = self.root() {
            self.grpc_tokens.remove(&(root, token));
        }
    }

    /// Where a gRPC callout stands, if it goes on.
    pub(crate) fn grpc_call(&mut self, id: CalloutId) -> Option<&mut GrpcCall> {
        self.pending.get_mut(&id)?.grpc.as_deref_mut()
    }

    /// Takes a callout off the list; nothing if nobody waits for it.
    pub(crate) fn unexpect(&mut self, id: CalloutId) -> Option<Pending> {
        let pending = self.pending.remove(&id)?;
        if let Some(deadline) = pending.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        if pending.grpc.is_some() {
            self.grpc_tokens.remove(&(pending.root, pending.token));
        }
        Some(pending)
    }

    /// Decides where a request goes, behind all filters, and tells the upstream how long it may take.
    pub(crate) fn route(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        let Some(headers) = exchange.request.headers.as_mut() else { return };
        if std::mem::take(&mut exchange.route_forgotten)
            && let Some(routing) = exchange.entrance.route(headers)
        {
            exchange.routing = routing;
        }
        if let Some(timeout) = self.options.route_timeout {
            headers.overwrite("x-envoy-expected-rq-timeout-ms", timeout.as_millis().to_string().into());
        }
    }

    /// Takes out of a response's headers what was about the upstream's connection, and adds what the proxy says about itself and
    /// the client's, behind all filters.
    pub(crate) fn sign(&mut self, id: ExchangeId) {
        let Some(server) = self.options.server.clone() else { return };
        let unix = self.services.clock().unix();
        if unix.as_secs() != self.date.0 || self.date.1.is_empty() {
            self.date = (unix.as_secs(), http_date(unix).into());
        }
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        let Some(headers) = exchange.response.headers.as_mut() else { return };
        for name in HOP_BY_HOP {
            headers.remove(name);
        }
        if headers.get(b"date").is_none() {
            headers.add_owned(Bytes::from_static(b"date"), self.date.1.clone());
        }
        headers.overwrite("server", server);
        if exchange.last {
            headers.add_owned(Bytes::from_static(b"connection"), Bytes::from_static(b"close"));
        }
    }

    /// A block in the guest's memory, faults and counters included.
    pub(crate) fn allocate(&mut self, memory: &mut dyn Memory, len: usize) -> Result<u64, Status> {
        self.counters.allocations += 1;
        if let Some(faults) = &mut self.options.faults
            && faults.at_allocation()
        {
            return Err(Status::InvalidMemoryAccess);
        }
        memory.allocate(len as u64)
    }
}
