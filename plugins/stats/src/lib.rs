//! Istio's `stats` as a plugin: `istio_core::stats` says which metrics there are and under which labels, this reads the
//! facts and counts.

mod expressions;
mod live;
mod local;
mod reading;
mod recorder;
mod services;
mod sheet;

use std::cell::RefCell;
use std::time::Duration;

use istio_core::stats::Config;
use istio_core::stats::facts::Protocol;
use istio_core::stats::host::HostList;
use istio_core::stats::metric::Group;
use istio_core::stats::plan::Plan;
use wasmplugin::config::ConfigError;
use wasmplugin::metrics::{self, StatsTag};
use wasmplugin::observer::{Observer, Part, Stream};

use self::expressions::Expressions;
use self::live::{Live, Streams};
use self::reading::Reader;
use self::recorder::{Amounts, Recorder};

/// Counts what passes.
#[derive(Debug)]
pub struct Stats {
    period: Duration,
    /// Whether a host is kept for the reports of a gRPC stream, which cannot read it any more.
    keeps_host: bool,
    state: RefCell<State>,
}

/// Nothing that the host calls comes back into the plugin, so that one callback has it all.
#[derive(Debug)]
struct State {
    streams: Streams,
    reader: Reader,
    recorder: Recorder,
    /// The streams that a tick is about.
    due: Vec<u32>,
}

impl TryFrom<Config> for Stats {
    type Error = ConfigError;

    fn try_from(config: Config) -> Result<Self, ConfigError> {
        let hosts = config.allowed_hosts.as_deref().map(HostList::new).transpose();
        let hosts = hosts.map_err(|(at, reason)| ConfigError::at(format!("allowedHosts[{at}]"), reason))?;
        let mut expressions = Expressions::default();
        let plan = Plan::new(&config, &mut |role, text| expressions.parse(role, text));
        for warning in plan.warnings() {
            log::warn!("{warning}");
        }
        metrics::declare_tags(plan.label_names().into_iter().map(StatsTag::of).chain(local::build_tags()));
        local::tell_build();
        Ok(Self {
            period: config.tcp_reporting_duration,
            keeps_host: !config.disable_host_header_fallback,
            state: RefCell::new(State {
                streams: Streams::default(),
                reader: Reader::new(&config, local::read(), hosts),
                recorder: Recorder::new(plan, expressions, config.max_dimension_sets),
                due: Vec::new(),
            }),
        })
    }
}

impl Observer for Stats {
    fn on_request(&self, stream: Stream, end: bool) {
        let state = &mut *self.state.borrow_mut();
        // A call of gRPC has a body, be it empty, so that one need not be asked what it is.
        let protocol = if end { Protocol::Http } else { state.reader.protocol(stream) };
        let live = state.streams.begin(stream.id(), protocol);
        if let (Some(live), Protocol::Grpc, true) = (live, protocol, self.keeps_host) {
            state.reader.read_host(stream, &mut live.host);
        }
    }

    fn on_body(&self, stream: Stream, part: Part, size: usize) {
        let state = &mut *self.state.borrow_mut();
        if let Some(live) = state.streams.get(stream.id()).filter(|live| live.protocol == Protocol::Grpc) {
            state.reader.count_messages(stream, live, part, size);
        }
    }

    fn on_connection(&self, stream: Stream) {
        self.state.borrow_mut().streams.begin(stream.id(), Protocol::Tcp);
    }

    fn on_log(&self, stream: Stream) {
        let state = &mut *self.state.borrow_mut();
        let mut live = state.streams.end(stream.id());
        // A request that the proxy or a filter before this one has answered was never seen, and what is not HTTP has no
        // method either; a connection is seen to begin, unless there were too many.
        if live.is_new {
            live.protocol = match state.streams.has_missed() {
                true => state.reader.protocol_at_end(stream),
                false => state.reader.protocol(stream),
            };
        }
        state.report(stream, &mut live, true);
        state.streams.recycle(live);
    }

    fn period(&self) -> Duration {
        self.period
    }

    fn on_tick(&self) {
        let state = &mut *self.state.borrow_mut();
        state.reader.forget_services();
        let mut due = std::mem::take(&mut state.due);
        state.streams.list_periodic(&mut due);
        for id in due.drain(..) {
            let Some(mut live) = state.streams.take(id) else { continue };
            state.report(Stream::of(id), &mut live, false);
            state.streams.put_back(id, live);
        }
        state.due = due;
    }
}

impl State {
    /// Counts what has happened to a stream since its last report.
    fn report(&mut self, stream: Stream, live: &mut Live, ended: bool) {
        let Some(reading) = self.reader.read(stream, live, ended) else { return };
        if !reading.knows_peer && live.waits_for_peer() {
            return;
        }
        let amounts = Amounts::of(&self.reader, live, ended);
        let groups: &[Group] = match (live.protocol, ended) {
            (Protocol::Http, _) => &[Group::Requests],
            (Protocol::Grpc, true) => &[Group::Requests, Group::Messages],
            (Protocol::Grpc, false) => &[Group::Messages],
            (Protocol::Tcp, _) => &[Group::Connections],
        };
        for group in groups {
            self.recorder.record(*group, stream, &self.reader, live, &amounts);
        }
        live.reported(&amounts);
    }
}

wasmplugin::plugin!(Stats: Observer, config = Config);
