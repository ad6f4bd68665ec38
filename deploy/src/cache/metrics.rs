//! What happened to modules, counted under the names of Istio's agent, so that its dashboards work.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How a fetch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchResult {
    /// With a module.
    Success,
    /// An http or https source did not give it.
    DownloadFailure,
    /// No manifest of the image could be read.
    ManifestFailure,
    /// Other bytes than named.
    ChecksumMismatched,
    /// The image did not give it.
    FetchFailure,
}

/// How the configuration of a filter was made ready for the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConversionResult {
    /// Its module is there.
    Success,
    /// It names no remote module.
    NoRemoteLoad,
    /// It cannot be written.
    MarshalFailure,
    /// It cannot be read.
    UnmarshalFailure,
    /// Its module cannot be fetched.
    FetchFailure,
    /// It does not say how to fetch.
    MissRemoteFetchHint,
}

const FETCHES: [&str; 5] = ["success", "download_failure", "manifest_failure", "checksum_mismatched", "fetch_failure"];

const CONVERSIONS: [&str; 6] =
    ["success", "no_remote_load", "marshal_failure", "unmarshal_failure", "fetch_failure", "miss_remote_fetch_hint"];

/// Upper bounds of the histogram of conversions, in milliseconds.
const BOUNDS: [u64; 15] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384];

/// Counters of one cache.
#[derive(Debug, Default)]
pub struct Metrics {
    entries: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    fetches: [AtomicU64; FETCHES.len()],
    conversions: [AtomicU64; CONVERSIONS.len()],
    durations: [AtomicU64; BOUNDS.len()],
    duration_sum: AtomicU64,
    duration_count: AtomicU64,
}

impl Metrics {
    /// How many modules there are.
    pub(crate) fn set_entries(&self, entries: u64) {
        self.entries.store(entries, Ordering::Relaxed);
    }

    /// A module was looked for.
    pub(crate) fn lookup(&self, hit: bool) {
        add(if hit { &self.hits } else { &self.misses }, 1);
    }

    /// A fetch has ended.
    pub(crate) fn fetched(&self, result: FetchResult) {
        count(&self.fetches, result as usize);
    }

    /// The configuration of a filter was made ready, or not.
    pub fn converted(&self, result: ConversionResult, took: Duration) {
        count(&self.conversions, result as usize);
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        if let Some(bucket) = BOUNDS.iter().position(|bound| milliseconds <= *bound) {
            count(&self.durations, bucket);
        }
        add(&self.duration_sum, milliseconds);
        add(&self.duration_count, 1);
    }

    /// The counters as Prometheus text, under the names of Istio's agent.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = String::new();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        family(&mut out, "wasm_cache_entries", "gauge", "number of Wasm remote fetch cache entries.");
        line(&mut out, "wasm_cache_entries", "", read(&self.entries));
        family(&mut out, "wasm_cache_lookup_count", "counter", "number of Wasm remote fetch cache lookups.");
        line(&mut out, "wasm_cache_lookup_count", r#"{hit="false"}"#, read(&self.misses));
        line(&mut out, "wasm_cache_lookup_count", r#"{hit="true"}"#, read(&self.hits));
        family(
            &mut out,
            "wasm_remote_fetch_count",
            "counter",
            "number of Wasm remote fetches and results, including success, download failure, and checksum mismatch.",
        );
        results(&mut out, "wasm_remote_fetch_count", &FETCHES, &self.fetches);
        family(
            &mut out,
            "wasm_config_conversion_count",
            "counter",
            "number of Wasm config conversion count and results, including success, no remote load, marshal failure, remote fetch failure, miss remote fetch hint.",
        );
        results(&mut out, "wasm_config_conversion_count", &CONVERSIONS, &self.conversions);
        let name = "wasm_config_conversion_duration";
        family(
            &mut out,
            name,
            "histogram",
            "Total time in milliseconds istio-agent spends on converting remote load in Wasm config.",
        );
        let mut below = 0;
        for (bound, counter) in BOUNDS.iter().zip(&self.durations) {
            below += read(counter);
            line(&mut out, &format!("{name}_bucket"), &format!("{{le=\"{bound}\"}}"), below);
        }
        line(&mut out, &format!("{name}_bucket"), r#"{le="+Inf"}"#, read(&self.duration_count));
        line(&mut out, &format!("{name}_sum"), "", read(&self.duration_sum));
        line(&mut out, &format!("{name}_count"), "", read(&self.duration_count));
        out
    }
}

fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

fn count(counters: &[AtomicU64], place: usize) {
    if let Some(counter) = counters.get(place) {
        add(counter, 1);
    }
}

fn results(out: &mut String, name: &str, words: &[&str], counters: &[AtomicU64]) {
    for (word, counter) in words.iter().zip(counters) {
        // Like the agent, which knows a result only once it has happened.
        let value = counter.load(Ordering::Relaxed);
        if value > 0 {
            line(out, name, &format!("{{result=\"{word}\"}}"), value);
        }
    }
}

// Writing to a string does not fail.
fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP istio_agent_{name} {help}\n# TYPE istio_agent_{name} {kind}");
}

fn line(out: &mut String, name: &str, labels: &str, value: u64) {
    let _ = writeln!(out, "istio_agent_{name}{labels} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_the_names_of_istios_agent() {
        let metrics = Metrics::default();
        metrics.set_entries(2);
        metrics.lookup(true);
        metrics.fetched(FetchResult::ChecksumMismatched);
        metrics.converted(ConversionResult::Success, Duration::from_millis(3));
        metrics.converted(ConversionResult::FetchFailure, Duration::from_secs(30));
        let text = metrics.render();
        for line in [
            "istio_agent_wasm_cache_entries 2",
            "istio_agent_wasm_cache_lookup_count{hit=\"true\"} 1",
            "istio_agent_wasm_remote_fetch_count{result=\"checksum_mismatched\"} 1",
            "istio_agent_wasm_config_conversion_count{result=\"fetch_failure\"} 1",
            "istio_agent_wasm_config_conversion_duration_bucket{le=\"2\"} 0",
            "istio_agent_wasm_config_conversion_duration_bucket{le=\"4\"} 1",
            "istio_agent_wasm_config_conversion_duration_bucket{le=\"16384\"} 1",
            "istio_agent_wasm_config_conversion_duration_bucket{le=\"+Inf\"} 2",
            "istio_agent_wasm_config_conversion_duration_sum 30003",
            "# TYPE istio_agent_wasm_config_conversion_duration histogram",
        ] {
            assert!(text.lines().any(|found| found == line), "`{line}` is not in\n{text}");
        }
    }
}
