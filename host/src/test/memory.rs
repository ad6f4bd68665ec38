//! The engine behind the facade that runs in the test's own process, on a clock that the test turns.

mod grpc;
mod http;
mod messages;
mod start;
mod tcp;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::grpc_answer::GrpcPart;
use super::{
    Answer, Cluster, Driver, Failure, Finding, Headers, Leaks, LogLine, Response, Samples, StatsTag, Surroundings,
    TcpRead, TcpServer, TcpWait, TraceLine,
};
use crate::abi::MetricKind;
use crate::callback::Callback;
use crate::prometheus::Page;
use crate::services::Services;
use crate::worker::{
    CalloutId, CalloutOutcome, ChainId, Connection, Effect, ExchangeId, Protocol, TcpId, UpstreamFailure, Worker,
};
use http::{Talk, TalkState};
use messages::{received, to_map};
pub(super) use start::start;
use tcp::{TcpDue, Wire};

/// An exchange that waits longer than this on the virtual clock hangs; only timers keep the proxy busy by then.
const PATIENCE: Duration = Duration::from_secs(600);

/// No exchange needs as many steps; a timer of one millisecond would take as many for nothing.
const STEPS: usize = 200_000;

struct Engine {
    workers: Vec<Worker>,
    /// How many of them take exchanges: the first ones.
    serving: usize,
    services: Arc<Services>,
    clusters: HashMap<String, Cluster>,
    stats_tags: Vec<StatsTag>,
    upstream: Cluster,
    protocol: Protocol,
    talks: HashMap<u64, Talk>,
    numbers: HashMap<(usize, ExchangeId), u64>,
    /// The upstream, if this is a TCP proxy.
    tcp: Option<TcpServer>,
    wires: HashMap<u64, Wire>,
    tcp_numbers: HashMap<(usize, TcpId), u64>,
    /// The gRPC callouts that have not ended.
    grpc: HashMap<(usize, CalloutId), grpc::Talk>,
    /// What servers will do, by time and then in the order in which it was decided.
    agenda: BTreeMap<(Duration, u64), Due>,
    scheduled: u64,
    logs: Arc<Mutex<Vec<LogLine>>>,
    trace: Vec<TraceLine>,
    findings: Vec<Finding>,
    surroundings: Surroundings,
}

/// Something that happens later.
enum Due {
    Upstream(u64, Answer),
    Unreachable(u64),
    Callout(usize, CalloutId, CalloutOutcome),
    Tcp(u64, TcpDue),
    Grpc(usize, CalloutId, Vec<GrpcPart>),
    GrpcFails(usize, CalloutId, UpstreamFailure),
}

impl Engine {
    fn now(&self) -> Duration {
        self.services.clock().now()
    }

    fn schedule(&mut self, after: Duration, due: Due) {
        self.scheduled += 1;
        self.agenda.insert((self.now() + after, self.scheduled), due);
    }

    /// Does everything that can be done without moving the clock.
    fn settle(&mut self) {
        self.settle_until(self.now());
    }

    /// Does everything that is due up to a time, in order.
    fn settle_until(&mut self, end: Duration) {
        for _ in 0..STEPS {
            self.carry_out();
            match self.next_time() {
                Some(next) if next <= end => self.step(next),
                _ => break,
            }
        }
        self.services.clock().advance_to(end);
        self.collect();
    }

    fn next_time(&self) -> Option<Duration> {
        let servers = self.agenda.first_key_value().map(|((time, _), _)| *time);
        let timers = self.workers.iter().filter_map(Worker::next_deadline).min();
        servers.into_iter().chain(timers).min()
    }

