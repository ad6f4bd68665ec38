//! What plugins count on either side: by how much a request has moved it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde_json::Value;

use super::PATIENCE;
use crate::client;

/// The admin ports of two proxies that should count the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::run) struct Witnesses {
    /// What to call the proxies; empty if there is only one of each kind.
    pub(in crate::run) name: String,
    pub(in crate::run) embedded: SocketAddr,
    pub(in crate::run) envoy: SocketAddr,
}

/// Counters and gauges of plugins by name.
type Counts = BTreeMap<String, u64>;

/// Two proxies: what they had counted when they were asked last, nothing at first, and what they count now.
#[derive(Debug)]
pub(super) struct Counters {
    witnesses: Witnesses,
    embedded: [Counts; 2],
    envoy: [Counts; 2],
    problem: Option<String>,
}

impl Counters {
    pub(super) fn of(witnesses: Witnesses) -> Self {
        Self { witnesses, embedded: Default::default(), envoy: Default::default(), problem: None }
    }

    pub(super) fn witnesses(&self) -> &Witnesses {
        &self.witnesses
    }

    /// Looks at the counters; whether both sides have moved alike since [`differences`](Self::differences) was last asked.
    pub(super) fn agree(&mut self) -> bool {
        match (read(self.witnesses.embedded), read(self.witnesses.envoy)) {
            (Ok(embedded), Ok(envoy)) => {
                (self.embedded[1], self.envoy[1], self.problem) = (embedded, envoy, None);
                differences(&self.embedded, &self.envoy).is_empty()
            }
            (Err(error), _) | (_, Err(error)) => {
                self.problem = Some(format!("counters cannot be read: {error:#}"));
                false
            }
        }
    }

    /// What has moved differently, for people: each difference is told once, by the request that made it.
    pub(super) fn differences(&mut self) -> Vec<String> {
        let found = differences(&self.embedded, &self.envoy).into_iter().chain(self.problem.take());
        let found = found.map(|difference| self.named(difference)).collect();
        for [before, now] in [&mut self.embedded, &mut self.envoy] {
            before.clone_from(now);
        }
        found
    }

    fn named(&self, difference: String) -> String {
        match self.witnesses.name.as_str() {
            "" => difference,
            name => format!("{name}, {difference}"),
        }
    }
}

/// What the plugins of a proxy have counted.
fn read(admin: SocketAddr) -> Result<Counts> {
    let path = "/stats?format=json&filter=wasmcustom.";
    let page = client::send(admin, &client::Request { method: "GET", path, ..client::Request::default() }, PATIENCE)?;
    let page: Value = serde_json::from_slice(&page.body).context("the admin port does not answer with JSON")?;
    let stats = page.get("stats").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let pair = |stat: &Value| Some((stat.get("name")?.as_str()?.to_owned(), stat.get("value")?.as_u64()?));
    Ok(stats.iter().filter_map(pair).collect())
}

/// Where one side, before and now, has moved otherwise than the other one.
fn differences(embedded: &[Counts; 2], envoy: &[Counts; 2]) -> Vec<String> {
    let mut names: Vec<&String> = [embedded, envoy].into_iter().flatten().flat_map(BTreeMap::keys).collect();
    names.sort_unstable();
    names.dedup();
    let moved = |[before, now]: &[Counts; 2], name: &String| {
        let at = |counts: &Counts| i128::from(counts.get(name).copied().unwrap_or_default());
        at(now) - at(before)
    };
    let differs = names.into_iter().filter(|name| moved(embedded, name) != moved(envoy, name));
    differs
        .map(|name| format!("metric `{name}`: embedded {:+}, envoy {:+}", moved(embedded, name), moved(envoy, name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use serde_json::json;
    use wasmplugin_host::envoy::backend::Backend;
    use wasmplugin_host::test::{Answer, Cluster, Request};

    use super::*;

    fn counts<const N: usize>(pairs: [(&str, u64); N]) -> Counts {
        pairs.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
    }

    #[test]
    fn what_moves_differently_is_told() {
        let embedded = [counts([("b", 2), ("g", 1)]), counts([("a", 1), ("b", 3), ("g", 0)])];
        let envoy = [counts([("b", 7), ("g", 1)]), counts([("b", 8), ("c", 3), ("g", 1)])];
        let expected = [
            "metric `a`: embedded +1, envoy +0",
            "metric `c`: embedded +0, envoy +3",
            "metric `g`: embedded -1, envoy +0",
        ];
        assert_eq!(differences(&embedded, &envoy), expected);
    }

    /// An admin port on which a counter stands where it is put.
    fn admin(count: &Arc<AtomicU64>) -> Backend {
        let count = Arc::clone(count);
        let page = move |_: &Request| {
            let stat = json!({"name": "wasmcustom.a", "value": count.load(Ordering::Relaxed)});
            Answer::new(200).body(json!({"stats": [stat]}).to_string())
        };
        Backend::start(Cluster::new("admin", page)).unwrap()
    }

    #[test]
    fn a_difference_is_told_once() {
        let (one, other) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (embedded, envoy) = (admin(&one), admin(&other));
        let (embedded, envoy) = (embedded.address(), envoy.address());
        let mut counters = Counters::of(Witnesses { name: "web".to_owned(), embedded, envoy });
        let mut told = |more: u64, of_envoy: u64| {
            one.fetch_add(more, Ordering::Relaxed);
            other.fetch_add(of_envoy, Ordering::Relaxed);
            let agreed = counters.agree();
            let found = counters.differences();
            assert_eq!(agreed, found.is_empty());
            found
        };
        assert_eq!(told(1, 1), [""; 0]);
        assert_eq!(told(1, 3), ["web, metric `wasmcustom.a`: embedded +1, envoy +3"]);
        assert_eq!(told(1, 1), [""; 0]);
        assert_eq!(told(0, 0), [""; 0]);
        assert_eq!(told(1, 0), ["web, metric `wasmcustom.a`: embedded +1, envoy +0"]);
    }
}
