//! A plugin as a proxy's configuration names it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::guest::Load;
#[cfg(feature = "native")]
use crate::native::Linked;
use crate::sandbox::Sandbox;

/// One plugin of the chain, as a proxy's configuration names it.
#[derive(Debug, Clone)]
pub struct Plugin {
    /// The name in logs and in the `plugin_name` property.
    pub name: String,
    /// Tells plugins of one module apart.
    pub root_id: String,
    /// Plugins of equal id, VM configuration and code share a VM.
    pub vm_id: String,
    /// What `proxy_on_configure` hands over.
    pub configuration: Bytes,
    /// What `proxy_on_vm_start` hands over.
    pub vm_configuration: Bytes,
    /// The environment that the module reads through WASI; plugins of different ones do not share a VM.
    pub environment: Vec<(String, String)>,
    /// What its VM may do; plugins of different ones do not share a VM.
    pub sandbox: Sandbox,
    /// What happens to requests when the plugin has trapped.
    pub fail: FailPolicy,
    /// Whether `Pause` from a headers callback lets body callbacks go on.
    pub allow_on_headers_stop_iteration: bool,
    /// The plugin itself.
    pub code: Code,
}

impl Plugin {
    /// A plugin without a configuration, in an open sandbox; closed when it has trapped.
    pub fn new(name: impl Into<String>, code: Code) -> Self {
        Self {
            name: name.into(),
            root_id: String::new(),
            vm_id: String::new(),
            configuration: Bytes::new(),
            vm_configuration: Bytes::new(),
            environment: Vec::new(),
            sandbox: Sandbox::OPEN,
            fail: FailPolicy::Closed,
            allow_on_headers_stop_iteration: false,
            code,
        }
    }

    /// Whether a proxy that runs the one need not be told of the other.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        let Self { name, root_id, configuration, fail, allow_on_headers_stop_iteration, .. } = self;
        *name == other.name
            && *root_id == other.root_id
            && *configuration == other.configuration
            && *fail == other.fail
            && *allow_on_headers_stop_iteration == other.allow_on_headers_stop_iteration
            && self.shares_vm(other)
    }

    /// Whether both run in one VM.
    pub(super) fn shares_vm(&self, other: &Self) -> bool {
        self.vm_id == other.vm_id
            && self.vm_configuration == other.vm_configuration
            && self.environment == other.environment
            && self.sandbox == other.sandbox
            && self.code.same(&other.code)
    }
}

/// What happens to requests when a plugin has trapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FailPolicy {
    /// They are answered with 503.
    #[default]
    Closed,
    /// They pass without the plugin, the one in which it trapped as well: Envoy's flag `fail_open`.
    Open,
    /// Those that the plugin has seen when it trapped are answered with 503, later ones pass without it: Envoy's policy
    /// `FAIL_OPEN`, and so Istio's.
    OpenLater,
    /// As closed, but later requests get a fresh VM, if the failed one was started at least so long ago. (Envoy adds up
    /// to a half to the pause, by chance.)
    Reload {
        /// How long a VM that fails at once stays down: the base interval of Envoy's `reload_config`.
        backoff: Duration,
    },
}

impl FailPolicy {
    /// [`Reload`](Self::Reload) with Envoy's pause of a second.
    pub const RELOAD: Self = Self::Reload { backoff: Duration::from_secs(1) };
}

/// Where a plugin's code is.
#[derive(Debug, Clone)]
pub enum Code {
    /// In this process.
    #[cfg(feature = "native")]
    Native(Linked),
    /// In a module; anything that can start guests will do.
    Wasm(Arc<dyn Load>),
}

impl Code {
    /// Whether it only stands in the place of a plugin.
    #[must_use]
    pub fn is_stand_in(&self) -> bool {
        match self {
            #[cfg(feature = "native")]
            Self::Native(_) => false,
            Self::Wasm(load) => load.is_stand_in(),
        }
    }

    /// Whether it stands in the place of a plugin that has no configuration at all.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        match self {
            #[cfg(feature = "native")]
            Self::Native(_) => false,
            Self::Wasm(load) => load.is_missing(),
        }
    }

    /// The module's name and digest, as [`Load::identity`] has them.
    #[must_use]
    pub fn identity(&self) -> Option<(&str, &str)> {
        match self {
            #[cfg(feature = "native")]
            Self::Native(_) => None,
            Self::Wasm(load) => load.identity(),
        }
    }

    pub(super) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            #[cfg(feature = "native")]
            (Self::Native(one), Self::Native(other)) => one.same(*other),
            (Self::Wasm(one), Self::Wasm(other)) => Arc::ptr_eq(one, other),
            #[cfg(feature = "native")]
            _ => false,
        }
    }
}
