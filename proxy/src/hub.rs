//! The worker of one thread: the worker itself, what is under way in it, and where its effects go.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use wasmplugin_host::id_map::IdMap;
use wasmplugin_host::shared::Inbox;
use wasmplugin_host::worker::{
    CalloutId, CalloutRequest, Counters, Effect, ExchangeId, GrpcRequest, Item, Options, TcpId, Worker,
};

use crate::lane::{Lane, Outgoing};
use crate::tcp_lane::TcpLane;
use crate::thread_state::ThreadState;

/// Who sends callouts; the answer must come later, never from inside of the call.
#[derive(Clone, Copy)]
pub(crate) struct Senders {
    pub(crate) http: fn(&Rc<Hub>, CalloutId, CalloutRequest),
    pub(crate) grpc: fn(&Rc<Hub>, CalloutId, GrpcRequest),
}

/// The worker of one thread.
pub(crate) struct Hub {
    pub(crate) thread: Rc<ThreadState>,
    worker: RefCell<Worker>,
    senders: Senders,
    lanes: RefCell<IdMap<ExchangeId, Rc<Lane>>>,
    pub(crate) tcp: RefCell<IdMap<TcpId, Rc<TcpLane>>>,
    pub(crate) callouts: RefCell<IdMap<CalloutId, AbortHandle>>,
    /// What plugins send on gRPC callouts.
    pub(crate) grpc: RefCell<IdMap<CalloutId, Rc<Outgoing>>>,
    /// The timer is to look again at when it has to run; also rung by other threads.
    pub(crate) timer: Arc<Notify>,
    /// When the timer will run, since the clock's start.
    pub(crate) armed: Cell<Option<Duration>>,
    /// The plugins have been stopped.
    pub(crate) over: Cell<bool>,
    /// What was told to the admin port last.
    reported: Cell<Reported>,
}

/// Numbers of a worker's that the admin port adds up over all workers.
#[derive(Debug, Clone, Copy, Default)]
struct Reported {
    counters: Counters,
    vms: u64,
    started: u64,
    memory: u64,
}

impl Hub {
    /// A worker without chains.
    pub(crate) fn new(thread: &Rc<ThreadState>, senders: Senders) -> Rc<Self> {
        let timer = Arc::new(Notify::new());
        let wake = Arc::clone(&timer);
        let options = Options {
            buffer_limit: thread.settings.buffer_limit,
            route_timeout: thread.settings.timeouts.route,
            server: Some(Bytes::from_static(b"envoy")),
            inbox: Inbox::waking(Arc::new(move || wake.notify_one())),
            ..Options::default()
        };
        Rc::new(Self {
            thread: Rc::clone(thread),
            worker: RefCell::new(Worker::new(Arc::clone(&thread.services), options)),
            senders,
            lanes: RefCell::default(),
            tcp: RefCell::default(),
            callouts: RefCell::default(),
            grpc: RefCell::default(),
            timer,
            armed: Cell::new(None),
            over: Cell::new(false),
            reported: Cell::default(),
        })
    }

    /// Stops the plugins.
    pub(crate) fn end(self: &Rc<Self>) {
        if self.over.replace(true) {
            return;
        }
        self.tell(Worker::stop);
        for (_, task) in self.callouts.take() {
            task.abort();
        }
        self.report();
        self.timer.notify_one();
    }

    /// Tells the admin port how the worker is doing.
    pub(crate) fn report(&self) {
        let (worker, over) = (self.worker.borrow(), self.over.get());
        let now = Reported {
            counters: worker.counters(),
            vms: if over { 0 } else { worker.running_vms() as u64 },
            started: worker.started_vms(),
            memory: if over { 0 } else { worker.guest_memory() },
        };
        let (before, stats) = (self.reported.replace(now), &self.thread.stats);
        stats.traps.follow(before.counters.traps, now.counters.traps);
        stats.host_calls.follow(before.counters.host_calls, now.counters.host_calls);
        stats.allocations.follow(before.counters.allocations, now.counters.allocations);
        stats.guest_memory.follow(before.memory, now.memory);
        stats.vms.follow(before.vms, now.vms);
        stats.vms_started.follow(before.started, now.started);
    }

