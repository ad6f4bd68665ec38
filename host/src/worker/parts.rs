//! What a worker is made of.

use std::sync::Arc;
use std::time::Duration;

use super::home::Home;
use super::plugin::Plugin;
use crate::guest::Guest;
use crate::services::Services;

/// One worker: the plugins' VMs, the exchanges under way, and what is to be done next.
///
/// Envoy configures a plugin also on its main thread and once for trial; a worker does it once.
pub struct Worker {
    pub(crate) state: Home,
    pub(crate) plugins: Vec<Plugin>,
    /// Which root context new exchanges of each plugin belong to.
    pub(super) roots: Vec<usize>,
    pub(super) vms: Vec<Vm>,
}

/// A VM as the worker holds it; the part that host calls reach is in the state.
pub(super) struct Vm {
    pub(super) guest: Option<Box<dyn Guest>>,
    /// The plugin whose code it runs.
    pub(super) plugin: usize,
    pub(super) started: Duration,
    /// Ends behind the guest.
    pub(super) _share: Share,
}

/// A VM's share in what the VMs of its id have together.
pub(super) struct Share {
    services: Arc<Services>,
    vm_id: Box<str>,
}

impl Share {
    pub(super) fn new(services: Arc<Services>, vm_id: &str) -> Self {
        services.vm_began(vm_id);
        Self { services, vm_id: vm_id.into() }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.services.vm_ended(&self.vm_id);
    }
}
