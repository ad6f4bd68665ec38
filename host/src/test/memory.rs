//! The engine behind the facade that runs in the test's own process, on a clock that the test turns.

mod grpc;
mod messages;
mod tcp;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::grpc_answer::GrpcPart;
use super::setup::{Code as CodeSetup, UPSTREAM};
use super::{
    Answer, Arrival, Cluster, Driver, Ending, Failure, Finding, Headers, Leaks, LogLine, PluginSetup, Response, Route,
    Samples, Setup, StartError, StatsTag, Surroundings, TcpRead, TcpServer, TcpWait, TraceLine,
};
use crate::abi::MetricKind;
use crate::callback::Callback;
use crate::clock::Clock;
use crate::fault::CalloutFault;
use crate::headers::HeaderMap;
use crate::prometheus::Page;
use crate::services::{LogRecord, Services};
use crate::surroundings::{self, Routing};
use crate::worker::{
    CalloutId, CalloutOutcome, CalloutRequest, Code, Connection, Effect, EndStyle, ExchangeId, Item, Options, Plugin,
    Protocol, TcpId, UpstreamFailure, Worker,
};
use messages::{outcome, received, served, to_map, wire};
use tcp::{TcpDue, Wire};

/// The wall clock of a test starts on 2026-01-01, so that dates look like dates.
const EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// An exchange that waits longer than this on the virtual clock hangs; only timers keep the proxy busy by then.
const PATIENCE: Duration = Duration::from_secs(600);

/// No exchange needs as many steps; a timer of one millisecond would take as many for nothing.
const STEPS: usize = 200_000;

/// Starts the workers of a setup.
pub(super) fn start(setup: Setup) -> Result<Box<dyn Driver>, StartError> {
    if setup.upstream_at.is_some() {
        let message = "there are no sockets in memory: an upstream at an address needs a real Envoy";
        return Err(StartError::new(message, Vec::new()));
    }
    if !setup.envoy_filters.is_empty() {
        let message = "there is no Envoy in memory: one of its own filters needs a real one";
        return Err(StartError::new(message, Vec::new()));
    }
    let logs: Arc<Mutex<Vec<LogLine>>> = Arc::default();
    let sink = Arc::clone(&logs);
    let log = move |record: LogRecord<'_>| {
        if !record.host {
            let text = String::from_utf8_lossy(record.message).into_owned();
            lock(&sink).push(LogLine { level: record.level, text });
        }
    };
    let services = Services::new(Clock::manual(EPOCH), Box::new(log))
        .with_node(setup.surroundings.node.clone())
        .with_listener(setup.surroundings.listener.clone())
        .with_router(route_table(&setup));
    let services = Arc::new(services);
    let names = setup.clusters.iter().chain([&setup.upstream]).map(|cluster| cluster.name().to_owned());
    services.set_clusters(names);
    let refused = |message: String| {
        let logs = lock(&logs).clone();
        // The plugin's own complaint says more than the proxy's.
        let complaint = logs.iter().rev().find(|line| line.level >= crate::abi::LogLevel::Error).map(|line| &line.text);
        StartError::new(complaint.map_or(message.clone(), |text| format!("{message}: {text}")), logs)
    };
    let plugins = plugins(setup.plugins).map_err(refused)?;
    let options = Options {
        buffer_limit: setup.buffer_limit.unwrap_or(Options::default().buffer_limit),
        request_end: setup.http2.then_some(EndStyle::OnLast),
        faults: setup.faults,
        trace: setup.trace,
        lint: true,
        server: Some(Bytes::from_static(b"envoy")),
        // The timeout of Envoy's routes, unless they say otherwise.
        route_timeout: Some(Duration::from_secs(15)),
        ..Options::default()
    };
    let singletons = self::plugins(setup.singletons).map_err(refused)?;
    let serving = setup.workers.max(1);
    let mut workers = Vec::with_capacity(serving + 1);
    // The last is the main thread, which serves nobody.
    let each = std::iter::repeat_n(&plugins, serving).chain((!singletons.is_empty()).then_some(&singletons));
    for plugins in each {
        // Each worker has a place of its own for notices.
        let options = Options { inbox: crate::shared::Inbox::default(), ..options.clone() };
        let worker = Worker::start(plugins, Arc::clone(&services), options);
        workers.push(worker.map_err(|error| refused(error.to_string()))?);
    }
    let mut engine = Engine {
        workers,
        serving,
        services,
        clusters: setup.clusters.into_iter().map(|cluster| (cluster.name().to_owned(), cluster)).collect(),
        upstream: setup.upstream,
        stats_tags: setup.stats_tags,
        protocol: if setup.http2 { Protocol::Http2 } else { Protocol::Http11 },
        talks: HashMap::new(),
        numbers: HashMap::new(),
        tcp: setup.tcp,
        wires: HashMap::new(),
        tcp_numbers: HashMap::new(),
        grpc: HashMap::new(),
        agenda: BTreeMap::new(),
        scheduled: 0,
        logs,
        trace: Vec::new(),
        findings: Vec::new(),
        surroundings: setup.surroundings,
    };
    engine.settle();
    Ok(Box::new(engine))
}