    /// Turns the clock to the next event and lets it happen; an answer comes before a timeout of the same moment.
    fn step(&mut self, next: Duration) {
        self.services.clock().advance_to(next);
        let now = self.now();
        let first = self.agenda.first_entry().filter(|entry| entry.key().0 <= now);
        match first.map(std::collections::btree_map::OccupiedEntry::remove) {
            Some(due) => self.happen(due),
            None => {
                for worker in &mut self.workers {
                    worker.advance_to(now);
                }
            }
        }
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Upstream(number, answer) => self.upstream_answers(number, &answer),
            Due::Unreachable(number) => self.upstream_fails(number, UpstreamFailure::Connect),
            Due::Callout(worker, id, outcome) => {
                if let Some(worker) = self.workers.get_mut(worker) {
                    worker.callout_answered(id, outcome);
                }
            }
            Due::Tcp(number, due) => self.tcp_happen(number, due),
            Due::Grpc(worker, id, parts) => self.grpc_answers(worker, id, parts),
            Due::GrpcFails(worker, id, failure) => self.grpc_fails(worker, id, failure),
        }
    }

    /// Carries out what the workers want done, until they want nothing more.
    fn carry_out(&mut self) {
        let mut busy = true;
        while busy {
            busy = false;
            for index in 0..self.workers.len() {
                while let Some(effect) = self.workers.get_mut(index).and_then(Worker::next_effect) {
                    busy = true;
                    self.effect(index, effect);
                }
            }
        }
    }

    fn effect(&mut self, worker: usize, effect: Effect) {
        match effect {
            Effect::ToUpstream { id, item } => {
                if let Some(number) = self.numbers.get(&(worker, id)).copied() {
                    self.ask_upstream(number, item);
                }
            }
            Effect::ToDownstream { id, item } => {
                if let Some(number) = self.numbers.get(&(worker, id)).copied() {
                    self.answer_client(number, item);
                }
            }
            Effect::ResetUpstream { id } => {
                let number = self.numbers.get(&(worker, id)).copied();
                if let Some(talk) = number.and_then(|number| self.talks.get_mut(&number)) {
                    talk.arrival = None;
                    talk.asked = false;
                }
            }
            Effect::ResetDownstream { id } => {
                let number = self.numbers.remove(&(worker, id));
                if let Some(talk) = number.and_then(|number| self.talks.get_mut(&number)) {
                    talk.state = TalkState::Cut;
                    talk.asked = false;
                }
            }
            Effect::Callout { id, request } => self.call_out(worker, id, request),
            Effect::Tcp { id, effect } => self.tcp_effect(worker, id, effect),
            Effect::Grpc { id, request } => self.grpc_begins(worker, id, request),
            Effect::GrpcData { id, data, end } => self.grpc_data(worker, id, &data, end),
            Effect::CancelCallout(id) => self.grpc_cancelled(worker, id),
        }
    }

    fn talk(&mut self, number: u64) -> Result<&mut Talk, Failure> {
        let unknown = || Failure::Refused("this exchange is over, or of another proxy".to_owned());
        self.talks.get_mut(&number).ok_or_else(unknown)
    }

    fn collect(&mut self) {
        for worker in &mut self.workers {
            self.trace.append(&mut worker.take_trace());
            self.findings.append(&mut worker.take_findings());
        }
    }
}

impl Driver for Engine {
    fn open(&mut self, number: u64, headers: Headers, end: bool) -> Result<(), Failure> {
        let turn = usize::try_from(number.saturating_sub(1)).unwrap_or_default();
        let worker = turn % self.serving.max(1);
        let request_is_head = headers.get(":method") == Some("HEAD");
        let map = received(&headers, number, self.protocol);
        let connection = Connection {
            id: number,
            source: Some(self.surroundings.client.unwrap_or_else(|| ([127, 0, 0, 1], 40_000).into())),
            destination: Some(([127, 0, 0, 1], 10_000).into()),
            protocol: self.protocol,
            tls: self.surroundings.tls.clone(),
        };
        let Some(place) = self.workers.get_mut(worker) else { return Ok(()) };
        let id = place.open(ChainId::FIRST, connection);
        let objects = self.surroundings.filter_state.iter();
        let objects = objects.map(|(name, value)| (name.as_str(), Bytes::from(value.clone())));
        place.prepare(id, &self.surroundings.dynamic_metadata, objects);
        self.numbers.insert((worker, id), number);
        self.talks.insert(
            number,
            Talk {
                worker,
                id,
                request_is_head,
                arrival: None,
                asked: false,
                request_ended: end,
                headers: None,
                chunks: Vec::new(),
                trailers: Headers::new(),
                state: TalkState::Open,
            },
        );
        place.request_headers(id, map, end);
        self.settle();
        Ok(())
    }

    fn data(&mut self, number: u64, data: Bytes, end: bool) -> Result<(), Failure> {
        let talk = self.talk(number)?;
        talk.request_ended |= end;
        let (worker, id) = (talk.worker, talk.id);
        if let Some(worker) = self.workers.get_mut(worker) {
            worker.request_data(id, data, end);
        }
        self.settle();
        Ok(())
    }

    fn trailers(&mut self, number: u64, trailers: Headers) -> Result<(), Failure> {
        let talk = self.talk(number)?;
        talk.request_ended = true;
        let (worker, id) = (talk.worker, talk.id);
        if let Some(worker) = self.workers.get_mut(worker) {
            worker.request_trailers(id, to_map(trailers.iter()));
        }
        self.settle();
        Ok(())
    }

