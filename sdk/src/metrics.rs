//! Counters, gauges and histograms of the proxy, with and without labels.
//!
//! A metric is a field of the plugin; the host hears of it at its first use, and from then on each change is one host
//! call. All workers of the proxy count into the same metric. Counting never fails a request: what a host refuses is
//! in the log, once per metric.
//!
//! # Labels
//!
//! The ABI has none, so they travel in the metric's name, in the form that Istio's `extraStatTags` take apart:
//! `method=.=GET;.;code=.=200;.;requests_total`. Each label needs an entry in the proxy's `stats_tags`, which
//! [`CounterFamily::stats_tags`] tells; its regex is anchored, so that a label `app` is not found in `source_app`.
//!
//! No value can break the name. `;` and `%`, control characters, bytes that are not UTF-8, and a `=` before a `.` are
//! written as `%` and two hexadecimal digits; everything else is kept, an empty value too. Of a value longer than 128
//! bytes the first 128 are kept. In the names of metrics and labels, what is no letter, digit or `_` becomes `_` (the
//! name of a metric may have `.`).
//!
//! Envoy never forgets a metric, so values that a client chooses would fill its memory. A family therefore has at most
//! 1,000 sets of values per worker ([`CounterFamily::limit`]); what comes after is counted under `other` in every label.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::error::Result;
use crate::sys::{self, MetricKind};

/// Sets of label values that a family keeps unless it is told otherwise.
const DEFAULT_LIMIT: usize = 1_000;

/// Bytes of a label value that are kept.
const LONGEST_VALUE: usize = 128;

/// The value of every label in the set that takes what is over the limit.
const OTHER: &str = "other";

/// What Envoy puts before the name of a plugin's metric.
const NAMESPACE: &str = "wasmcustom";

/// An entry of the proxy's `stats_config.stats_tags`, which makes a label of a part of a metric's name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatsTag {
    /// `tag_name`: the label.
    pub name: String,
    /// `regex`: its first group is taken out of the name, its second is the value.
    pub regex: String,
}

/// What a native run collects: the tags of every family that is dropped meanwhile.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn collect_tags(run: impl FnOnce()) -> Vec<StatsTag> {
    TAGS.with(|tags| tags.replace(Some(Vec::new())));
    run();
    TAGS.with(|tags| tags.take()).unwrap_or_default()
}

#[cfg(not(target_arch = "wasm32"))]
thread_local! {
    static TAGS: RefCell<Option<Vec<StatsTag>>> = const { RefCell::new(None) };
}

#[cfg(not(target_arch = "wasm32"))]
impl<const N: usize> Drop for Family<N> {
    fn drop(&mut self) {
        // Nobody collects while a thread ends.
        let _ended = TAGS.try_with(|tags| {
            if let Some(tags) = tags.borrow_mut().as_mut() {
                for tag in self.labels.map(StatsTag::of) {
                    push_new(tags, tag);
                }
            }
        });
    }
}

impl StatsTag {
    /// The entry for a label in the encoding of this module.
    #[must_use]
    pub fn of(label: &str) -> Self {
        let name = plain(label, "");
        // Values have no `;`, so that whole labels lie before this one, and nothing inside a value looks like it.
        let regex = format!(r"^{NAMESPACE}\.(?:[^;]*;\.;)*?({name}=\.=([^;]*);\.;)");
        Self { name, regex }
    }

    /// The entry for a part of a name that has another encoding; the regex begins with `^wasmcustom\.`, or it finds
    /// something in everybody's metrics.
    #[must_use]
    pub fn new(name: impl Into<String>, regex: impl Into<String>) -> Self {
        Self { name: name.into(), regex: regex.into() }
    }
}

/// Says which labels the metrics of this plugin have, where it [defines](sys::define_metric) them itself: the build puts
/// them into the module, beside those of the families. To be called when the plugin is made.
pub fn declare_tags(tags: impl IntoIterator<Item = StatsTag>) {
    #[cfg(not(target_arch = "wasm32"))]
    TAGS.with_borrow_mut(|known| {
        if let Some(known) = known {
            for tag in tags {
                push_new(known, tag);
            }
        }
    });
    #[cfg(target_arch = "wasm32")]
    drop(tags);
}

/// Appends what a metric is called, behind its labels.
pub fn write_name(name: &mut String, metric: &str) {
    name.extend(plain_chars(metric, "."));
}

#[cfg(not(target_arch = "wasm32"))]
fn push_new(known: &mut Vec<StatsTag>, tag: StatsTag) {
    if !known.contains(&tag) {
        known.push(tag);
    }
}

/// Appends a label to the name of a metric that the plugin [defines](sys::define_metric) itself, with at most `longest`
/// bytes of its value; what the metric is called comes last, by [`write_name`].
pub fn write_label(name: &mut String, label: &str, value: &[u8], longest: usize) {
    name.extend(plain_chars(label, ""));
    name.push_str("=.=");
    escape(shortened(value, longest), name);
    name.push_str(";.;");
}

