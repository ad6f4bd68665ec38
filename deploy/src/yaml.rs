//! YAML and JSON as trees in which every value knows its line and column.
//!
//! Scalars are read as `kubectl` reads them, by the rules of YAML 1.1: `yes` and `on` are true, `0755` is octal.

use std::collections::HashMap;
use std::fmt;

use granit_parser::{Event, Marker, Parser, ScanError};
use serde_json::Number;

mod scalar;
#[cfg(test)]
mod tests;

/// How deep values may be nested; Kubernetes' resources need about ten levels.
const DEPTH: usize = 100;

/// How many values aliases may stand for in one document, against the likes of "billion laughs".
const ALIASED: usize = 100_000;

/// A place in a text; both numbers count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Location {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.line, self.column)
    }
}

impl From<&Marker> for Location {
    fn from(marker: &Marker) -> Self {
        Self { line: marker.line(), column: marker.col() + 1 }
    }
}

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it begins.
    pub at: Location,
}

/// What stands in a document.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// A truth value.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the text.
    Map(Vec<Entry>),
}

/// A field of a mapping.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its name.
    pub key: String,
    /// Where the name stands.
    pub at: Location,
    /// Its value.
    pub value: Node,
}

/// One document of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    /// What it holds.
    pub root: Node,
    /// Fields that were given before under the same name, in the same mapping: the last one counts.
    pub duplicates: Vec<Entry>,
}

/// A text that is not YAML.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {message}")]
pub struct SyntaxError {
    /// Where reading stopped.
    pub at: Location,
    /// What is wrong there.
    pub message: String,
}

/// Reads every document of a text. After a mistake, reading goes on at the next `---`.
#[must_use]
pub fn read(text: &str) -> Vec<Result<Tree, SyntaxError>> {
    let mut parser = Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut documents = Vec::new();
    let mut builder = Builder::default();
    while let Some(event) = parser.next() {
        let failed = match event {
            Ok((event, span)) => match builder.take(event, (&span.start).into()) {
                Ok(Some(tree)) => {
                    documents.push(Ok(tree));
                    continue;
                }
                Ok(None) => continue,
                Err(error) => error,
            },
            Err(error) => syntax(&error),
        };
        documents.push(Err(failed));
        builder = Builder::default();
        if !parser.proceed_next_document().unwrap_or(false) {
            break;
        }
    }
    documents
}

fn syntax(error: &ScanError) -> SyntaxError {
    SyntaxError { at: error.marker().into(), message: error.kind().to_string() }
}

impl Node {
    /// The field of that name, if this is a mapping and has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.entry(name).map(|entry| &entry.value)
    }

    /// The field of that name with its own place.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == name)
    }

    /// The value at the end of that way, a field name each.
    #[must_use]
    pub fn at_path(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, name| node.get(name))
    }

    /// The fields of a mapping; none if it is something else.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The members of a list; none if it is something else.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The text, if it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether nothing was given.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// The same as JSON.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(value) => value.clone().into(),
            Value::Text(value) => value.as_str().into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect(),
        }
    }

    /// How many values this is.
    fn size(&self) -> usize {
        1 + self.items().iter().map(Self::size).sum::<usize>()
            + self.entries().iter().map(|entry| entry.value.size()).sum::<usize>()
    }

    /// How many levels this has.
    fn depth(&self) -> usize {
        let items = self.items().iter().map(Self::depth).max().unwrap_or_default();
        1 + self.entries().iter().map(|entry| entry.value.depth()).max().unwrap_or_default().max(items)
    }
}

/// Puts events together, one document at a time.
#[derive(Debug, Default)]
struct Builder {
    /// What is not closed yet, outermost first.
    open: Vec<Open>,
    root: Option<Node>,
    duplicates: Vec<Entry>,
    anchors: HashMap<usize, Node>,
    aliased: usize,
}

#[derive(Debug)]
struct Open {
    node: Node,
    anchor: usize,
    /// The name of a field whose value comes next.
    key: Option<(String, Location)>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, at: Location) -> Result<Option<Tree>, SyntaxError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar::value(&text, style, tag.as_deref());
                self.place(Node { value, at }, anchor)?;
            }
            Event::SequenceStart(_, anchor, _) => self.begin(Value::List(Vec::new()), anchor, at)?,
            Event::MappingStart(_, anchor, _) => self.begin(Value::Map(Vec::new()), anchor, at)?,
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(Open { node, anchor, .. }) = self.open.pop() {
                    self.place(merged(node), anchor)?;
                }
            }
            Event::Alias(anchor) => self.alias(anchor, at)?,
            Event::DocumentEnd => {
                let done = std::mem::take(self);
                let root = done.root.unwrap_or(Node { value: Value::Null, at });
                return Ok(Some(Tree { root, duplicates: done.duplicates }));
            }
            _ => {}
        }
        Ok(None)
    }

    fn begin(&mut self, value: Value, anchor: usize, at: Location) -> Result<(), SyntaxError> {
        if self.open.len() >= DEPTH {
            return Err(too_deep(at));
        }
        self.open.push(Open { node: Node { value, at }, anchor, key: None });
        Ok(())
    }

    fn alias(&mut self, anchor: usize, at: Location) -> Result<(), SyntaxError> {
        let error = |message: &str| SyntaxError { at, message: message.to_owned() };
        let node = self.anchors.get(&anchor).ok_or_else(|| error("an alias stands inside of what it is for"))?.clone();
        self.aliased += node.size();
        if self.aliased > ALIASED {
            return Err(error("the aliases of this document stand for too many values"));
        }
        if self.open.len() + node.depth() > DEPTH {
            return Err(too_deep(at));
        }
        self.place(Node { at, ..node }, 0)
    }

    /// Puts a finished value where it belongs: a key, a field, a member, or the document itself.
    fn place(&mut self, node: Node, anchor: usize) -> Result<(), SyntaxError> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(Open { node: parent, key, .. }) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match (&mut parent.value, key.take()) {
            (Value::Map(entries), Some((name, at))) => {
                let entry = Entry { key: name, at, value: node };
                match entries.iter_mut().find(|known| known.key == entry.key) {
                    Some(known) if known.key != scalar::MERGE => {
                        self.duplicates.push(std::mem::replace(known, entry));
                    }
                    _ => entries.push(entry),
                }
            }
            (Value::Map(_), None) => {
                let name = scalar::key(&node.value).ok_or_else(|| SyntaxError {
                    at: node.at,
                    message: "the name of a field must be a text".to_owned(),
                })?;
                *key = Some((name, node.at));
            }
            (Value::List(items), _) => items.push(node),
            _ => {}
        }
        Ok(())
    }
}

fn too_deep(at: Location) -> SyntaxError {
    SyntaxError { at, message: format!("values are nested more than {DEPTH} levels deep") }
}

/// Puts what merge keys (`<<: *other`) name into the mapping; its own fields win.
fn merged(mut node: Node) -> Node {
    let Value::Map(entries) = &mut node.value else { return node };
    if !entries.iter().any(|entry| entry.key == scalar::MERGE) {
        return node;
    }
    let (merges, own): (Vec<_>, Vec<_>) =
        std::mem::take(entries).into_iter().partition(|entry| entry.key == scalar::MERGE);
    *entries = own;
    for merge in merges {
        let sources = match merge.value.value {
            Value::List(items) => items,
            _ => vec![merge.value],
        };
        for entry in sources.into_iter().flat_map(|source| source.entries().to_vec()) {
            if !entries.iter().any(|known| known.key == entry.key) {
                entries.push(entry);
            }
        }
    }
    node
}