    /// Looks at the worker.
    pub(crate) fn ask<T>(&self, look: impl FnOnce(&Worker) -> T) -> T {
        look(&self.worker.borrow())
    }

    /// Tells the worker something from which nothing follows.
    pub(crate) fn note<T>(&self, what: impl FnOnce(&mut Worker) -> T) -> T {
        what(&mut self.worker.borrow_mut())
    }

    /// Tells the worker something and carries out what it decides.
    pub(crate) fn tell<T>(self: &Rc<Self>, what: impl FnOnce(&mut Worker) -> T) -> T {
        let result = what(&mut self.worker.borrow_mut());
        loop {
            // The borrow must not outlive this statement: what the effect wakes may come back here.
            let effect = self.worker.borrow_mut().next_effect();
            let Some(effect) = effect else { break };
            self.carry_out(effect);
        }
        self.arm();
        result
    }

    fn carry_out(self: &Rc<Self>, effect: Effect) {
        match effect {
            Effect::ToUpstream { id, item } => self.with_lane(id, |lane| lane.to_upstream(item)),
            Effect::ToDownstream { id, item } => self.with_lane(id, |lane| lane.to_downstream(item)),
            Effect::ResetUpstream { id } => self.with_lane(id, |lane| {
                lane.upstream_gone.set(true);
                lane.driver.wake();
                lane.up.reader.wake();
            }),
            Effect::ResetDownstream { id } => self.with_lane(id, |lane| {
                lane.cut.set(true);
                lane.driver.wake();
            }),
            Effect::Callout { id, request } => {
                if let Some(timeout) = request.timeout {
                    self.arm_for(self.thread.services.clock().now() + timeout);
                }
                (self.senders.http)(self, id, request);
            }
            Effect::Grpc { id, request } => {
                if let Some(timeout) = request.timeout {
                    self.arm_for(self.thread.services.clock().now() + timeout);
                }
                (self.senders.grpc)(self, id, request);
            }
            Effect::GrpcData { id, data, end } => {
                let outgoing = self.grpc.borrow().get(&id).cloned();
                if let Some(outgoing) = outgoing {
                    outgoing.messages.push(Item::Data(data, end));
                }
            }
            Effect::Tcp { id, effect } => {
                let lane = self.tcp.borrow().get(&id).cloned();
                if let Some(lane) = lane {
                    lane.take(effect);
                }
            }
            Effect::CancelCallout(id) => {
                let task = self.callouts.borrow_mut().remove(&id);
                if let Some(task) = task {
                    task.abort();
                }
            }
        }
    }

    /// Makes sure that the timer runs when the worker next has something to do by itself.
    fn arm(&self) {
        // With callouts under way the worker would have to look through all of them; their timeouts are armed for
        // when they start, and for the rest the timer runs often enough.
        let worker = self.worker.borrow();
        if worker.open_callouts() > 0 {
            return;
        }
        let next = worker.next_deadline();
        drop(worker);
        if let Some(next) = next {
            self.arm_for(next);
        }
    }

    fn arm_for(&self, deadline: Duration) {
        if self.armed.get().is_none_or(|armed| deadline < armed) {
            self.armed.set(Some(deadline));
            self.timer.notify_one();
        }
    }

    fn with_lane(&self, id: ExchangeId, run: impl FnOnce(&Lane)) {
        if let Some(lane) = self.lanes.borrow().get(&id) {
            run(lane);
        }
    }

    pub(crate) fn add_lane(&self, id: ExchangeId, lane: Rc<Lane>) {
        self.lanes.borrow_mut().insert(id, lane);
    }

    pub(crate) fn remove_lane(&self, id: ExchangeId) {
        self.lanes.borrow_mut().remove(&id);
    }

    /// The exchanges of which this is true.
    pub(crate) fn lanes_where(&self, mut test: impl FnMut(&Lane, Instant) -> bool) -> Vec<(ExchangeId, Rc<Lane>)> {
        let now = Instant::now();
        let lanes = self.lanes.borrow();
        lanes.iter().filter(|(_, lane)| test(lane, now)).map(|(id, lane)| (*id, Rc::clone(lane))).collect()
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("exchanges", &self.lanes.borrow().len()).finish_non_exhaustive()
    }
}
