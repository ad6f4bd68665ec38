//! What a worker is made of.

use std::sync::Arc;
use std::time::Duration;

use super::chains::{Chain, ChainId};
use super::home::Home;
use super::plugin::Plugin;
use crate::guest::Guest;
use crate::id_map::IdMap;
use crate::services::Services;

/// One worker: the chains of its listeners, the plugins' VMs, the exchanges under way, and what is to be done next.
///
/// Plugins of equal code, VM id and VM configuration share a VM, whatever chain they are in, as in one thread of Envoy.
/// Envoy configures a plugin also on its main thread and once for trial; a worker does it once.
pub struct Worker {
    pub(crate) state: Home,
    pub(super) chains: IdMap<ChainId, Chain>,
    pub(super) last_chain: u64,
    /// The plugin that each root context was made for, in the order of the state's.
    pub(super) plugins: Vec<Plugin>,
    pub(super) vms: Vec<Vm>,
}

/// A VM as the worker holds it; the part that host calls reach is in the state.
pub(super) struct Vm {
    pub(super) guest: Option<Box<dyn Guest>>,
    /// The plugin whose code it runs.
    pub(super) plugin: Plugin,
    pub(super) started: Duration,
    /// Ends behind the guest; nothing once the VM has ended, and its place can be taken.
    pub(super) share: Option<Share>,
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
