//! The name of a new plugin, in the forms that it takes.

use std::str::FromStr;

use anyhow::{Error, bail};

/// A name that is good for a package, a crate, and a resource of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name(String);

/// Crates that a plugin stands beside.
const TAKEN: &[&str] = &[
    "alloc",
    "core",
    "log",
    "proc-macro",
    "schemars",
    "serde",
    "serde-json",
    "std",
    "test",
    "wasmplugin",
    "wasmplugin-host",
];

/// What cannot be a crate's name in a program.
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Types that the templates name.
const TYPES: &[&str] = &[
    "Cluster",
    "Config",
    "ConfigError",
    "Connection",
    "Done",
    "Duration",
    "Err",
    "Flow",
    "Http",
    "None",
    "Ok",
    "Rc",
    "Reply",
    "RequestHead",
    "Result",
    "Self",
    "Shared",
    "SharedCell",
    "Singleton",
    "Some",
    "String",
    "Tcp",
    "TryFrom",
    "Vec",
];

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let begins = text.starts_with(|c: char| c.is_ascii_lowercase());
        if !begins || !text.chars().all(good) || text.ends_with('-') || text.contains("--") || text.len() > 63 {
            bail!(
                "`{text}` cannot be a plugin's name: write lower-case letters, digits and single `-`, beginning with a letter, \
                 at most 63"
            );
        }
        if TAKEN.contains(&text) || KEYWORDS.contains(&text) {
            bail!("`{text}` is a word of Rust or a crate that every plugin uses: choose another name");
        }
        Ok(Self(text.to_owned()))
    }
}

impl Name {
    /// As in `add-header`.
    pub(super) fn package(&self) -> &str {
        &self.0
    }

    /// As in `add_header`.
    pub(super) fn library(&self) -> String {
        self.0.replace('-', "_")
    }

    /// As in `AddHeader`; one that would be another type's is `HttpPlugin`.
    pub(super) fn type_name(&self) -> String {
        let capital = |word: &str| {
            let mut letters = word.chars();
            letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
        };
        let name: String = self.0.split('-').map(capital).collect();
        if TYPES.contains(&name.as_str()) { format!("{name}Plugin") } else { name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_three_forms() {
        let name: Name = "add-2-headers".parse().unwrap();
        assert_eq!(name.package(), "add-2-headers");
        assert_eq!(name.library(), "add_2_headers");
        assert_eq!(name.type_name(), "Add2Headers");
        assert_eq!("http".parse::<Name>().unwrap().type_name(), "HttpPlugin");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in
            ["", "Hello", "a_b", "1a", "-a", "a-", "a--b", "ä", "a.b", "core", "serde", "match", &"a".repeat(64)]
        {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
    }
}
