//! Faults on demand: host calls that fail, an allocator without memory, callbacks that trap, callouts gone wrong.

use std::time::Duration;

use crate::abi::Status;

/// Which occurrence of something goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Each one.
    Always,
    /// Only the n-th, counted from 1.
    Nth(u32),
}

/// What happens to a callout in place of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalloutFault {
    /// The cluster takes longer than the timeout.
    Timeout,
    /// No connection can be made.
    Unreachable,
    /// The connection breaks after the headers.
    Reset,
    /// It answers, but only after this time.
    Slow(Duration),
}

/// A plan of faults; the default has none.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    calls: Vec<(String, When, u32, u32)>,
    allocations: Vec<(When, u32)>,
    traps: Vec<(String, When, u32)>,
    callouts: Vec<(When, CalloutFault, u32)>,
}

impl Faults {
    /// No faults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The named host call, such as `proxy_log`, answers this status and does nothing.
    #[must_use]
    pub fn call(mut self, name: impl Into<String>, when: When, status: Status) -> Self {
        self.calls.push((name.into(), when, status as u32, 0));
        self
    }

    /// As [`call`](Self::call) with a number that need not be a status.
    #[must_use]
    pub fn call_number(mut self, name: impl Into<String>, when: When, number: u32) -> Self {
        self.calls.push((name.into(), when, number, 0));
        self
    }

    /// The guest's allocator answers null.
    #[must_use]
    pub fn allocation(mut self, when: When) -> Self {
        self.allocations.push((when, 0));
        self
    }

    /// The named callback, such as `proxy_on_tick`, traps before the guest runs.
    #[must_use]
    pub fn trap(mut self, name: impl Into<String>, when: When) -> Self {
        self.traps.push((name.into(), when, 0));
        self
    }

    /// A callout ends otherwise than its cluster would have it.
    #[must_use]
    pub fn callout(mut self, when: When, fault: CalloutFault) -> Self {
        self.callouts.push((when, fault, 0));
        self
    }

    pub(crate) fn at_call(&mut self, name: &str) -> Option<u32> {
        let rules = self.calls.iter_mut().filter(|(call, ..)| call == name);
        due(rules.map(|(_, when, status, seen)| (*when, &mut *seen, *status)))
    }

    pub(crate) fn at_allocation(&mut self) -> bool {
        due(self.allocations.iter_mut().map(|(when, seen)| (*when, seen, ()))).is_some()
    }

    pub(crate) fn at_callback(&mut self, name: &str) -> bool {
        let rules = self.traps.iter_mut().filter(|(callback, ..)| callback == name);
        due(rules.map(|(_, when, seen)| (*when, seen, ()))).is_some()
    }

    /// The fault of the callout that is about to be sent.
    #[cfg(any(feature = "native", feature = "wasm"))]
    pub(crate) fn at_callout(&mut self) -> Option<CalloutFault> {
        due(self.callouts.iter_mut().map(|(when, fault, seen)| (*when, seen, *fault)))
    }
}

/// Counts the occurrence in every rule; the first rule whose time it is decides.
fn due<'a, T>(rules: impl Iterator<Item = (When, &'a mut u32, T)>) -> Option<T> {
    let mut found = None;
    for (when, seen, what) in rules {
        *seen += 1;
        if found.is_none() && (when == When::Always || when == When::Nth(*seen)) {
            found = Some(what);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_call_fails() {
        let mut faults = Faults::new().call("proxy_log", When::Nth(2), Status::InternalFailure).call(
            "proxy_done",
            When::Always,
            Status::NotFound,
        );
        assert_eq!(faults.at_call("proxy_log"), None);
        assert_eq!(faults.at_call("proxy_done"), Some(1));
        assert_eq!(faults.at_call("proxy_log"), Some(10));
        assert_eq!(faults.at_call("proxy_log"), None);
        assert!(!faults.at_allocation());
    }
}
