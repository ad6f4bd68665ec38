//! What all tasks of a worker's thread share: the worker itself, and where its effects go.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::header::HeaderValue;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use wasmplugin_host::id_map::IdMap;
use wasmplugin_host::services::Services;
use wasmplugin_host::worker::{CalloutId, CalloutRequest, Effect, ExchangeId, GrpcRequest, Item, Worker};

use crate::client::Client;
use crate::date::Date;
use crate::lane::{Lane, Outgoing};
use crate::request_ids::RequestIds;
use crate::settings::Settings;
use crate::stats::WorkerStats;
use crate::upstream::Cluster;

/// Who sends callouts; the answer must come later, never from inside of the call.
#[derive(Clone, Copy)]
pub(crate) struct Senders {
    pub(crate) http: fn(&Rc<Hub>, CalloutId, CalloutRequest),
    pub(crate) grpc: fn(&Rc<Hub>, CalloutId, GrpcRequest),
}

/// What all tasks of a worker's thread share.
pub(crate) struct Hub {
    worker: RefCell<Worker>,
    senders: Senders,
    lanes: RefCell<IdMap<ExchangeId, Rc<Lane>>>,
    pub(crate) callouts: RefCell<IdMap<CalloutId, AbortHandle>>,
    /// What plugins send on gRPC callouts.
    pub(crate) grpc: RefCell<IdMap<CalloutId, Rc<Outgoing>>>,
    pub(crate) clients: RefCell<IdMap<u64, Rc<Client>>>,
    pub(crate) clusters: Vec<Rc<Cluster>>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) services: Arc<Services>,
    pub(crate) stats: Arc<WorkerStats>,
    /// How long an upstream has, in milliseconds, as it is told.
    pub(crate) route_timeout: Option<HeaderValue>,
    pub(crate) date: Date,
    pub(crate) request_ids: RequestIds,
    /// No new exchanges on the connections that there are.
    pub(crate) draining: Cell<bool>,
    pub(crate) drain: Notify,
    /// A client's connection has ended.
    pub(crate) left: Notify,
    /// The timer is to look again at when it has to run; also rung by other threads.
    pub(crate) timer: Arc<Notify>,
    /// When the timer will run, since the clock's start.
    pub(crate) armed: Cell<Option<Duration>>,
}

impl Hub {
    pub(crate) fn new(
        worker: Worker,
        senders: Senders,
        settings: Arc<Settings>,
        services: Arc<Services>,
        stats: Arc<WorkerStats>,
        timer: Arc<Notify>,
    ) -> Self {
        let clusters = settings.clusters.iter().enumerate();
        Self {
            worker: RefCell::new(worker),
            senders,
            lanes: RefCell::default(),
            callouts: RefCell::default(),
            grpc: RefCell::default(),
            clients: RefCell::default(),
            clusters: clusters.map(|(index, cluster)| Rc::new(Cluster::new(cluster, index, &stats))).collect(),
            route_timeout: settings.timeouts.route.and_then(|timeout| timeout.as_millis().to_string().try_into().ok()),
            settings,
            services,
            stats,
            date: Date::default(),
            request_ids: RequestIds::default(),
            draining: Cell::new(false),
            drain: Notify::new(),
            left: Notify::new(),
            timer,
            armed: Cell::new(None),
        }
    }

    /// The cluster of this name.
    pub(crate) fn cluster(&self, name: &str) -> Option<&Rc<Cluster>> {
        self.clusters.iter().find(|cluster| cluster.name == name)
    }

    /// Looks at the worker.
    pub(crate) fn ask<T>(&self, look: impl FnOnce(&Worker) -> T) -> T {
        look(&self.worker.borrow())
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
                    self.arm_for(self.services.clock().now() + timeout);
                }
                (self.senders.http)(self, id, request);
            }
            Effect::Grpc { id, request } => {
                if let Some(timeout) = request.timeout {
                    self.arm_for(self.services.clock().now() + timeout);
                }
                (self.senders.grpc)(self, id, request);
            }
            Effect::GrpcData { id, data, end } => {
                let outgoing = self.grpc.borrow().get(&id).cloned();
                if let Some(outgoing) = outgoing {
                    outgoing.messages.push(Item::Data(data, end));
                }
            }
            // Listeners are for HTTP: no TCP connection begins here.
            Effect::Tcp { .. } => {}
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
