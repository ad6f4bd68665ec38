//! Something to tell about a document: what, where, how bad, and what to do.

use std::fmt;

use serde::Serialize;

use crate::yaml::Location;

/// Something to tell about a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Which rule found it, e.g. `url-path`; a word that does not change.
    pub code: &'static str,
    /// The field, e.g. `spec.match[0].ports`.
    pub path: String,
    /// Where it stands.
    pub at: Location,
    /// What is wrong.
    pub message: String,
    /// What to do; empty where the message says it.
    pub help: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It will not work, or not do what was meant.
    Error,
    /// It works today, and has hurt others.
    Warning,
    /// Good to know.
    Info,
}

impl Severity {
    /// The word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}

/// The path of a field below another one.
pub(crate) fn field(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The path of a member of a list.
pub(crate) fn member(path: &str, place: usize) -> String {
    format!("{path}[{place}]")
}

/// A text for a message: in backticks, and not longer than a line.
pub(crate) fn shown(text: &str) -> String {
    const LONG: usize = 80;
    if text.chars().count() <= LONG {
        return format!("`{text}`");
    }
    let beginning: String = text.chars().take(LONG).collect();
    format!("`{beginning}...`")
}

/// The name that was probably meant: the one that begins like it, or else the nearest one, if it is near.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const TELLING: usize = 4;
    let folded = name.to_lowercase();
    let distance = |candidate: &str| {
        let candidate = candidate.to_lowercase();
        let begins = candidate.starts_with(&folded) || folded.starts_with(&candidate);
        let telling = candidate.len().min(folded.len()) >= TELLING;
        if begins && telling { 0 } else { strsim::damerau_levenshtein(&folded, &candidate) }
    };
    let (candidate, distance) = known.into_iter().map(|known| (known, distance(known))).min_by_key(|(_, far)| *far)?;
    (distance <= 1 + name.chars().count() / 4).then_some(candidate)
}
