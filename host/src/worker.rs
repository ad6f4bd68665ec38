//! One worker of a proxy: its VMs and exchanges, without any I/O of its own.
//!
//! Messages go in through methods, [`Effect`]s come out of [`Worker::next_effect`]; time is told by
//! [`Worker::advance_to`]. Whoever owns the sockets, or plays them, sits around it.

use std::fmt;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

pub use crate::callout::{CalloutId, CalloutOutcome, CalloutRequest};
use crate::callout::{Delivery, Pending};
pub use crate::exchange::{ExchangeId, LocalReply};
use crate::fault::Faults;
use crate::filter::Direction;
use crate::guest::{Callback, Guest, Load, Trap};
use crate::headers::{HeaderMap, Side};
use crate::limits::Limits;
use crate::lint::Finding;
use crate::services::Services;
use crate::shared::Inbox;
use crate::trace::TraceLine;
pub use crate::vm::Counters;
use crate::vm::{Ids, Owner, Root, Running, VmData, VmState};

/// One plugin of the chain, as a proxy's configuration names it.
#[derive(Debug, Clone)]
pub struct Plugin {
    /// The name in logs and in the `plugin_name` property.
    pub name: String,
    /// Tells plugins of one module apart.
    pub root_id: String,
    /// Plugins of equal id, VM configuration and code share a VM.
    pub vm_id: String,
    /// What `proxy_on_configure` hands over.
    pub configuration: Bytes,
    /// What `proxy_on_vm_start` hands over.
    pub vm_configuration: Bytes,
    /// What happens to requests when the plugin has trapped.
    pub fail: FailPolicy,
    /// Whether `Pause` from a headers callback lets body callbacks go on.
    pub allow_on_headers_stop_iteration: bool,
    /// The plugin itself.
    pub code: Code,
}

/// What happens to requests when a plugin has trapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FailPolicy {
    /// They are answered with 503.
    #[default]
    Closed,
    /// They pass without the plugin.
    Open,
    /// As closed, but later requests get a fresh VM, after a pause.
    Reload,
}

/// Where a plugin's code is.
#[derive(Debug, Clone)]
pub enum Code {
    /// In this process: the function registers the plugin with its SDK.
    #[cfg(feature = "native")]
    Native(fn()),
    /// In a module; anything that can start guests will do.
    Wasm(Arc<dyn Load>),
}

impl Code {
    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            #[cfg(feature = "native")]
            (Self::Native(one), Self::Native(other)) => std::ptr::fn_addr_eq(*one, *other),
            (Self::Wasm(one), Self::Wasm(other)) => Arc::ptr_eq(one, other),
            #[cfg(feature = "native")]
            _ => false,
        }
    }
}

/// How a worker behaves where proxies differ.
#[derive(Debug, Clone)]
pub struct Options {
    /// How much of a body a stopped filter may collect.
    pub buffer_limit: usize,
    /// What guests may use.
    pub limits: Limits,
    /// How the end of a response's body is told.
    pub response_end: EndStyle,
    /// How the end of a request's body is told; `None` decides by the protocol of the connection.
    pub request_end: Option<EndStyle>,
    /// How long a failed VM stays down under [`FailPolicy::Reload`].
    pub reload_backoff: Duration,
    /// Faults on demand; nothing is checked where there is none.
    pub faults: Option<Faults>,
    /// Whether trace lines are kept.
    pub trace: bool,
    /// Whether mistakes of the guests are looked for.
    pub lint: bool,
    /// Whether the time inside of guests is measured.
    pub measure_time: bool,
    /// Where notices for this worker arrive.
    pub inbox: Inbox,
    /// What responses say in `server`; with it they get a `date` too.
    pub server: Option<Bytes>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            buffer_limit: 1 << 20,
            limits: Limits::default(),
            response_end: EndStyle::Trailing,
            request_end: None,
            reload_backoff: Duration::from_secs(1),
            faults: None,
            trace: false,
            lint: false,
            measure_time: false,
            inbox: Inbox::default(),
            server: None,
        }
    }
}

/// How the end of a body reaches the filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EndStyle {
    /// As an empty piece of its own after the last one: HTTP/1 in Envoy.
    #[default]
    Trailing,
    /// With the last piece: HTTP/2 in Envoy.
    OnLast,
}

/// What is known about the client's connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connection {
    /// The connection's number.
    pub id: u64,
    /// The client's address.
    pub source: Option<SocketAddr>,
    /// The proxy's own address.
    pub destination: Option<SocketAddr>,
    /// The protocol that the client speaks.
    pub protocol: Protocol,
    /// What the TLS handshake told, if there was one.
    pub tls: Option<Tls>,
}

