//! What a guest may use before the host stops it.

use std::time::Duration;

/// The limits of one VM; the default is Envoy's on memory, and ten seconds for a callback, where Envoy would block for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of linear memory.
    pub memory: u64,
    /// Wall-clock time of one callback.
    pub time: Option<Duration>,
    /// Wasmtime fuel of one callback.
    pub fuel: Option<u64>,
    /// Host calls of one callback.
    pub host_calls: Option<u32>,
}

impl Limits {
    /// Those that hold where nothing is said.
    pub const USUAL: Self = Self { memory: 1 << 30, time: Some(Duration::from_secs(10)), fuel: None, host_calls: None };
}

impl Default for Limits {
    fn default() -> Self {
        Self::USUAL
    }
}
