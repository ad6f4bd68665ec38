//! What istiod's webhook checks: the object is decoded into a protobuf message, then Go code looks at that.

use std::collections::HashSet;

use crate::crd::schema;
use crate::document::{Document, Kind};
use crate::finding::{self, Finding, Severity};
use crate::source;
use crate::yaml::{Location, Node, Value};

mod decode;
#[cfg(test)]
mod tests;

/// What istiod says about an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why it refuses; nothing if it admits.
    pub refused: Vec<Finding>,
    /// What it admits with a warning.
    pub warned: Vec<Finding>,
}

/// Checks an object as istiod would. Fields that it does not know do not matter. Of an EnvoyFilter it checks nothing
/// here.
#[must_use]
pub fn check(document: &Document, kind: Kind) -> Verdict {
    let mut checks = Checks::default();
    let nothing = Node { value: Value::Map(Vec::new()), at: document.at() };
    let spec = document.spec().unwrap_or(&nothing);
    let schema = match kind {
        Kind::WasmPlugin => &schema::WASM_PLUGIN,
        Kind::TrafficExtension => &schema::TRAFFIC_EXTENSION,
        Kind::EnvoyFilter => return checks.verdict,
    };
    if let Err(wrong) = decode::check(schema, spec, "spec") {
        checks.refuse(
            "istiod-decode",
            wrong.at,
            wrong.path,
            &format!("it cannot decode the object: {}", wrong.message),
        );
        return checks.verdict;
    }
    checks.targeting(spec);
    checks.traffic(spec);
    match kind {
        Kind::TrafficExtension => checks.program(spec),
        _ => checks.wasm(spec, "spec"),
    }
    checks.verdict
}

