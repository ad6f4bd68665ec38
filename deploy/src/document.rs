//! Kubernetes objects in a text, each with the place of everything in it.

use crate::yaml::{self, Entry, Location, Node, SyntaxError, Value};

/// The kinds that this crate knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `extensions.istio.io/v1alpha1`, Istio 1.12 and later.
    WasmPlugin,
    /// `extensions.istio.io/v1alpha1`, Istio 1.30 and later.
    TrafficExtension,
    /// `networking.istio.io/v1alpha3`: changes to Envoy's configuration.
    EnvoyFilter,
}

impl Kind {
    /// The word in `kind`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WasmPlugin => "WasmPlugin",
            Self::TrafficExtension => "TrafficExtension",
            Self::EnvoyFilter => "EnvoyFilter",
        }
    }

    fn group(self) -> &'static str {
        match self {
            Self::WasmPlugin | Self::TrafficExtension => "extensions.istio.io",
            Self::EnvoyFilter => "networking.istio.io",
        }
    }
}

/// One object.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The whole of it.
    pub root: Node,
    /// Fields that are given again further down, so that this one does not count.
    pub duplicates: Vec<Entry>,
}

/// Reads every object of a text; the members of a `List` count as objects of their own, documents without content do
/// not count.
#[must_use]
pub fn read(text: &str) -> Vec<Result<Document, SyntaxError>> {
    let mut documents = Vec::new();
    for tree in yaml::read(text) {
        match tree {
            Ok(tree) if tree.root.is_null() => {}
            Ok(tree) => expand(Document { root: tree.root, duplicates: tree.duplicates }, &mut documents),
            Err(error) => documents.push(Err(error)),
        }
    }
    documents
}

fn expand(document: Document, documents: &mut Vec<Result<Document, SyntaxError>>) {
    let Document { root, duplicates } = document;
    let is_list = root.get("kind").and_then(Node::text).is_some_and(|kind| kind.ends_with("List"));
    let items = root.get("items").filter(|_| is_list).map(|items| &items.value);
    let Some(Value::List(items)) = items else {
        return documents.push(Ok(Document { root, duplicates }));
    };
    documents.extend(items.iter().map(|item| Ok(Document { root: item.clone(), duplicates: Vec::new() })));
}

impl Document {
    /// Where it begins.
    #[must_use]
    pub fn at(&self) -> Location {
        self.root.at
    }

    /// What it says its kind is; empty if it says nothing.
    #[must_use]
    pub fn kind_name(&self) -> &str {
        self.root.get("kind").and_then(Node::text).unwrap_or_default()
    }

    /// Its kind, if this crate knows it. The group decides, not the version.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        let group = self.root.get("apiVersion").and_then(Node::text)?.split('/').next()?;
        [Kind::WasmPlugin, Kind::TrafficExtension, Kind::EnvoyFilter]
            .into_iter()
            .find(|kind| kind.name() == self.kind_name() && kind.group() == group)
    }

    /// Its name; empty if it has none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.root.at_path(&["metadata", "name"]).and_then(Node::text).unwrap_or_default()
    }

    /// Its `spec`.
    #[must_use]
    pub fn spec(&self) -> Option<&Node> {
        self.root.get("spec")
    }
}
