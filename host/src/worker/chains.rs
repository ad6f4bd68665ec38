//! The chains of a worker: added, changed and removed while exchanges are under way.

use std::sync::Arc;

use bytes::Bytes;

use super::error::StartError;
use super::parts::Worker;
use super::plugin::Plugin;
use crate::entrance::Entrance;

/// Names one chain within a worker; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChainId(u64);

impl ChainId {
    /// The chain that a worker was given first.
    pub const FIRST: Self = Self(1);
}

/// Plugins in the order in which exchanges meet them.
pub(super) struct Chain {
    pub(super) entrance: Arc<Entrance>,
    /// The plugins' root contexts; two that are equal have the same one.
    pub(super) roots: Vec<usize>,
}

impl Chain {
    /// What an exchange or a connection that begins in it belongs to.
    pub(super) fn begin(&self) -> (Arc<Entrance>, &[usize]) {
        (Arc::clone(&self.entrance), &self.roots)
    }
}

impl Worker {
    /// Adds a chain: starts the plugins that do not run yet, in a VM that is there where they can share it.
    ///
    /// A plugin that runs already, with the same name, root id, configuration and policy, is not started again: as in
    /// Envoy, its root context serves all chains that have it.
    ///
    /// # Errors
    ///
    /// The first plugin that does not start, and why; then nothing is added. A trap takes along what shares the VM, so a
    /// plugin should have been tried in another worker before.
    pub fn add_chain(&mut self, plugins: &[Plugin], entrance: Entrance) -> Result<ChainId, StartError> {
        self.forget_late();
        let mut roots = Vec::with_capacity(plugins.len());
        for plugin in plugins {
            match self.root_of(plugin) {
                Ok(root) => roots.push(root),
                Err(refused) => {
                    self.release_roots(&roots);
                    return Err(refused);
                }
            }
        }
        self.last_chain += 1;
        let id = ChainId(self.last_chain);
        self.chains.insert(id, Chain { entrance: Arc::new(entrance), roots });
        Ok(id)
    }

    /// Gives a plugin, by its place in the chain, another configuration while exchanges are under way.
    ///
    /// As in Envoy, the plugin gets a new root context in the VM that it has. What begins from now on belongs to it; the
    /// exchanges and connections under way stay with the old one, which ends with the last of them.
    ///
    /// # Errors
    ///
    /// The plugin refuses the configuration, and keeps the one it has; or its VM fails over it. Envoy tries a
    /// configuration out in another VM first, so that a trap there harms nobody; here it does.
    pub fn reconfigure(&mut self, chain: ChainId, place: usize, configuration: Bytes) -> Result<(), StartError> {
        let Some(before) = self.root_at(chain, place) else { return Ok(()) };
        let Some(plugin) = self.plugins.get(before) else { return Ok(()) };
        let root = self.root_of(&Plugin { configuration, ..plugin.clone() })?;
        if let Some(current) = self.chains.get_mut(&chain).and_then(|chain| chain.roots.get_mut(place)) {
            *current = root;
        }
        self.release_roots(&[before]);
        Ok(())
    }

    /// Removes a chain: nothing can begin in it any more. Its plugins end with the last exchange or connection that has
    /// begun in it, unless other chains have them too.
    pub fn remove_chain(&mut self, chain: ChainId) {
        if let Some(chain) = self.chains.remove(&chain) {
            self.release_roots(&chain.roots);
        }
    }

    /// Whether the VM of the plugin at this place of a chain has trapped and was not replaced.
    #[must_use]
    pub fn has_failed(&self, chain: ChainId, place: usize) -> bool {
        let root = self.root_at(chain, place).and_then(|root| self.state.roots.get(root));
        let vm = root.and_then(|root| self.state.vms.get(root.vm));
        vm.is_some_and(|vm| vm.failed)
    }

    fn root_at(&self, chain: ChainId, place: usize) -> Option<usize> {
        self.chains.get(&chain)?.roots.get(place).copied()
    }

    /// Lets root contexts go that no chain has any more.
    fn release_roots(&mut self, roots: &[usize]) {
        for root in roots {
            if !self.chains.values().any(|chain| chain.roots.contains(root)) {
                self.retire(*root);
            }
        }
        self.end_retired();
    }
}
