//! What both validators admit and experience advises against: rules with a code, a reason and a remedy each.

use serde_json::Value;

use crate::admission::{self, Admission};
use crate::document::{Document, Kind};
use crate::finding::Finding;
use crate::version::IstioVersion;
use crate::yaml::Node;

mod behaviour;
pub mod config;
mod environment;
mod envoy_filter;
mod image;
mod module;
pub mod rule;
mod source;
mod targeting;
#[cfg(test)]
mod tests;
mod together;

pub use image::{ImageFlaw, KnownImage};

/// What is known about the cluster and the modules.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The version of Istio.
    pub istio: IstioVersion,
    /// The namespace whose resources are for the whole mesh.
    pub root_namespace: String,
    /// The modules that are at hand.
    pub modules: Vec<KnownModule>,
    /// The images that their registry was asked for.
    pub images: Vec<KnownImage>,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            istio: IstioVersion::LATEST,
            root_namespace: "istio-system".to_owned(),
            modules: Vec::new(),
            images: Vec::new(),
        }
    }
}

/// A module that is at hand, and the plugins that it is for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KnownModule {
    /// The `url` of those plugins; every plugin if there is none.
    pub url: Option<String>,
    /// The JSON Schema of its configuration, if it carries one.
    pub schema: Option<Value>,
    /// Its length in bytes.
    pub size: u64,
    /// Whether it is a component, which no proxy can load.
    pub is_component: bool,
}

/// What there is to tell about an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Its kind.
    pub kind: Kind,
    /// What the validators say.
    pub admission: Admission,
    /// Everything that was found by validators and rules, in the order of the text.
    pub findings: Vec<Finding>,
}

/// Looks at objects one by one and together. Those of kinds that this crate does not know have no report, but are looked
/// at where others refer to them.
#[must_use]
pub fn lint(documents: &[&Document], surroundings: &Surroundings) -> Vec<Option<Report>> {
    let mut reports: Vec<_> = documents.iter().map(|document| one(document, surroundings)).collect();
    for (place, finding) in together::findings(documents, surroundings) {
        if let Some(Some(report)) = reports.get_mut(place) {
            report.findings.push(finding);
        }
    }
    for report in reports.iter_mut().flatten() {
        report
            .findings
            .sort_by(|one, other| (one.at, one.severity, &one.path).cmp(&(other.at, other.severity, &other.path)));
    }
    reports
}

fn one(document: &Document, surroundings: &Surroundings) -> Option<Report> {
    let kind = document.kind()?;
    let admission = admission::check(document, kind);
    let mut findings = Findings::default();
    for duplicate in &document.duplicates {
        let message = format!("`{}` is given again further down, and only the last one counts", duplicate.key);
        findings.add(&rule::DUPLICATE_KEY, duplicate.at, duplicate.key.clone(), message);
    }
    match Plugin::of(document, kind) {
        Some(plugin) => {
            behaviour::check(&plugin, surroundings, &mut findings);
            targeting::check(&plugin, surroundings, &mut findings);
            source::check(&plugin, &mut findings);
            image::check(&plugin, surroundings, &mut findings);
            environment::check(&plugin, &mut findings);
            module::check(&plugin, surroundings, &mut findings);
        }
        None => envoy_filter::check(document, &mut findings),
    }
    let Admission { crd, istiod } = &admission;
    let admitted = [&crd.refused, &crd.pruned, &istiod.refused, &istiod.warned].into_iter().flatten().cloned();
    let mut all: Vec<_> = admitted.collect();
    // What a rule says about a field is more helpful than that the field is unknown.
    all.retain(|finding| finding.code != "unknown-field" || findings.0.iter().all(|own| own.path != finding.path));
    all.append(&mut findings.0);
    Some(Report { kind, admission, findings: all })
}

/// A WasmPlugin or TrafficExtension, as rules look at it. It need not be valid.
#[derive(Debug, Clone, Copy)]
struct Plugin<'a> {
    kind: Kind,
    document: &'a Document,
    spec: &'a Node,
    /// The fields of the module and their path; none for a script.
    wasm: Option<(&'a Node, &'static str)>,
}

impl<'a> Plugin<'a> {
    fn of(document: &'a Document, kind: Kind) -> Option<Self> {
        let spec = document.spec()?;
        let wasm = match kind {
            Kind::WasmPlugin => Some((spec, "spec")),
            Kind::TrafficExtension => spec.get("wasm").map(|wasm| (wasm, "spec.wasm")),
            Kind::EnvoyFilter => return None,
        };
        Some(Self { kind, document, spec, wasm })
    }

    fn namespace(&self) -> &'a str {
        namespace(self.document)
    }

    /// A text of the module's fields; empty if it is not given.
    fn wasm_text(&self, name: &str) -> &'a str {
        self.wasm.and_then(|(wasm, _)| wasm.get(name)).and_then(Node::text).unwrap_or_default()
    }

    /// A text of `spec`; empty if it is not given.
    fn text(&self, name: &str) -> &'a str {
        self.spec.get(name).and_then(Node::text).unwrap_or_default()
    }

    fn targets(&self) -> impl Iterator<Item = (&'a Node, String)> {
        let list = self.spec.get("targetRefs").map(Node::items).unwrap_or_default();
        let single = self.spec.get("targetRef").filter(|_| self.kind == Kind::WasmPlugin);
        let listed = list.iter().enumerate().map(|(place, node)| (node, format!("spec.targetRefs[{place}]")));
        single.map(|node| (node, "spec.targetRef".to_owned())).into_iter().chain(listed)
    }

    fn env(&self) -> impl Iterator<Item = (&'a Node, String)> {
        let (items, path) = match self.wasm {
            Some((wasm, path)) => (wasm.at_path(&["vmConfig", "env"]).map(Node::items).unwrap_or_default(), path),
            None => (&[][..], ""),
        };
        items.iter().enumerate().map(move |(place, node)| (node, format!("{path}.vmConfig.env[{place}]")))
    }
}

/// The namespace that an object lives in.
fn namespace(document: &Document) -> &str {
    let given = document.root.at_path(&["metadata", "namespace"]).and_then(Node::text);
    given.unwrap_or(crate::resource::DEFAULT_NAMESPACE)
}

/// What rules found so far.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(
        &mut self,
        rule: &rule::Rule,
        at: crate::yaml::Location,
        path: impl Into<String>,
        message: impl Into<String>,
    ) {
        self.0.push(rule.finding(at, path, message));
    }
}
