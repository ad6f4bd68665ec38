//! What a proxy does not change while it runs, and who is told that it is to be another.

use serde_json::{Value, json};

use super::plan;

/// What of a bootstrap people can change, and what they call it.
const FIXED: [(&str, &str); 4] = [
    ("admin", "the admin port (`admin`)"),
    ("node", "what plugins read of the workload itself (its name, labels and `metadata`)"),
    ("stats_config", "what becomes a label of a metric (`stats_tags`, also of modules)"),
    ("bootstrap_extensions", "the singletons"),
];

/// What a proxy was started with, and what of it would be another after a restart, as was told last.
#[derive(Debug)]
pub(crate) struct Restart {
    bootstrap: Value,
    workers: usize,
    told: Vec<&'static str>,
}

impl Restart {
    /// Of a proxy that starts with this bootstrap.
    pub(super) const fn new(bootstrap: Value, workers: usize) -> Self {
        Self { bootstrap, workers, told: Vec::new() }
    }

    /// Tells what is different in the bootstrap that it would have now, once each time that this changes.
    pub(super) fn tell(&mut self, workload: &str, bootstrap: &Value, workers: usize) {
        let differs = |(part, _): &&(&str, _)| self.bootstrap.get(part) != bootstrap.get(part);
        let mut outdated: Vec<_> = FIXED.iter().filter(differs).map(|(_, name)| *name).collect();
        if workers != self.workers {
            outdated.push("the number of threads (`workers`)");
        }
        if outdated != self.told {
            for name in &outdated {
                log::warn!("{workload}: {name} has changed, which needs a restart; until then it stays as it was");
            }
            self.told = outdated;
        }
    }
}

/// What the embedded proxy is started with and keeps, in the shape of a bootstrap.
pub(super) fn of_embedded(plan: &plan::Proxy) -> Value {
    let node = &plan.node;
    json!({"admin": plan.admin, "node": [node.id, node.cluster, node.metadata]})
}