/// The protocol of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
    /// HTTP/2.
    Http2,
}

/// What a TLS handshake told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// The name that the client asked for.
    pub requested_server_name: String,
    /// Such as `TLSv1.3`.
    pub version: String,
    /// Whether the client showed a certificate that was verified.
    pub mutual: bool,
    /// The subject of the client's certificate.
    pub peer_subject: String,
    /// The URI names of the client's certificate.
    pub peer_uris: Vec<String>,
    /// The DNS names of the client's certificate.
    pub peer_dns_names: Vec<String>,
    /// SHA-256 of the client's certificate, in hexadecimal.
    pub peer_digest: String,
    /// The subject of the proxy's certificate.
    pub local_subject: String,
    /// The URI names of the proxy's certificate.
    pub local_uris: Vec<String>,
    /// The DNS names of the proxy's certificate.
    pub local_dns_names: Vec<String>,
}

/// Something that the owner of the sockets has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send a part of the request on.
    ToUpstream {
        /// Whose.
        id: ExchangeId,
        /// What.
        item: Item,
    },
    /// Send a part of the response to the client.
    ToDownstream {
        /// Whose.
        id: ExchangeId,
        /// What.
        item: Item,
    },
    /// Drop the upstream request; nothing more is expected from it.
    ResetUpstream {
        /// Whose.
        id: ExchangeId,
    },
    /// Cut the client off. The exchange is over for the worker.
    ResetDownstream {
        /// Whose.
        id: ExchangeId,
    },
    /// Ask a cluster, and answer with [`Worker::callout_answered`].
    Callout {
        /// Which callout.
        id: CalloutId,
        /// What to ask.
        request: CalloutRequest,
    },
    /// Forget a callout; its answer is not wanted any more.
    CancelCallout(CalloutId),
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Headers, and whether the message ends with them.
    Headers(HeaderMap, bool),
    /// A piece of the body, and whether the message ends with it.
    Data(Bytes, bool),
    /// Trailers, which end the message.
    Trailers(HeaderMap),
}

/// Why an upstream request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamFailure {
    /// No connection could be made.
    Connect,
    /// The connection ended.
    Reset,
    /// It took too long.
    Timeout,
    /// What came is not HTTP.
    Protocol,
}

/// A worker could not be started.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartError {
    /// The module's code could not be loaded or its start-up entry failed.
    Load {
        /// The plugin's name.
        plugin: String,
        /// Why.
        reason: String,
    },
    /// A callback of the start trapped.
    Trap {
        /// The plugin's name.
        plugin: String,
        /// Where and why.
        trap: Trap,
    },
    /// The plugin refused its VM's configuration.
    VmStart {
        /// The plugin's name.
        plugin: String,
    },
    /// The plugin refused its configuration.
    Configure {
        /// The plugin's name.
        plugin: String,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load { plugin, reason } => write!(f, "plugin `{plugin}` cannot be loaded: {reason}"),
            Self::Trap { plugin, trap } => write!(f, "plugin `{plugin}` failed to start: {trap}"),
            Self::VmStart { plugin } => write!(f, "plugin `{plugin}` refused to start (`proxy_on_vm_start`)"),
            Self::Configure { plugin } => {
                write!(f, "plugin `{plugin}` refused its configuration (`proxy_on_configure`)")
            }
        }
    }
}

impl std::error::Error for StartError {}

/// One worker: the plugins' VMs, the exchanges under way, and what is to be done next.
///
/// Envoy configures a plugin also on its main thread and once for trial; a worker does it once.
pub struct Worker {
    pub(crate) state: Home,
    pub(crate) plugins: Vec<Plugin>,
    vms: Vec<Vm>,
}

/// A VM as the worker holds it; the part that host calls reach is in the state.
struct Vm {
    guest: Option<Box<dyn Guest>>,
    /// The plugin whose code it runs.
    plugin: usize,
    started: Duration,
}

