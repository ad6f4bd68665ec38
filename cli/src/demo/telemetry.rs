//! Whether both sidecars have counted the story's requests, each under the name of the other.

use std::collections::BTreeMap;

use super::counters::Counters;
use super::evidence::{CLIENT, SERVER};
use super::story::{Entrance, Scene};

/// Istio's metric.
const REQUESTS: &str = "istio_requests_total";

/// One of the two sidecars, as its counters must name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reporter {
    /// The caller's.
    Source,
    /// The one before the application.
    Destination,
}

impl Reporter {
    /// Labels that every series of it must have: who asks and who is asked, which each knows of the other by the exchange of
    /// metadata alone, and by whose certificates.
    const fn labels(self) -> [(&'static str, &'static str); 10] {
        let (reporter, policy) = match self {
            Self::Source => ("source", "unknown"),
            Self::Destination => ("destination", "mutual_tls"),
        };
        [
            ("reporter", reporter),
            ("source_workload", "browser"),
            ("source_app", "browser"),
            ("source_version", "v1"),
            ("source_principal", CLIENT),
            ("destination_workload", "orders"),
            ("destination_app", "orders"),
            ("destination_version", "v1"),
            ("destination_principal", SERVER),
            ("connection_security_policy", policy),
        ]
    }
}

/// How many requests of the story go through both sidecars, by the status of their answers.
pub(super) fn expected(scenes: &[Scene]) -> BTreeMap<u16, u64> {
    let through_both = scenes.iter().filter(|scene| scene.entrance == Entrance::Sidecar);
    let mut expected = BTreeMap::new();
    for status in through_both.filter_map(|scene| scene.status) {
        *expected.entry(status).or_default() += 1;
    }
    expected
}

/// How many requests a sidecar has counted.
pub(super) fn total(counters: &Counters) -> u64 {
    counters.named(REQUESTS).map(|(_, count)| count).sum()
}

/// Everything that a sidecar has not counted as it must, one sentence each.
pub(super) fn differences(reporter: Reporter, counters: &Counters, expected: &BTreeMap<u16, u64>) -> Vec<String> {
    let mut differences = Vec::new();
    let mut counted = BTreeMap::new();
    for (series, count) in counters.named(REQUESTS) {
        for (label, value) in reporter.labels() {
            let found = label_of(series, label);
            if found != value {
                differences.push(format!("`{label}` must be `{value}`, but is `{found}` in {series}"));
            }
        }
        let status = label_of(series, "response_code").parse().unwrap_or_default();
        *counted.entry(status).or_default() += count;
    }
    if counted != *expected {
        differences.push(format!("`{REQUESTS}` by status must be {expected:?}, but is {counted:?}"));
    }
    differences
}

/// The value of a label in `name{label="value",..}`.
fn label_of<'a>(series: &'a str, label: &str) -> &'a str {
    let labels = series.split(['{', ',', '}']).filter_map(|pair| pair.split_once('='));
    labels.filter(|(name, _)| *name == label).map(|(_, value)| value.trim_matches('"')).next().unwrap_or("absent")
}

#[cfg(test)]
mod tests {
    use super::super::story::scenes;
    use super::*;

    fn page(reporter: Reporter, spoiled: &str) -> Counters {
        let labels = reporter.labels().map(|(label, value)| format!("{label}=\"{value}\"")).join(",");
        let labels = labels.replace(spoiled, "unknown");
        let line = |(status, count): (u16, u64)| format!("{REQUESTS}{{response_code=\"{status}\",{labels}}} {count}\n");
        Counters::read(&expected(&scenes()).into_iter().map(line).collect::<String>())
    }

    #[test]
    fn what_is_as_it_must_be_leaves_no_differences() {
        for reporter in [Reporter::Source, Reporter::Destination] {
            assert_eq!(differences(reporter, &page(reporter, "?"), &expected(&scenes())), [""; 0]);
        }
        assert_eq!(
            total(&page(Reporter::Source, "?")),
            scenes().len() as u64 - 1,
            "one is refused before it is a request"
        );
    }

    #[test]
    fn a_peer_that_is_not_known_and_a_request_too_few_are_told() {
        let page = page(Reporter::Source, "\"orders\"");
        let differences = differences(Reporter::Source, &page, &[(200, 1)].into());
        assert!(
            differences[0].starts_with("`destination_workload` must be `orders`, but is `unknown`"),
            "{differences:?}"
        );
        assert!(differences.last().unwrap().contains("by status must be {200: 1}"), "{differences:?}");
    }
}