/// A number that only grows.
#[derive(Debug)]
pub struct Counter {
    metric: Metric,
}

impl Counter {
    /// The counter of this name.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { metric: Metric::new(MetricKind::Counter, name) }
    }

    /// Adds `n`.
    pub fn inc(&self, n: u64) {
        if let Some(offset) = growth(n) {
            self.metric.change(|id| sys::increment_metric(id, offset));
        }
    }

    /// The sum over all workers.
    pub fn value(&self) -> Result<u64> {
        self.metric.value()
    }
}

/// A number that goes up and down.
#[derive(Debug)]
pub struct Gauge {
    metric: Metric,
}

impl Gauge {
    /// The gauge of this name.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { metric: Metric::new(MetricKind::Gauge, name) }
    }

    /// Adds `n`, which may be negative; Envoy wraps a gauge below zero.
    pub fn add(&self, n: i64) {
        if n != 0 {
            self.metric.change(|id| sys::increment_metric(id, n));
        }
    }

    /// Sets the value, for all workers.
    pub fn set(&self, value: u64) {
        self.metric.change(|id| sys::record_metric(id, value));
    }

    /// The value that all workers share.
    pub fn value(&self) -> Result<u64> {
        self.metric.value()
    }
}

/// A distribution of samples, in the buckets that the proxy is configured with.
#[derive(Debug)]
pub struct Histogram {
    metric: Metric,
}

impl Histogram {
    /// The histogram of this name.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { metric: Metric::new(MetricKind::Histogram, name) }
    }

    /// Adds a sample.
    pub fn record(&self, sample: u64) {
        self.metric.change(|id| sys::record_metric(id, sample));
    }
}

macro_rules! family {
    ($(#[$meta:meta])* $ty:ident, $kind:ident { $($methods:tt)* }) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub struct $ty<const N: usize> {
            family: Family<N>,
        }

        impl<const N: usize> $ty<N> {
            /// The family of this name, with the names of its labels.
            #[must_use]
            pub const fn new(name: &'static str, labels: [&'static str; N]) -> Self {
                Self { family: Family::new(MetricKind::$kind, name, labels) }
            }

            /// Sets how many sets of values have a metric of their own, in each worker; 1,000 unless set.
            #[must_use]
            pub const fn limit(mut self, sets: usize) -> Self {
                self.family.limit = sets;
                self
            }

            /// What the proxy needs in its `stats_tags` to show the labels.
            #[must_use]
            pub fn stats_tags(&self) -> [StatsTag; N] {
                self.family.labels.map(StatsTag::of)
            }

            $($methods)*
        }
    };
}

family! {
    /// Counters of one name, told apart by the values of `N` labels.
    CounterFamily, Counter {
        /// Adds `n` to the counter of these values, which are in the order of the labels.
        pub fn inc<V: AsRef<[u8]>>(&self, values: [V; N], n: u64) {
            if let Some(offset) = growth(n) {
                self.family.change(&values, |id| sys::increment_metric(id, offset));
            }
        }
    }
}

family! {
    /// Gauges of one name, told apart by the values of `N` labels.
    GaugeFamily, Gauge {
        /// Adds `n`, which may be negative, to the gauge of these values, which are in the order of the labels.
        pub fn add<V: AsRef<[u8]>>(&self, values: [V; N], n: i64) {
            if n != 0 {
                self.family.change(&values, |id| sys::increment_metric(id, n));
            }
        }

        /// Sets the gauge of these values, which are in the order of the labels.
        pub fn set<V: AsRef<[u8]>>(&self, values: [V; N], value: u64) {
            self.family.change(&values, |id| sys::record_metric(id, value));
        }
    }
}

family! {
    /// Histograms of one name, told apart by the values of `N` labels.
    HistogramFamily, Histogram {
        /// Adds a sample to the histogram of these values, which are in the order of the labels.
        pub fn record<V: AsRef<[u8]>>(&self, values: [V; N], sample: u64) {
            self.family.change(&values, |id| sys::record_metric(id, sample));
        }
    }
}

/// What a counter is moved by: hosts refuse 0, and count in a signed number.
fn growth(n: u64) -> Option<i64> {
    (n > 0).then(|| i64::try_from(n).unwrap_or(i64::MAX))
}

/// One metric, defined at its first use.
#[derive(Debug)]
struct Metric {
    kind: MetricKind,
    name: &'static str,
    id: Cell<Option<u32>>,
    trouble: Trouble,
}

impl Metric {
    const fn new(kind: MetricKind, name: &'static str) -> Self {
        Self { kind, name, id: Cell::new(None), trouble: Trouble::new() }
    }

    fn id(&self) -> sys::Result<u32> {
        if let Some(id) = self.id.get() {
            return Ok(id);
        }
        let id = sys::define_metric(self.kind, &plain(self.name, "."))?;
        self.id.set(Some(id));
        Ok(id)
    }

    fn change(&self, call: impl FnOnce(u32) -> sys::Result<()>) {
        self.trouble.note(self.name, self.id().and_then(call));
    }

