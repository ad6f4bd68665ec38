//! Counting: finds the metrics of a stream, has the host define new ones, and adds to them.

use std::rc::Rc;

use istio_core::stats::config::Kind;
use istio_core::stats::dimensions::Dimensions;
use istio_core::stats::facts::Protocol;
use istio_core::stats::labels::{Labels, Set};
use istio_core::stats::metric::{Group, Standard};
use istio_core::stats::plan::{Metrics, Plan, Sample};
use wasmplugin::metrics;
use wasmplugin::observer::Stream;
use wasmplugin::sys::{self, MetricKind};

use crate::expressions::Expressions;
use crate::live::Live;
use crate::reading::Reader;
use crate::sheet::Item;

/// Bytes of a label's value that are kept: a SPIFFE identity and a host are shorter.
const LONGEST_VALUE: usize = 512;

/// What a report adds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Amounts {
    /// The stream is over.
    ended: bool,
    duration: Option<u64>,
    request_bytes: u64,
    response_bytes: u64,
    /// Bytes of a connection or messages of gRPC, since the last report.
    pub(crate) from_client: u64,
    pub(crate) to_client: u64,
    opened: bool,
}

impl Amounts {
    pub(crate) fn of(reader: &Reader, live: &Live, ended: bool) -> Self {
        let filled = reader.filled();
        let size = |item| u64::try_from(filled.number(item)).unwrap_or_default();
        let duration = u64::try_from(filled.number(Item::Duration)).ok().map(|nanoseconds| nanoseconds / 1_000_000);
        let (request_bytes, response_bytes) = (size(Item::RequestSize), size(Item::ResponseSize));
        let [from_client, to_client] = match live.protocol {
            Protocol::Http => [0, 0],
            Protocol::Grpc => reader.messages(live),
            Protocol::Tcp => reader.bytes(),
        };
        let [from_told, to_told] = live.told;
        Self {
            ended,
            duration,
            request_bytes,
            response_bytes,
            from_client: from_client.saturating_sub(from_told),
            to_client: to_client.saturating_sub(to_told),
            opened: !live.opened,
        }
    }

    fn of_metric(&self, metric: Standard) -> Option<u64> {
        Some(match metric {
            Standard::RequestsTotal => 1,
            Standard::RequestDuration => return self.duration,
            Standard::RequestBytes => self.request_bytes,
            Standard::ResponseBytes => self.response_bytes,
            Standard::RequestMessages | Standard::TcpReceivedBytes => self.from_client,
            Standard::ResponseMessages | Standard::TcpSentBytes => self.to_client,
            Standard::TcpConnectionsOpened => self.opened.into(),
            Standard::TcpConnectionsClosed => self.ended.into(),
        })
    }
}

/// Counts streams.
#[derive(Debug)]
pub(crate) struct Recorder {
    plan: Plan,
    expressions: Expressions,
    requests: Dimensions<u32>,
    messages: Dimensions<u32>,
    connections: Dimensions<u32>,
    key: Vec<u8>,
    scratch: Vec<u8>,
    /// What went wrong was said.
    has_complained: bool,
    has_overflowed: bool,
}

impl Recorder {
    pub(crate) fn new(plan: Plan, expressions: Expressions, limit: usize) -> Self {
        Self {
            plan,
            expressions,
            requests: Dimensions::new(limit),
            messages: Dimensions::new(limit),
            connections: Dimensions::new(limit),
            key: Vec::new(),
            scratch: Vec::new(),
            has_complained: false,
            has_overflowed: false,
        }
    }

    /// Adds to the metrics of a group, for the stream that the reader has read.
    pub(crate) fn record(&mut self, group: Group, stream: Stream, reader: &Reader, live: &Live, amounts: &Amounts) {
        let metrics = self.plan.metrics(group);
        if metrics.all.is_empty() {
            return;
        }
        self.expressions.evaluate(stream, &metrics.expressions);
        self.key.clear();
        reader.write_key(live, &mut self.key);
        self.expressions.write_key(&metrics.expressions, &mut self.key);
        let dimensions = match group {
            Group::Requests => &mut self.requests,
            Group::Messages => &mut self.messages,
            Group::Connections => &mut self.connections,
        };
        let mut add = |ids: &[u32]| add_all(metrics, ids, &self.expressions, stream, amounts, &mut self.scratch);
        let added = if let Some(ids) = dimensions.recent(&self.key) {
            add(ids)
        } else {
            let facts = reader.facts(live);
            let set = Set::new(metrics, &Labels::new(&facts), self.expressions.texts(&metrics.expressions));
            let found = dimensions.find(&self.key, set, metrics, |set| define(metrics, set));
            found.and_then(|found| {
                if found.is_overflow && !std::mem::replace(&mut self.has_overflowed, true) {
                    log::warn!("there are too many sets of labels; further ones are counted as `other`");
                }
                add(&found.ids)
            })
        };
        if let Err(error) = added
            && !std::mem::replace(&mut self.has_complained, true)
        {
            log::error!("metrics are incomplete: {error}");
        }
    }
}

/// Has the host define the metrics for a set of labels.
fn define(metrics: &Metrics, set: &Set) -> sys::Result<Rc<[u32]>> {
    let mut name = String::new();
    let ids = metrics.all.iter().map(|metric| {
        name.clear();
        for (label, source) in &metric.labels {
            metrics::write_label(&mut name, label, set.value(metrics, source).as_bytes(), LONGEST_VALUE);
        }
        metrics::write_name(&mut name, &metric.full_name());
        let kind = match metric.kind {
            Kind::Counter => MetricKind::Counter,
            Kind::Gauge => MetricKind::Gauge,
            Kind::Histogram => MetricKind::Histogram,
        };
        sys::define_metric(kind, &name)
    });
    ids.collect()
}

/// Adds to each metric; what one refuses does not keep the others from it.
fn add_all(
    metrics: &Metrics,
    ids: &[u32],
    expressions: &Expressions,
    stream: Stream,
    amounts: &Amounts,
    scratch: &mut Vec<u8>,
) -> sys::Result<()> {
    let mut outcome = Ok(());
    for (metric, id) in metrics.all.iter().zip(ids) {
        let sample = match metric.sample {
            Sample::Standard(metric) => amounts.of_metric(metric).and_then(|amount| i64::try_from(amount).ok()),
            Sample::Constant(number) => amounts.ended.then_some(number),
            Sample::Expression(place) if amounts.ended => expressions.sample(stream, place, scratch),
            Sample::Expression(_) => None,
        };
        let added = match (metric.kind, sample) {
            (_, None) => continue,
            // Hosts refuse to add nothing, or less.
            (Kind::Counter, Some(..=0)) => continue,
            (Kind::Counter, Some(sample)) => sys::increment_metric(*id, sample),
            (Kind::Gauge | Kind::Histogram, Some(sample)) => sys::record_metric(*id, sample.max(0).cast_unsigned()),
        };
        outcome = outcome.and(added);
    }
    outcome
}
