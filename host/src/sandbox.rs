//! What a plugin's VM may do: the functions that it may call and be called by, and how much it may use.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::limits::Limits;

/// What a plugin's VM may do; plugins of different sandboxes do not share a VM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// The functions of the ABI that it has.
    pub capabilities: Capabilities,
    /// How much it may use.
    pub limits: Limits,
}

impl Sandbox {
    /// All functions, and the limits that hold where nothing is said.
    pub const OPEN: Self = Self { capabilities: Capabilities::ALL, limits: Limits::USUAL };
}

impl From<Limits> for Sandbox {
    fn from(limits: Limits) -> Self {
        Self { limits, ..Self::OPEN }
    }
}

impl From<Capabilities> for Sandbox {
    fn from(capabilities: Capabilities) -> Self {
        Self { capabilities, ..Self::OPEN }
    }
}

/// The host calls, callbacks and WASI functions that a module has: Envoy's `allowed_capabilities`.
///
/// A host call that is not among them answers `INTERNAL_FAILURE` (10), a function of WASI `ENOTCAPABLE` (76), and both
/// are told in the log; a callback is not called, as if the module did not export it. What a module starts with
/// (`_initialize`, `_start`, `main`), its allocator, and the helpers of compilers in `env` cannot be taken from it. All
/// of this as in Envoy 1.40.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities(Option<Arc<BTreeSet<String>>>);

impl Capabilities {
    /// Every function.
    pub const ALL: Self = Self(None);

    /// These alone; all if there is none, as in Envoy. Names that are no functions are taken and mean nothing.
    pub fn only<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        let names: BTreeSet<String> = names.into_iter().map(Into::into).collect();
        Self((!names.is_empty()).then(|| Arc::new(names)))
    }

    /// Whether this function is among them.
    #[must_use]
    pub fn allow(&self, function: &str) -> bool {
        self.0.as_ref().is_none_or(|names| names.contains(function))
    }

    /// Their names in order; nothing where every function is allowed.
    #[must_use]
    pub fn names(&self) -> Option<impl Iterator<Item = &str>> {
        self.0.as_ref().map(|names| names.iter().map(String::as_str))
    }
}

/// How every line of the log begins that tells of a call to a function that is not among a plugin's capabilities; in Envoy 1.40 too.
pub const RESTRICTED: &str = "Attempted call to restricted ";

/// Whose functions a module calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// The ABI's host calls.
    ProxyWasm,
    /// Those of the system interface.
    #[cfg(feature = "wasm")]
    Wasi,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ProxyWasm => "proxy-wasm",
            #[cfg(feature = "wasm")]
            Self::Wasi => "WASI",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_allows_everything() {
        assert_eq!(Capabilities::only(Vec::<String>::new()), Capabilities::ALL);
        assert!(Capabilities::ALL.allow("proxy_log"));
        let one = Capabilities::only(["proxy_log"]);
        assert!(one.allow("proxy_log") && !one.allow("proxy_on_log") && !one.allow("log"));
    }

    #[test]
    fn nothing_said_is_the_open_sandbox() {
        assert_eq!(Sandbox::default(), Sandbox::OPEN);
    }
}