/// The targets that istiod lets a plugin name, as group and kind.
pub const TARGETS: [(&str, &str); 4] = [
    ("core", "Service"),
    ("networking.istio.io", "ServiceEntry"),
    ("gateway.networking.k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "GatewayClass"),
];

/// The longest name of a Secret.
const SECRET_NAME: usize = 253;
/// The longest name of a plugin, and of an environment variable.
const NAME: usize = 256;
/// The longest script, in bytes.
const SCRIPT: usize = 65536;

#[derive(Default)]
struct Checks {
    verdict: Verdict,
}

impl Checks {
    fn targeting(&mut self, spec: &Node) {
        let targets = given(spec, "targetRefs").map(Node::items).unwrap_or_default();
        let single = given(spec, "targetRef");
        let selector = given(spec, "selector");
        let ways = usize::from(selector.is_some()) + usize::from(single.is_some()) + usize::from(!targets.is_empty());
        if ways > 1 {
            self.refuse("istiod-target", spec.at, "spec", "only one of targetRefs or workloadSelector can be set");
        }
        if let Some(selector) = selector {
            self.selector(selector);
        }
        if let Some(target) = single {
            self.target(target, "spec.targetRef");
        }
        for (place, target) in targets.iter().enumerate() {
            self.target(target, &finding::member("spec.targetRefs", place));
        }
    }

    fn selector(&mut self, selector: &Node) {
        const PATH: &str = "spec.selector.matchLabels";
        let labels = selector.get("matchLabels").map(Node::entries).unwrap_or_default();
        if labels.is_empty() {
            self.verdict.warned.push(Finding {
                severity: Severity::Warning,
                code: "selector-empty",
                path: "spec.selector".to_owned(),
                at: selector.at,
                message: "istiod warns: workload selector specified without labels".to_owned(),
                help: "it selects every workload; leave `selector` out to say so".to_owned(),
            });
        }
        for label in labels {
            let value = label.value.text().unwrap_or_default();
            let shown = format!("`{}={value}`", label.key);
            if label.key.is_empty() {
                self.refuse(
                    "istiod-selector",
                    label.at,
                    PATH,
                    &format!("empty key is not supported in selector: {shown}"),
                );
            }
            if label.key.contains('*') || value.contains('*') {
                let message = format!("wildcard is not supported in selector: {shown}");
                self.refuse("istiod-selector", label.at, finding::field(PATH, &label.key), &message);
            }
        }
    }

    fn target(&mut self, target: &Node, path: &str) {
        let group = match text(target, "group") {
            "" => "core",
            group => group,
        };
        let kind = text(target, "kind");
        if text(target, "name").is_empty() {
            self.refuse("istiod-target", target.at, path, "targetRef name must be set");
        }
        if !text(target, "namespace").is_empty() {
            let message = "targetRef namespace must not be set; cross namespace referencing is not supported";
            self.refuse("istiod-target", target.at, finding::field(path, "namespace"), message);
        }
        if !TARGETS.contains(&(group, kind)) {
            let known = TARGETS.map(|(group, kind)| format!("`{group}/{kind}`")).join(", ");
            let message = format!("targetRef must be to one of {known} but was `{group}/{kind}`");
            self.refuse("istiod-target", target.at, path, &message);
        }
    }

    fn traffic(&mut self, spec: &Node) {
        for (place, selector) in given(spec, "match").map(Node::items).unwrap_or_default().iter().enumerate() {
            for (number, port) in given(selector, "ports").map(Node::items).unwrap_or_default().iter().enumerate() {
                let value = port.get("number").and_then(decode::whole).unwrap_or_default();
                if !(1..=65535).contains(&value) {
                    let message = format!("spec.Match[{place}].Ports[{number}] is out of range: {value}");
                    let path = format!("spec.match[{place}].ports[{number}]");
                    self.refuse("istiod-port", port.at, path, &message);
                }
            }
        }
    }

    fn program(&mut self, spec: &Node) {
        match (given(spec, "wasm"), given(spec, "lua")) {
            (Some(wasm), None) => self.wasm(wasm, "spec.wasm"),
            (None, Some(lua)) => {
                let at = lua.get("inlineCode").map_or(lua.at, |code| code.at);
                match text(lua, "inlineCode").len() {
                    0 => self.refuse("istiod-lua", at, "spec.lua.inlineCode", "lua.inlineCode cannot be empty"),
                    1..=SCRIPT => {}
                    length => {
                        let message = format!("lua.inlineCode exceeds maximum size of 64KB: {length} bytes");
                        self.refuse("istiod-lua", at, "spec.lua.inlineCode", &message);
                    }
                }
            }
            _ => self.refuse("istiod-program", spec.at, "spec", "exactly one of wasm or lua must be set"),
        }
    }

    fn wasm(&mut self, wasm: &Node, path: &str) {
        let at = |name| wasm.get(name).map_or(wasm.at, |node| node.at);
        if let Err(error) = source::admit(text(wasm, "url")) {
            self.refuse("istiod-url", at("url"), finding::field(path, "url"), &error.to_string());
        }
        if let Some(message) = checksum(text(wasm, "sha256")) {
            self.refuse("istiod-sha256", at("sha256"), finding::field(path, "sha256"), message);
        }
        for (name, most) in [("imagePullSecret", SECRET_NAME), ("pluginName", NAME)] {
            if text(wasm, name).len() > most {
                let message = format!("{name} field must be less than {most} characters long");
                self.refuse("istiod-length", at(name), finding::field(path, name), &message);
            }
        }
        let env = given(wasm, "vmConfig").and_then(|config| given(config, "env")).map(Node::items).unwrap_or_default();
        self.env(env, &finding::field(path, "vmConfig.env"));
    }

    fn env(&mut self, env: &[Node], path: &str) {
        let mut names = HashSet::new();
        for (place, variable) in env.iter().enumerate() {
            let name = text(variable, "name");
            let path = finding::member(path, place);
            if name.is_empty() {
                self.refuse(
                    "istiod-env",
                    variable.at,
                    path.as_str(),
                    "spec.vmConfig.env invalid: a variable needs a name",
                );
            }
            if name.len() > NAME {
                let message = format!("env.name field must be less than or equal to {NAME} characters long");
                self.refuse("istiod-env", variable.at, path.as_str(), &message);
            }
            if !names.insert(name) {
                self.refuse(
                    "istiod-env",
                    variable.at,
                    path.as_str(),
                    &format!("duplicate env: {}", finding::shown(name)),
                );
            }
            if decode::word(variable, "valueFrom", &["INLINE", "HOST"]) == "HOST" && !text(variable, "value").is_empty()
            {
                self.refuse("istiod-env", variable.at, path, "value may only be set when valueFrom is INLINE");
            }
        }
    }

    fn refuse(&mut self, code: &'static str, at: Location, path: impl Into<String>, message: &str) {
        self.verdict.refused.push(Finding {
            severity: Severity::Error,
            code,
            path: path.into(),
            at,
            message: format!("istiod refuses it: {message}"),
            help: String::new(),
        });
    }
}

/// The field, unless it is `null`, which protobuf reads as not given.
fn given<'a>(node: &'a Node, name: &str) -> Option<&'a Node> {
    node.get(name).filter(|node| !node.is_null())
}

fn text<'a>(node: &'a Node, name: &str) -> &'a str {
    node.get(name).and_then(Node::text).unwrap_or_default()
}

fn checksum(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        None
    } else if text.len() != 64 {
        Some("sha256 field must be 64 characters long")
    } else {
        let wrong = text.chars().any(|c| !matches!(c, 'a'..='f' | '0'..='9'));
        wrong.then_some("sha256 field must match [a-f0-9]{64} pattern")
    }
}
