//! What is wrong in a configuration: the place in it and the reason.

use std::fmt;

/// One thing found in a configuration, for the person who wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    path: String,
    reason: String,
}

impl Finding {
    /// Something at `path`, such as `policies[2].spec.rules[0].when[1].key`.
    pub(super) fn new(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { path: path.into(), reason: reason.into() }
    }

    /// The place, as a path of field names and indexes.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong there.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.path, self.reason)
    }
}

impl std::error::Error for Finding {}