impl Worker {
    /// Starts the plugins' VMs and configures the plugins, which meet requests in this order.
    ///
    /// # Errors
    ///
    /// The first plugin that does not start, and why.
    pub fn start(plugins: &[Plugin], services: Arc<Services>, options: Options) -> Result<Self, StartError> {
        let state = Home(Some(Box::new(VmState::new(services, options))));
        let mut worker = Self { state, plugins: plugins.to_vec(), vms: Vec::new() };
        for (index, plugin) in plugins.iter().enumerate() {
            let known = worker.vms.iter().position(|vm| {
                plugins.get(vm.plugin).is_some_and(|other| {
                    other.vm_id == plugin.vm_id
                        && other.vm_configuration == plugin.vm_configuration
                        && other.code.same(&plugin.code)
                })
            });
            let vm = known.unwrap_or(worker.vms.len());
            worker.state.roots.push(Root {
                name: plugin.name.as_str().into(),
                root_id: plugin.root_id.as_str().into(),
                configuration: plugin.configuration.clone(),
                vm,
                context: 0,
                tick: None,
                next_tick: None,
                status: 0,
                status_message: Bytes::new(),
                pending_done: false,
            });
            if known.is_none() {
                worker.vms.push(Vm { guest: None, plugin: index, started: Duration::ZERO });
                worker.state.vms.push(VmData::new(plugin));
                worker.load(vm)?;
            }
            worker.start_root(index)?;
        }
        Ok(worker)
    }

    /// Begins an exchange.
    pub fn open(&mut self, connection: Connection) -> ExchangeId {
        self.begin(connection)
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
            let alive = self.state.vms.get(notice.vm).is_some_and(|vm| vm.contexts.contains_key(&notice.root));
            if alive {
                self.call(notice.vm, Callback::QueueReady { root: notice.root, queue: notice.queue });
            }
        }
        while let Some(id) = self.state.deadlines.first().filter(|(due, _)| *due <= now).map(|(_, id)| *id) {
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
        for index in 0..self.state.roots.len() {
            let Some((vm, context)) = self.state.roots.get(index).map(|root| (root.vm, root.context)) else { continue };
            if context == 0 {
                continue;
            }
            match self.call(vm, Callback::Done { context }) {
                Some(0) => {
                    if let Some(root) = self.state.roots.get_mut(index) {
                        root.pending_done = true;
                    }
                }
                Some(_) => self.delete_root(index),
                None => {}
            }
        }
    }

    /// Exchanges that have not ended.
    #[must_use]
    pub fn open_exchanges(&self) -> usize {
        self.state.exchanges.len()
    }

    /// Contexts of exchanges that the guests still know, over all VMs.
    #[must_use]
    pub fn open_contexts(&self) -> usize {
        let streams = |vm: &VmData| vm.contexts.values().filter(|owner| matches!(owner, Owner::Stream(..))).count();
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

    /// How often guests were entered and called back.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.state.counters
    }

    /// Whether the plugin's VM has trapped and was not replaced.
    #[must_use]
    pub fn has_failed(&self, plugin: usize) -> bool {
        let vm = self.state.roots.get(plugin).and_then(|root| self.state.vms.get(root.vm));
        vm.is_some_and(|vm| vm.failed)
    }

