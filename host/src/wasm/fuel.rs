//! How much fuel a module's callbacks used: a measure of work that is the same on every machine.

use std::sync::atomic::{AtomicU64, Ordering};

use super::exports::{NAMES, index};
use crate::callback::Callback;

/// The fuel that all instances of one module have used, by callback.
#[derive(Debug, Default)]
pub struct FuelMeter([Counter; NAMES.len()]);

#[derive(Debug, Default)]
struct Counter {
    calls: AtomicU64,
    fuel: AtomicU64,
}

/// What one callback has used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FuelUse {
    /// The export, such as `proxy_on_request_headers`.
    pub callback: &'static str,
    /// How often it ran.
    pub calls: u64,
    /// The fuel of all these runs; about one unit per Wasm instruction.
    pub fuel: u64,
}

impl FuelMeter {
    /// The callbacks that ran, in the order of the ABI.
    #[must_use]
    pub fn used(&self) -> Vec<FuelUse> {
        let counters = NAMES.iter().zip(&self.0);
        let uses = counters.map(|(callback, counter)| FuelUse {
            callback,
            calls: counter.calls.load(Ordering::Relaxed),
            fuel: counter.fuel.load(Ordering::Relaxed),
        });
        uses.filter(|used| used.calls > 0).collect()
    }

    /// The fuel of all callbacks together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().map(|counter| counter.fuel.load(Ordering::Relaxed)).sum()
    }

    /// Starts again from nothing.
    pub fn reset(&self) {
        for counter in &self.0 {
            counter.calls.store(0, Ordering::Relaxed);
            counter.fuel.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn add(&self, callback: Callback, fuel: u64) {
        if let Some(counter) = self.0.get(index(callback)) {
            counter.calls.fetch_add(1, Ordering::Relaxed);
            counter.fuel.fetch_add(fuel, Ordering::Relaxed);
        }
    }
}
