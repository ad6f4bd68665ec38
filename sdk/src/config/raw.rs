//! A value that is kept as it is written, to be read later.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// What the reader knows the type by.
pub(super) const NAME: &str = "wasmplugin::config::Raw";

/// Any JSON value, as its text.
///
/// Only [`json`](super::json) reads it; other readers have lost the text when they are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Raw(pub(super) String);

impl Raw {
    /// An object without members.
    pub(crate) fn empty_object() -> Self {
        Self("{}".to_owned())
    }

    /// The text.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(NAME, Text)
    }
}

struct Text;

impl Visitor<'_> for Text {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a configuration that is read by this crate")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw(text.to_owned()))
    }
}