fn plugins(setups: Vec<PluginSetup>) -> Result<Vec<Plugin>, String> {
    let mut plugins = Vec::with_capacity(setups.len());
    for setup in setups {
        let code = match setup.code {
            #[cfg(feature = "native")]
            CodeSetup::Native(register) => Code::Native(register),
            #[cfg(feature = "wasm")]
            CodeSetup::Wasm(path) => Code::Wasm(super::modules::load(&path)?),
            #[cfg(not(feature = "wasm"))]
            _ => return Err("this build lacks the engine of the plugin's code".to_owned()),
        };
        plugins.push(Plugin {
            name: setup.name,
            root_id: setup.root_id,
            vm_id: setup.vm_id,
            configuration: setup.configuration,
            vm_configuration: setup.vm_configuration,
            environment: Vec::new(),
            fail: setup.fail,
            allow_on_headers_stop_iteration: setup.allow_on_headers_stop_iteration,
            code,
        });
    }
    Ok(plugins)
}

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

/// One exchange as client and upstream see it.
struct Talk {
    worker: usize,
    id: ExchangeId,
    request_is_head: bool,
    /// The request on its way to the upstream.
    arrival: Option<Arrival>,
    /// The upstream's answer is wanted.
    asked: bool,
    request_ended: bool,
    headers: Option<Headers>,
    chunks: Vec<Bytes>,
    trailers: Headers,
    state: TalkState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum TalkState {
    Open,
    Ended,
    Cut,
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

    fn ask_upstream(&mut self, number: u64, item: Item) {
        let Some(talk) = self.talks.get_mut(&number) else { return };
        let mut ended = None;
        match item {
            Item::Headers(mut headers, end) => {
                talk.asked = true;
                if !end && headers.get(b"content-length").is_none() {
                    headers.set(b"transfer-encoding", b"chunked");
                }
                let worker = self.workers.get_mut(talk.worker);
                let cluster = worker.as_ref().and_then(|worker| worker.route(talk.id)?.cluster.clone());
                let name = cluster.map_or_else(String::new, |cluster| cluster.name.clone());
                let cluster = self.clusters.get(&name).unwrap_or(&self.upstream);
                if !cluster.is_reachable() {
                    return self.schedule(Duration::ZERO, Due::Unreachable(number));
                }
                if let Some(worker) = worker {
                    worker.sent_to(talk.id, Arc::new(host_of(cluster, &self.surroundings)));
                }
                talk.arrival = Some(cluster.arrived(wire(headers)));
                if end {
                    ended = Some(Headers::new());
                }
            }
            Item::Data(data, end) => {
                if let Some(arrival) = &mut talk.arrival {
                    arrival.data(&data);
                }
                if end {
                    ended = Some(Headers::new());
                }
            }
            Item::Trailers(trailers) => ended = Some(wire(trailers)),
        }
        if let Some(trailers) = ended
            && let Some(arrival) = talk.arrival.take()
        {
            let answer = arrival.end(trailers);
            self.schedule(answer.delay(), Due::Upstream(number, answer));
        }
    }

    fn upstream_fails(&mut self, number: u64, failure: UpstreamFailure) {
        let Some(talk) = self.talks.get(&number).filter(|talk| talk.asked) else { return };
        if let Some(worker) = self.workers.get_mut(talk.worker) {
            worker.upstream_reset(talk.id, failure);
        }
    }

    /// Plays an answer into the worker, piece by piece.
    fn upstream_answers(&mut self, number: u64, answer: &Answer) {
        match answer.how_it_ends() {
            Ending::Never => return,
            Ending::Unreachable => return self.upstream_fails(number, UpstreamFailure::Connect),
            Ending::Reset => return self.upstream_fails(number, UpstreamFailure::Reset),
            Ending::Malformed => return self.upstream_fails(number, UpstreamFailure::Protocol),
            Ending::Complete | Ending::ResetAfterHeaders => {}
        }
        let Some((index, id)) = self.wanted(number) else { return };
        let headers = served(answer);
        let trailers = answer.scripted_trailers();
        let complete = answer.how_it_ends() == Ending::Complete;
        let pieces: Vec<Bytes> = answer.pieces().cloned().collect();
        let head_only = self.talks.get(&number).is_some_and(|talk| talk.request_is_head);
        // A length of 0 ends the message with its headers; without a length the end comes by itself.
        let bodiless = head_only || headers.get(b"content-length").is_some_and(|length| length == "0");
        let no_content = matches!(headers.get_str(":status"), Some("204" | "304"));
        let ends = complete && trailers.is_empty() && (bodiless || no_content);
        if let Some(worker) = self.workers.get_mut(index) {
            worker.response_headers(id, headers, ends);
        }
        self.carry_out();
        if ends {
            return;
        }
        let last = pieces.len().saturating_sub(1);
        for (at, piece) in pieces.iter().enumerate() {
            let Some((index, id)) = self.wanted(number) else { return };
            let end = complete && trailers.is_empty() && at == last;
            if let Some(worker) = self.workers.get_mut(index) {
                worker.response_data(id, piece.clone(), end);
            }
            self.carry_out();
        }
        let Some((index, id)) = self.wanted(number) else { return };
        let Some(worker) = self.workers.get_mut(index) else { return };
        if !complete {
            worker.upstream_reset(id, UpstreamFailure::Reset);
        } else if !trailers.is_empty() {
            worker.response_trailers(id, to_map(trailers.iter()));
        } else if pieces.is_empty() {
            worker.response_data(id, Bytes::new(), true);
        }
    }

    /// Where the answer for an exchange goes, if it still goes anywhere.
    fn wanted(&self, number: u64) -> Option<(usize, ExchangeId)> {
        self.talks.get(&number).filter(|talk| talk.asked).map(|talk| (talk.worker, talk.id))
    }

    fn answer_client(&mut self, number: u64, item: Item) {
        let Some(talk) = self.talks.get_mut(&number) else { return };
        let end = match item {
            Item::Headers(headers, end) => {
                talk.headers = Some(wire(headers));
                end
            }
            Item::Data(data, end) => {
                if !data.is_empty() {
                    talk.chunks.push(data);
                }
                end
            }
            Item::Trailers(trailers) => {
                talk.trailers = wire(trailers);
                true
            }
        };
        if end {
            talk.state = TalkState::Ended;
            let (worker, id) = (talk.worker, talk.id);
            self.numbers.remove(&(worker, id));
            if let Some(worker) = self.workers.get_mut(worker) {
                worker.finished(id);
            }
        }
    }

    fn call_out(&mut self, index: usize, id: CalloutId, request: CalloutRequest) {
        let fault = self.workers.get_mut(index).and_then(Worker::callout_fault);
        let Some(cluster) = self.clusters.get(&request.cluster).or(Some(&self.upstream)) else { return };
        let mut delay = Duration::ZERO;
        let outcome = match fault {
            Some(CalloutFault::Timeout) => None,
            Some(CalloutFault::Unreachable) => Some(CalloutOutcome::unreachable()),
            Some(CalloutFault::Reset) => Some(CalloutOutcome::Failed),
            _ if !cluster.is_reachable() => Some(CalloutOutcome::unreachable()),
            _ => {
                let mut headers = request.headers;
                headers.set(b"x-envoy-internal", b"true");
                if let Some(timeout) = request.timeout {
                    headers.set(b"x-envoy-expected-rq-timeout-ms", timeout.as_millis().to_string().as_bytes());
                }
                let mut arrival = cluster.arrived(wire(headers));
                if !request.body.is_empty() {
                    arrival.data(&request.body);
                }
                let answer = arrival.end(wire(request.trailers));
                delay = answer.delay();
                if let Some(CalloutFault::Slow(extra)) = fault {
                    delay += extra;
                }
                outcome(&answer)
            }
        };
        if let Some(outcome) = outcome {
            self.schedule(delay, Due::Callout(index, id, outcome));
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

impl Talk {
    fn response(&mut self) -> Option<Response> {
        let headers = self.headers.take()?;
        Some(Response::new(headers, std::mem::take(&mut self.chunks), std::mem::take(&mut self.trailers)))
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
        let id = place.open(connection);
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
            let outcome = worker.reconfigure(place, configuration.clone());
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

/// The routes of a setup, and behind them the one to the upstream.
fn route_table(setup: &Setup) -> impl Fn(&HeaderMap) -> Routing + Send + Sync + 'static {
    let surroundings = &setup.surroundings;
    let cluster = |name: &str| {
        let metadata = surroundings.cluster_metadata(name);
        Some(Arc::new(surroundings::Cluster { name: name.to_owned(), metadata, endpoints: 1 }))
    };
    let rest = surroundings.rest(setup.upstream.name());
    let routes: Vec<_> = surroundings.routes.iter().cloned().chain([rest]).collect();
    let table: Vec<_> = routes
        .into_iter()
        .map(|route| {
            let known = surroundings::Route {
                name: route.name.clone(),
                metadata: route.metadata.clone(),
                cluster: cluster(&route.cluster),
            };
            (route, Arc::new(known))
        })
        .collect();
    let virtual_host = Arc::new(surroundings::VirtualHost { name: "all".to_owned(), ..Default::default() });
    move |headers| {
        let matches = |route: &Route| {
            headers.get_str(":path").is_some_and(|path| path.starts_with(&route.prefix))
                && route.headers.iter().all(|(name, value)| headers.get_str(name) == Some(value))
        };
        let route = table.iter().find(|(route, _)| matches(route)).map(|(_, known)| Arc::clone(known));
        Routing { virtual_host: Some(Arc::clone(&virtual_host)), route }
    }
}

/// The one host of a cluster.
fn host_of(cluster: &Cluster, surroundings: &Surroundings) -> surroundings::UpstreamHost {
    surroundings::UpstreamHost {
        address: Some(([127, 0, 0, 1], 20_000).into()),
        local_address: Some(([127, 0, 0, 1], 30_000).into()),
        metadata: surroundings.host_metadata(cluster.name()),
        tls: surroundings.upstream_tls.clone().filter(|_| cluster.name() == UPSTREAM),
        ..Default::default()
    }
}

/// A test that panics while it logs must not hide the lines.
fn lock(logs: &Mutex<Vec<LogLine>>) -> MutexGuard<'_, Vec<LogLine>> {
    logs.lock().unwrap_or_else(PoisonError::into_inner)
}
