//! The plugins' counters, gauges and histograms, shared by all workers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::abi::{MetricKind, Status};
use crate::length::length;

/// The upper bounds of a histogram's buckets, as Envoy shows them.
pub const BOUNDS: [f64; 19] =
    [0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 3e4, 6e4, 3e5, 6e5, 1.8e6, 3.6e6];

/// All metrics of a proxy, by kind and name.
#[derive(Debug, Default)]
pub struct Metrics {
    cells: RwLock<Cells>,
}

type Cells = HashMap<(MetricKind, Box<str>), Arc<Cell>>;

/// One metric; every id that a VM defined for its name reaches the same cell.
#[derive(Debug)]
pub struct Cell {
    kind: MetricKind,
    name: Box<str>,
    /// The value; of a histogram, the number of samples.
    value: AtomicU64,
    sum: AtomicU64,
    buckets: [AtomicU64; BOUNDS.len()],
}

/// One metric's name and value at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// As the plugin defined it, without Envoy's `wasmcustom.`.
    pub name: String,
    /// Counter, gauge or histogram.
    pub kind: MetricKind,
    /// The counter's or gauge's value; a histogram's number of samples.
    pub value: u64,
    /// The sum of a histogram's samples.
    pub sum: u64,
    /// How many samples of a histogram are at most as large as each of [`BOUNDS`].
    pub buckets: Vec<u64>,
}

impl Metrics {
    /// The cell of a name, new or not.
    pub(crate) fn define(&self, kind: MetricKind, name: &str) -> Arc<Cell> {
        if let Some(cell) = self.cells.read().unwrap_or_else(PoisonError::into_inner).get(&(kind, name.into())) {
            return Arc::clone(cell);
        }
        let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(cells.entry((kind, name.into())).or_insert_with(|| {
            Arc::new(Cell {
                kind,
                name: name.into(),
                value: AtomicU64::new(0),
                sum: AtomicU64::new(0),
                buckets: Default::default(),
            })
        }))
    }

    /// The value of the counter or gauge of this name, the number of samples of a histogram.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<u64> {
        let cells = self.cells.read().unwrap_or_else(PoisonError::into_inner);
        MetricKind::ALL.iter().find_map(|kind| cells.get(&(*kind, name.into()))).map(|cell| cell.sample().value)
    }

    /// Everything, sorted by name.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Sample> {
        let cells = self.cells.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<Sample> = cells.values().map(|cell| cell.sample()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

impl Cell {
    /// Adds to a counter or gauge.
    pub(crate) fn increment(&self, offset: i64) -> Result<(), Status> {
        match self.kind {
            MetricKind::Counter if offset <= 0 => Err(Status::BadArgument),
            MetricKind::Counter | MetricKind::Gauge => {
                // A gauge below zero wraps, as Envoy's does.
                self.value.fetch_add(offset.cast_unsigned(), Ordering::Relaxed);
                Ok(())
            }
            MetricKind::Histogram => Err(Status::BadArgument),
        }
    }

    /// Adds to a counter, sets a gauge, samples a histogram.
    pub(crate) fn record(&self, value: u64) {
        match self.kind {
            MetricKind::Counter => {
                self.value.fetch_add(value, Ordering::Relaxed);
            }
            MetricKind::Gauge => self.value.store(value, Ordering::Relaxed),
            MetricKind::Histogram => {
                #[expect(clippy::cast_precision_loss, reason = "the bounds are small and exact")]
                let bucket = BOUNDS.iter().position(|bound| value as f64 <= *bound);
                if let Some(bucket) = bucket.and_then(|bucket| self.buckets.get(bucket)) {
                    bucket.fetch_add(1, Ordering::Relaxed);
                }
                self.sum.fetch_add(value, Ordering::Relaxed);
                self.value.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The value of a counter or gauge.
    pub(crate) fn get(&self) -> Result<u64, Status> {
        match self.kind {
            MetricKind::Histogram => Err(Status::BadArgument),
            _ => Ok(self.value.load(Ordering::Relaxed)),
        }
    }

    fn sample(&self) -> Sample {
        let mut below = 0;
        let buckets = match self.kind {
            MetricKind::Histogram => self.buckets.iter().map(|bucket| {
                below += bucket.load(Ordering::Relaxed);
                below
            }),
            _ => return self.plain_sample(),
        };
        Sample { buckets: buckets.collect(), sum: self.sum.load(Ordering::Relaxed), ..self.plain_sample() }
    }

    fn plain_sample(&self) -> Sample {
        let value = self.value.load(Ordering::Relaxed);
        Sample { name: self.name.to_string(), kind: self.kind, value, sum: 0, buckets: Vec::new() }
    }
}

/// The metrics that a VM has defined; each definition has a number of its own, even for one name.
#[derive(Debug, Default)]
pub(crate) struct MetricIds {
    by_kind: [Vec<Arc<Cell>>; 3],
}

impl MetricIds {
    /// Counters get 4, 8, ...; gauges 5, 9, ...; histograms 6, 10, ...
    pub(crate) fn insert(&mut self, kind: MetricKind, cell: Arc<Cell>) -> u32 {
        let kind = kind as u32;
        let Some(cells) = self.by_kind.get_mut(kind as usize) else { return 0 };
        cells.push(cell);
        length(cells.len()) * 4 + kind
    }

    pub(crate) fn get(&self, id: u32) -> Option<&Cell> {
        let index = (id >> 2).checked_sub(1)?;
        self.by_kind.get((id & 3) as usize)?.get(index as usize).map(AsRef::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_differ_as_in_envoy() {
        let metrics = Metrics::default();
        let counter = metrics.define(MetricKind::Counter, "c");
        assert_eq!(counter.increment(0), Err(Status::BadArgument));
        assert_eq!(counter.increment(2), Ok(()));
        counter.record(3);
        assert_eq!(counter.get(), Ok(5));
        let gauge = metrics.define(MetricKind::Gauge, "g");
        assert_eq!(gauge.increment(-1), Ok(()));
        assert_eq!(gauge.get(), Ok(u64::MAX));
        gauge.record(7);
        assert_eq!(metrics.value("g"), Some(7));
        let histogram = metrics.define(MetricKind::Histogram, "h");
        assert_eq!(histogram.increment(1), Err(Status::BadArgument));
        histogram.record(9);
        assert_eq!(histogram.get(), Err(Status::BadArgument));
        assert_eq!(metrics.value("h"), Some(1));
        let sample = metrics.snapshot().pop().unwrap();
        assert_eq!((sample.sum, sample.buckets[2], sample.buckets[3], sample.buckets[18]), (9, 0, 1, 1));
        assert_eq!(metrics.define(MetricKind::Counter, "c").get(), Ok(5), "one cell per name");
    }
}