    fn value(&self) -> Result<u64> {
        Ok(self.id().and_then(sys::metric)?)
    }
}

/// Metrics of one name and kind.
#[derive(Debug)]
struct Family<const N: usize> {
    kind: MetricKind,
    name: &'static str,
    labels: [&'static str; N],
    limit: usize,
    sets: RefCell<Sets>,
    trouble: Trouble,
}

impl<const N: usize> Family<N> {
    const fn new(kind: MetricKind, name: &'static str, labels: [&'static str; N]) -> Self {
        let sets = RefCell::new(Sets { ids: BTreeMap::new(), other: None, scratch: String::new() });
        Self { kind, name, labels, limit: DEFAULT_LIMIT, sets, trouble: Trouble::new() }
    }

    fn change<V: AsRef<[u8]>>(&self, values: &[V; N], call: impl FnOnce(u32) -> sys::Result<()>) {
        let id = self.id(values, |name| sys::define_metric(self.kind, name));
        self.trouble.note(self.name, id.and_then(call));
    }

    /// The host's number for a set of values; `define` asks the host for it.
    fn id<V: AsRef<[u8]>>(&self, values: &[V; N], define: impl FnOnce(&str) -> sys::Result<u32>) -> sys::Result<u32> {
        let mut sets = self.sets.borrow_mut();
        let Sets { ids, other, scratch } = &mut *sets;
        self.encode(values, scratch);
        if let Some(id) = ids.get(scratch.as_str()) {
            return Ok(*id);
        }
        if ids.len() < self.limit {
            let id = define(scratch)?;
            ids.insert(scratch.as_str().into(), id);
            return Ok(id);
        }
        if let Some(id) = *other {
            return Ok(id);
        }
        self.encode(&[OTHER; N], scratch);
        let id = define(scratch)?;
        *other = Some(id);
        log::warn!("metric `{}` has {} sets of labels; further ones are counted as `{OTHER}`", self.name, self.limit);
        Ok(id)
    }

    /// Writes the host's name for a set of values.
    fn encode<V: AsRef<[u8]>>(&self, values: &[V; N], name: &mut String) {
        name.clear();
        for (label, value) in self.labels.iter().zip(values) {
            write_label(name, label, value.as_ref(), LONGEST_VALUE);
        }
        write_name(name, self.name);
    }
}

/// The sets of label values that have been seen.
#[derive(Debug)]
struct Sets {
    /// By the host's name, for that tells any two sets apart.
    ids: BTreeMap<Box<str>, u32>,
    /// The set for what is over the limit, once it is needed.
    other: Option<u32>,
    /// Memory for the name that is looked up.
    scratch: String,
}

/// Logs the first failure of a metric: one that fails for every request would fill the log.
#[derive(Debug)]
struct Trouble {
    logged: Cell<bool>,
}

impl Trouble {
    const fn new() -> Self {
        Self { logged: Cell::new(false) }
    }

    fn note(&self, name: &str, outcome: sys::Result<()>) {
        if let Err(error) = outcome
            && !self.logged.replace(true)
        {
            log::error!("metric `{name}` is incomplete: {error}");
        }
    }
}

/// A name of the author's with nothing in it that the encoding, a regex or Prometheus would take for something else.
fn plain(name: &str, also: &str) -> String {
    plain_chars(name, also).collect()
}

fn plain_chars<'a>(name: &'a str, also: &'a str) -> impl Iterator<Item = char> {
    let kept = |c: char| c.is_ascii_alphanumeric() || c == '_' || also.contains(c);
    name.chars().map(move |c| if kept(c) { c } else { '_' })
}

/// Writes a label value so that it ends where it should; two values never look the same.
fn escape(value: &[u8], out: &mut String) {
    for chunk in value.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(at) = rest.find(|c: char| c.is_control() || matches!(c, ';' | '%' | '=')) {
            let (kept, tail) = rest.split_at_checked(at).unwrap_or((rest, ""));
            out.push_str(kept);
            let mut tail = tail.chars();
            match tail.next() {
                // Alone it is harmless, and frequent in queries.
                Some('=') if !tail.as_str().starts_with('.') => out.push('='),
                Some(special) => special.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| hexadecimal(byte, out)),
                None => {}
            }
            rest = tail.as_str();
        }
        out.push_str(rest);
        chunk.invalid().iter().for_each(|byte| hexadecimal(*byte, out));
    }
}

fn hexadecimal(byte: u8, out: &mut String) {
    // Writing to a string cannot fail.
    let _ = write!(out, "%{byte:02X}");
}

/// The first bytes of a value, and no half character at the end.
fn shortened(value: &[u8], longest: usize) -> &[u8] {
    let is_inside = |at: usize| value.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    let end = (longest.saturating_sub(3)..=longest).rev().find(|at| !is_inside(*at));
    value.get(..end.unwrap_or(longest)).unwrap_or(value)
}

#[cfg(test)]
mod tests;
