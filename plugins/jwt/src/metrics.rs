//! The counters of `jwt_authn`.

use istio_core::jwt::Counter;
use wasmplugin::metrics;

/// A counter of the proxy for each that the rules count.
#[derive(Debug)]
pub(crate) struct Metrics([(Counter, metrics::Counter); Counter::ALL.len()]);

impl Default for Metrics {
    fn default() -> Self {
        Self(Counter::ALL.map(|counter| (counter, metrics::Counter::new(counter.name()))))
    }
}

impl Metrics {
    pub(crate) fn count(&self, counts: impl Iterator<Item = (Counter, u64)>) {
        for (counter, n) in counts {
            if let Some((_, metric)) = self.0.iter().find(|(one, _)| *one == counter) {
                metric.inc(n);
            }
        }
    }
}
