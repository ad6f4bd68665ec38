//! Why a worker does not start.

use std::fmt;

use crate::callback::Trap;

/// A worker could not be started.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartError {
    /// The module's code could not be loaded or its start-up entry failed.
    Load {
        /// The plugin's name.
        plugin: String,
        /// Why.
        reason: String,
    },
    /// A callback of the start trapped.
    Trap {
        /// The plugin's name.
        plugin: String,
        /// Where and why.
        trap: Trap,
    },
    /// The plugin refused its VM's configuration.
    VmStart {
        /// The plugin's name.
        plugin: String,
    },
    /// The plugin refused its configuration.
    Configure {
        /// The plugin's name.
        plugin: String,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load { plugin, reason } => write!(f, "plugin `{plugin}` cannot be loaded: {reason}"),
            Self::Trap { plugin, trap } => write!(f, "plugin `{plugin}` failed to start: {trap}"),
            Self::VmStart { plugin } => write!(f, "plugin `{plugin}` refused to start (`proxy_on_vm_start`)"),
            Self::Configure { plugin } => {
                write!(f, "plugin `{plugin}` refused its configuration (`proxy_on_configure`)")
            }
        }
    }
}

impl std::error::Error for StartError {}
