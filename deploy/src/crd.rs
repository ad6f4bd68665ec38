//! What the API server checks: the structural schemas and CEL rules of Istio's custom resource definitions.

use crate::document::{Document, Kind};
use crate::finding::{Finding, Severity};

mod rules;
pub(crate) mod schema;
#[cfg(test)]
mod tests;
mod walk;

/// What the API server does with an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why it refuses; nothing if it admits.
    pub refused: Vec<Finding>,
    /// Fields that it does not know: it removes them without a word (`kubectl` tells, unless asked not to).
    pub pruned: Vec<Finding>,
}

/// Checks an object as the API server would. Of an EnvoyFilter it checks nothing: its patches are free form.
#[must_use]
pub fn check(document: &Document, kind: Kind) -> Verdict {
    let mut verdict = Verdict::default();
    let schema = match kind {
        Kind::WasmPlugin => &schema::WASM_PLUGIN,
        Kind::TrafficExtension => &schema::TRAFFIC_EXTENSION,
        Kind::EnvoyFilter => return verdict,
    };
    let mut walk = walk::Walk { verdict: &mut verdict };
    match document.root.entry("spec") {
        Some(entry) => walk.value(schema, &entry.value, "spec"),
        None => verdict.refused.push(Finding {
            severity: Severity::Error,
            code: "crd-required",
            path: String::new(),
            at: document.at(),
            message: "the API server refuses it: `spec` is a required property".to_owned(),
            help: "say under `spec` what the plugin is and which workloads it is for".to_owned(),
        }),
    }
    verdict
}
