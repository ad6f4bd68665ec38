//! The plugins' counters, gauges and histograms, shared by all workers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::abi::{MetricKind, Status};

/// All metrics of a proxy, by kind and name.
#[derive(Debug, Default)]
pub struct Metrics {
    cells: RwLock<HashMap<(MetricKind, Box<str>), Arc<Cell>>>,
}

/// One metric; every id that a VM defined for its name reaches the same cell.
#[derive(Debug)]
pub struct Cell {
    kind: MetricKind,
    name: Box<str>,
    value: AtomicU64,
    samples: RwLock<Vec<u64>>,
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
    /// What a histogram recorded.
    pub samples: Vec<u64>,
}

impl Metrics {
    /// The cell of a name, new or not.
    pub(crate) fn define(&self, kind: MetricKind, name: &str) -> Arc<Cell> {
        if let Some(cell) = self.cells.read().unwrap_or_else(PoisonError::into_inner).get(&(kind, name.into())) {
            return Arc::clone(cell);
        }
        let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(cells.entry((kind, name.into())).or_insert_with(|| {
            Arc::new(Cell { kind, name: name.into(), value: AtomicU64::new(0), samples: RwLock::default() })
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
                self.samples.write().unwrap_or_else(PoisonError::into_inner).push(value);
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
        let samples = self.samples.read().unwrap_or_else(PoisonError::into_inner).clone();
        let value = match self.kind {
            MetricKind::Histogram => samples.len() as u64,
            _ => self.value.load(Ordering::Relaxed),
        };
        Sample { name: self.name.to_string(), kind: self.kind, value, samples }
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
        assert_eq!(metrics.define(MetricKind::Counter, "c").get(), Ok(5), "one cell per name");
    }
}
