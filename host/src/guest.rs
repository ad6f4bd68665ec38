//! What a door offers to the proxy model: a started module whose callbacks can be called.

use std::fmt;

use crate::abi::AbiVersion;
use crate::callback::{Callback, Trap};
use crate::vm::VmState;

/// Something that guests can be started from, such as a compiled module.
pub trait Load: fmt::Debug + Send + Sync {
    /// Starts one guest up to and including its start-up entry (`_initialize` or `_start`).
    ///
    /// # Errors
    ///
    /// The reason, in words that name the module.
    fn start(&self, state: Box<VmState>) -> (Box<VmState>, Result<Box<dyn Guest>, String>);

    /// Whether this only stands in the place of a module that cannot be there.
    fn is_stand_in(&self) -> bool {
        false
    }

    /// Whether it stands for a plugin that has no configuration at all.
    fn is_missing(&self) -> bool {
        false
    }

    /// The module's name and the SHA-256 of its bytes, such as `sha256:2c26…`; nothing where there is no module.
    fn identity(&self) -> Option<(&str, &str)> {
        None
    }
}

/// A started guest. One instance serves one worker, as in Envoy.
pub trait Guest {
    /// Runs one callback to its end, host calls included.
    ///
    /// The state travels into the call and out of it, so that a host call finds it without a lock. The value is
    /// the guest's answer; a callback that the guest does not export answers what Envoy assumes then (1 for
    /// `VmStart`, `Configure` and `Done`, 0 otherwise) without entering the guest.
    fn call(&mut self, state: Box<VmState>, callback: Callback) -> (Box<VmState>, Result<u32, Trap>);

    /// Whether the guest has this callback; what it lacks is not called, and not traced.
    fn exports(&self, _callback: Callback) -> bool {
        true
    }

    /// The ABI version that the guest was written for.
    fn abi(&self) -> AbiVersion {
        AbiVersion::V0_2_1
    }

    /// Bytes of memory that the guest has taken for itself, and never gives back; 0 where it shares ours.
    fn memory(&self) -> u64 {
        0
    }
}