    fn abort(&mut self, number: u64) {
        if let Some(talk) = self.talks.remove(&number) {
            if let Some(worker) = self.workers.get_mut(talk.worker) {
                worker.downstream_reset(talk.id);
            }
            self.numbers.remove(&(talk.worker, talk.id));
        }
        self.settle();
    }

    fn finish(&mut self, number: u64) -> Result<Response, Failure> {
        if !self.talk(number)?.request_ended {
            self.data(number, Bytes::new(), true)?;
        }
        self.settle();
        let began = self.now();
        for _ in 0..STEPS {
            let talk = self.talk(number)?;
            if talk.state != TalkState::Open {
                break;
            }
            match self.next_time() {
                Some(next) if next <= began + PATIENCE => {
                    self.step(next);
                    self.carry_out();
                }
                _ => break,
            }
        }
        self.collect();
        let state = self.talk(number)?.state;
        if state == TalkState::Open {
            // The client gives up, as it would with a real proxy, so that nothing is left behind.
            let waited = self.now() - began;
            self.abort(number);
            return Err(Failure::Hung(waited));
        }
        let mut talk = self.talks.remove(&number);
        let response = talk.as_mut().and_then(Talk::response);
        match (state, response) {
            (TalkState::Ended, Some(response)) => Ok(response),
            (_, response) => Err(Failure::Reset(response.map(Box::new))),
        }
    }

    fn connect(&mut self, number: u64, source: SocketAddr) -> Result<(), Failure> {
        self.tcp_open(number, source)
    }

    fn tcp_send(&mut self, number: u64, data: Bytes, end: bool) -> Result<(), Failure> {
        self.tcp_client_sends(number, data, end);
        Ok(())
    }

    fn tcp_reset(&mut self, number: u64) {
        self.tcp_client_leaves(number);
    }

    fn tcp_read(&mut self, number: u64, until: TcpWait) -> Result<TcpRead, Failure> {
        self.tcp_client_reads(number, until)
    }

    fn waiting(&mut self, number: u64) -> bool {
        self.settle();
        self.talks.get(&number).is_some_and(|talk| talk.state == TalkState::Open)
    }

    fn reconfigure(&mut self, place: usize, configuration: Bytes) -> Result<(), Failure> {
        for index in 0..self.serving {
            let Some(worker) = self.workers.get_mut(index) else { break };
            let outcome = worker.reconfigure(ChainId::FIRST, place, configuration.clone());
            self.settle();
            outcome.map_err(|error| Failure::Refused(error.to_string()))?;
        }
        Ok(())
    }

    fn stray(&mut self, callback: &dyn Fn(u32) -> Callback) -> Result<(), Failure> {
        for worker in &mut self.workers {
            worker.stray(callback);
        }
        self.settle();
        Ok(())
    }

    fn advance(&mut self, time: Duration) {
        self.settle_until(self.now() + time);
    }

    fn logs(&mut self) -> Vec<LogLine> {
        lock(&self.logs).clone()
    }

    fn metric(&mut self, name: &str) -> Option<u64> {
        self.services.metrics().value(name)
    }

    fn histogram(&mut self, name: &str) -> Option<Samples> {
        let samples = self.services.metrics().snapshot();
        let found = samples.iter().find(|sample| sample.name == name && sample.kind == MetricKind::Histogram)?;
        #[expect(clippy::cast_precision_loss, reason = "a sum beyond 2^53 is not what a test counts to")]
        let sum = found.sum as f64;
        Some(Samples { count: found.value, sum })
    }

    fn prometheus(&mut self) -> String {
        let mut page = Page::default();
        page.plugins(&self.services.metrics().snapshot(), &self.stats_tags);
        page.into_text()
    }

    fn trace(&mut self) -> Vec<TraceLine> {
        self.collect();
        self.trace.clone()
    }

    fn findings(&mut self) -> Vec<Finding> {
        self.collect();
        self.findings.clone()
    }

    fn leaks(&mut self) -> Leaks {
        self.settle();
        Leaks {
            contexts: self.workers.iter().map(Worker::open_contexts).sum(),
            callouts: self.workers.iter().map(Worker::open_callouts).sum(),
            exchanges: self.workers.iter().map(Worker::open_exchanges).sum(),
        }
    }
}

/// A test that panics while it logs must not hide the lines.
fn lock(logs: &Mutex<Vec<LogLine>>) -> MutexGuard<'_, Vec<LogLine>> {
    logs.lock().unwrap_or_else(PoisonError::into_inner)
}
