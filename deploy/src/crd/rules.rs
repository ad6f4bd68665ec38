//! The patterns of the schemas, and their CEL rules by their messages.

use std::fmt;

use crate::source;
use crate::yaml::Node;

/// A pattern of the schema, and whether a text follows it.
#[derive(Clone, Copy)]
pub(super) struct Pattern {
    pub(super) regex: &'static str,
    pub(super) holds: fn(&str) -> bool,
}

/// A CEL rule of the schema: its message, and whether a value follows it.
#[derive(Clone, Copy)]
pub(super) struct Rule {
    pub(super) message: &'static str,
    pub(super) holds: fn(&Node) -> bool,
}

impl fmt::Debug for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.regex)
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.message)
    }
}

pub(super) const SHA256: Pattern = Pattern { regex: "(^$|^[a-f0-9]{64}$)", holds: is_sha256 };
pub(super) const KIND: Pattern = Pattern { regex: "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$", holds: is_kind };
pub(super) const DOMAIN: Pattern =
    Pattern { regex: r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", holds: is_domain };

pub(super) const NO_NAMESPACE: Rule = Rule {
    message: "cross namespace referencing is not currently supported",
    holds: |node| node.text().is_none_or(str::is_empty),
};
pub(super) const HOST_WITHOUT_VALUE: Rule = Rule {
    message: "value may only be set when valueFrom is INLINE",
    holds: |node| node.get("valueFrom").and_then(Node::text) != Some("HOST") || node.get("value").is_none(),
};
pub(super) const URL_SCHEME: Rule = Rule {
    message: "url must have schema one of [http, https, file, oci]",
    holds: |node| node.text().is_none_or(|url| source::admit(url).is_ok()),
};
/// A field that is there counts, even if it is an empty list.
pub(super) const ONE_TARGETING: Rule = Rule {
    message: "only one of targetRefs or selector can be set",
    holds: |node| ["selector", "targetRef", "targetRefs"].into_iter().filter(|name| has(node, name)).count() <= 1,
};
pub(super) const ONE_PROGRAM: Rule =
    Rule { message: "exactly one of wasm or lua must be set", holds: |node| has(node, "wasm") != has(node, "lua") };

fn has(node: &Node, name: &str) -> bool {
    node.get(name).is_some()
}

fn is_sha256(text: &str) -> bool {
    text.is_empty() || text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'a'..=b'f' | b'0'..=b'9'))
}

fn is_kind(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.ends_with(|last: char| last.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_alphanumeric())
}

fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        label.starts_with(edge) && label.ends_with(edge) && label.chars().all(|c| c == '-' || edge(c))
    };
    text.is_empty() || text.split('.').all(label)
}