    /// The trace lines since the last time, if [`Options::trace`] is on.
    pub fn take_trace(&mut self) -> Vec<TraceLine> {
        self.state.trace.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The mistakes found since the last time, if [`Options::lint`] is on.
    pub fn take_findings(&mut self) -> Vec<Finding> {
        self.state.findings.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The fault of the callout that the driver is about to send, if the plan has one.
    pub(crate) fn callout_fault(&mut self) -> Option<crate::fault::CalloutFault> {
        self.state.options.faults.as_mut()?.at_callout()
    }

    /// Starts the code of a VM.
    fn load(&mut self, vm: usize) -> Result<(), StartError> {
        let Some(plugin) = self.vms.get(vm).and_then(|vm| self.plugins.get(vm.plugin)) else { return Ok(()) };
        let (name, code) = (plugin.name.clone(), plugin.code.clone());
        let (guest, ids) = match code {
            #[cfg(feature = "native")]
            Code::Native(_) => (Ok(crate::native::guest()), Ids::Thread),
            Code::Wasm(load) => {
                self.state.running = Running { vm, ..Running::default() };
                let guest = self.state.lend(|state| load.start(state));
                (guest, Ids::own())
            }
        };
        let guest = guest.map_err(|reason| StartError::Load { plugin: name, reason })?;
        if let Some(data) = self.state.vms.get_mut(vm) {
            data.abi = guest.abi();
            data.ids = ids;
            data.generation += 1;
            data.failed = false;
            data.contexts.clear();
            data.metrics = Default::default();
        }
        let now = self.state.services.clock().now();
        if let Some(vm) = self.vms.get_mut(vm) {
            vm.guest = Some(guest);
            vm.started = now;
        }
        Ok(())
    }

    /// Creates, starts and configures a plugin's root context.
    fn start_root(&mut self, index: usize) -> Result<(), StartError> {
        let Some(plugin) = self.plugins.get(index) else { return Ok(()) };
        let name = plugin.name.clone();
        let (vm_size, size) = (length(plugin.vm_configuration.len()), length(plugin.configuration.len()));
        #[cfg(feature = "native")]
        if let Code::Native(register) = plugin.code {
            crate::native::register(register)
                .map_err(|reason| StartError::Load { plugin: name.clone(), reason })?;
        }
        let Some(vm) = self.state.roots.get(index).map(|root| root.vm) else { return Ok(()) };
        let Some(context) = self.state.vms.get_mut(vm).map(|data| {
            let context = data.ids.context();
            data.contexts.insert(context, Owner::Root(index));
            context
        }) else {
            return Ok(());
        };
        if let Some(root) = self.state.roots.get_mut(index) {
            root.context = context;
            root.tick = None;
            root.next_tick = None;
        }
        let trap = |trap| StartError::Trap { plugin: name.clone(), trap };
        self.enter(vm, Callback::ContextCreate { context, root: 0 }).map_err(trap)?;
        if self.enter(vm, Callback::VmStart { root: context, config_len: vm_size }).map_err(trap)? == 0 {
            return Err(StartError::VmStart { plugin: name });
        }
        if self.enter(vm, Callback::Configure { root: context, config_len: size }).map_err(trap)? == 0 {
            return Err(StartError::Configure { plugin: name });
        }
        Ok(())
    }

    /// Runs a callback and what it asked for; nothing if the VM has failed, now or before.
    pub(crate) fn call(&mut self, vm: usize, callback: Callback) -> Option<u32> {
        self.enter(vm, callback).ok()
    }

    /// As [`call`](Self::call), with the reason of a failure.
    fn enter(&mut self, vm: usize, callback: Callback) -> Result<u32, Trap> {
        let failed = |reason: &str| Trap { function: callback.name(), reason: reason.to_owned() };
        if self.state.vms.get(vm).is_none_or(|data| data.failed) {
            return Err(failed("the VM has failed before"));
        }
        let Some(mut guest) = self.vms.get_mut(vm).and_then(|vm| vm.guest.take()) else {
            return Err(failed("the VM has no guest"));
        };
        if !guest.exports(callback) {
            if let Some(vm) = self.vms.get_mut(vm) {
                vm.guest = Some(guest);
            }
            return Ok(callback.assumed());
        }
        // What an outer callback has left to do waits until this one's wishes are done.
        let postponed = (!self.state.deferred.is_empty()).then(|| std::mem::take(&mut self.state.deferred));
        let outer = self.state.before_callback(vm, callback);
        let result = if self.state.options.faults.as_mut().is_some_and(|faults| faults.at_callback(callback.name())) {
            Err(failed("a trap was injected"))
        } else {
            let began = self.state.options.measure_time.then(Instant::now);
            let result = self.state.lend(|state| guest.call(state, callback));
            if let Some(began) = began {
                self.state.counters.guest_time += began.elapsed();
            }
            match self.state.running.stop.take() {
                Some(reason) => Err(Trap { function: callback.name(), reason }),
                None => result,
            }
        };
        self.state.after_callback(callback, &result, outer);
        match &result {
            Ok(_) => {
                if let Some(vm) = self.vms.get_mut(vm) {
                    vm.guest = Some(guest);
                }
            }
            Err(trap) => {
                // The guest is dropped here: nothing of it may run again.
                drop(guest);
                self.fail_vm(vm, trap);
            }
        }
        // After a trap as well: what the guest asked for before, Envoy carries out, so last words reach their clients.
        self.run_deferred();
        if let Some(postponed) = postponed {
            self.state.deferred = postponed;
        }
        result
    }

    /// Marks a VM as failed and forgets what waits for it.
    fn fail_vm(&mut self, vm: usize, trap: &Trap) {
        let state = &mut *self.state;
        state.counters.traps += 1;
        state.log_trap(vm, trap);
        let Some(data) = state.vms.get_mut(vm) else { return };
        data.failed = true;
        data.contexts.clear();
        let roots: Vec<usize> =
            state.roots.iter().enumerate().filter(|(_, root)| root.vm == vm).map(|(index, _)| index).collect();
        for root in state.roots.iter_mut().filter(|root| root.vm == vm) {
            root.tick = None;
            root.next_tick = None;
        }
        let orphans: Vec<CalloutId> =
            state.pending.iter().filter(|(_, pending)| roots.contains(&pending.root)).map(|(id, _)| *id).collect();
        for id in orphans {
            state.unexpect(id);
            state.effects.push_back(Effect::CancelCallout(id));
        }
    }

    /// Gives a failed VM a new guest, if its policy and its pause allow it; whether the VM runs.
    pub(crate) fn revive(&mut self, vm: usize) -> bool {
        let failed = self.state.vms.get(vm).is_some_and(|data| data.failed);
        if !failed {
            return true;
        }
        let now = self.state.services.clock().now();
        let Some((plugin, started)) = self.vms.get(vm).map(|vm| (vm.plugin, vm.started)) else { return false };
        let reloads = self.plugins.get(plugin).is_some_and(|plugin| plugin.fail == FailPolicy::Reload);
        if !reloads || now < started + self.state.options.reload_backoff {
            return false;
        }
        if self.load(vm).is_err() {
            // The next try waits as long again.
            if let Some(vm) = self.vms.get_mut(vm) {
                vm.started = now;
            }
            return false;
        }
        let roots: Vec<usize> = (0..self.state.roots.len())
            .filter(|index| self.state.roots.get(*index).is_some_and(|root| root.vm == vm))
            .collect();
        for root in roots {
            if self.start_root(root).is_err() {
                if let Some(data) = self.state.vms.get_mut(vm) {
                    data.failed = true;
                }
                return false;
            }
        }
        true
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

    /// Hands a callout's outcome to its plugin.
    fn deliver(&mut self, pending: &Pending, outcome: CalloutOutcome) {
        let Some(root) = self.state.roots.get_mut(pending.root) else { return };
        let (vm, context) = (root.vm, root.context);
        let delivery = match outcome {
            CalloutOutcome::Response { headers, body, trailers } => {
                root.status = 0;
                Delivery { root: pending.root, headers, body, trailers }
            }
            CalloutOutcome::Failed => {
                // The number stays after the callback, the message does not.
                root.status = 11;
                root.status_message = Bytes::from_static(b"reset");
                let headers = HeaderMap::new();
                Delivery { root: pending.root, headers, body: Bytes::new(), trailers: HeaderMap::new() }
            }
        };
        if self.state.vms.get(vm).is_none_or(|data| data.generation != pending.generation) {
            return;
        }
        let callback = Callback::HttpCallResponse {
            root: context,
            token: pending.token,
            headers: length(delivery.headers.len()),
            body_size: length(delivery.body.len()),
            trailers: length(delivery.trailers.len()),
        };
        let outer = self.state.running.delivery.replace(delivery);
        self.call(vm, callback);
        self.state.running.delivery = outer;
        if let Some(root) = self.state.roots.get_mut(pending.root) {
            root.status_message = Bytes::new();
        }
    }

    /// Deletes a root context that has said that it is done.
    pub(crate) fn delete_root(&mut self, index: usize) {
        let Some((vm, context)) = self.state.roots.get_mut(index).map(|root| {
            root.pending_done = false;
            root.tick = None;
            root.next_tick = None;
            (root.vm, std::mem::take(&mut root.context))
        }) else {
            return;
        };
        self.call(vm, Callback::Delete { context });
        if let Some(data) = self.state.vms.get_mut(vm) {
            data.contexts.remove(&context);
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("plugins", &self.plugins.len())
            .field("exchanges", &self.open_exchanges())
            .finish_non_exhaustive()
    }
}

impl VmData {
    fn new(plugin: &Plugin) -> Self {
        Self {
            vm_id: plugin.vm_id.as_str().into(),
            configuration: plugin.vm_configuration.clone(),
            contexts: Default::default(),
            ids: Ids::own(),
            metrics: Default::default(),
            abi: crate::abi::AbiVersion::V0_2_1,
            generation: 0,
            failed: false,
        }
    }
}

/// Where the state lives while no guest has it.
pub(crate) struct Home(Option<Box<VmState>>);

impl Home {
    /// Lends the state to a guest.
    fn lend<T>(&mut self, run: impl FnOnce(Box<VmState>) -> (Box<VmState>, T)) -> T {
        #[expect(clippy::expect_used, reason = "INVARIANT: it leaves only below, and only until the guest returns")]
        let state = self.0.take().expect("the state is at home");
        let (state, result) = run(state);
        self.0 = Some(state);
        result
    }
}

impl Deref for Home {
    type Target = VmState;

    fn deref(&self) -> &VmState {
        #[expect(clippy::expect_used, reason = "INVARIANT: `lend` has it back before anybody can look")]
        self.0.as_deref().expect("the state is at home")
    }
}

impl DerefMut for Home {
    fn deref_mut(&mut self) -> &mut VmState {
        #[expect(clippy::expect_used, reason = "INVARIANT: `lend` has it back before anybody can look")]
        self.0.as_deref_mut().expect("the state is at home")
    }
}

/// A size as the ABI carries it.
pub(crate) fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
