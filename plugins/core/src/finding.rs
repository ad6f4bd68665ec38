//! What is wrong in a configuration: the place in it and the reason.

use std::fmt;

/// One thing found in a configuration, for the person who wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    path: String,
    reason: String,
}

impl Finding {
    /// The place, as a path of field names and indexes such as `policies[2].spec.rules[0].when[1].key`; empty where it is
    /// the whole.
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
        if !self.path.is_empty() {
            write!(f, "`{}`: ", self.path)?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Finding {}

/// A place in a configuration, from the inside out; written only when something is found there.
#[derive(Debug, Clone, Copy)]
pub(crate) enum At<'p> {
    /// The whole configuration.
    Whole,
    /// A field of an object.
    Field(&'p At<'p>, &'p str),
    /// A member of an object whose names are the user's own.
    Member(&'p At<'p>, &'p str),
    /// An element of a list.
    Element(&'p At<'p>, usize),
}

impl At<'_> {
    /// Says what is wrong here.
    pub(crate) fn finding(&self, reason: impl Into<String>) -> Finding {
        Finding { path: self.to_string(), reason: reason.into() }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => Ok(()),
            Self::Field(Self::Whole, name) => f.write_str(name),
            Self::Field(within, name) => write!(f, "{within}.{name}"),
            Self::Member(within, name) => write!(f, "{within}[{name}]"),
            Self::Element(within, index) => write!(f, "{within}[{index}]"),
        }
    }
}
