//! The names of an object's members, each once.

use std::borrow::Cow;

use super::fault::Fault;

/// The names that an object has so far. Configuration has few in each object: a search through them costs nothing.
#[derive(Default)]
pub(super) struct Names<'de>(Vec<Cow<'de, str>>);

impl<'de> Names<'de> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(&mut self, name: Cow<'de, str>) -> Result<(), Fault> {
        if self.0.contains(&name) {
            return Err(Fault(format!("the member `{name}` is there twice").into()));
        }
        self.0.push(name);
        Ok(())
    }
}
