//! The expressions that a VM has had parsed, by their tokens.

use std::collections::BTreeMap;
use std::fmt;

use cel::Program;

/// The expressions of one VM by their tokens, which count up from 0.
#[derive(Default)]
pub(crate) struct Expressions {
    pub(crate) parsed: BTreeMap<u32, Parsed>,
    pub(crate) next: u32,
}

/// One expression.
pub(crate) struct Parsed {
    pub(crate) program: Program,
    /// It is the name of a root alone, which Envoy has no encoding for.
    pub(crate) bare_root: bool,
}

impl fmt::Debug for Expressions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expressions").field("tokens", &self.parsed.keys()).finish_non_exhaustive()
    }
}
