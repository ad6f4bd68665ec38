//! Root contexts: one per plugin and configuration, begun, replaced and ended.

use bytes::Bytes;

use super::error::StartError;
use super::parts::Worker;
#[cfg(feature = "native")]
use super::plugin::Code;
use super::plugin::Plugin;
use crate::callback::Callback;
use crate::callout::CalloutId;
use crate::effect::Effect;
use crate::length::length;
use crate::vm::{Owner, Root, VmState};

impl Worker {
    /// Gives a plugin, by its place in the chain, another configuration while exchanges are under way.
    ///
    /// As in Envoy, the plugin gets a new root context in the VM that it has. What begins from now on belongs to it; the
    /// exchanges and connections under way stay with the old one, which ends with the last of them.
    ///
    /// # Errors
    ///
    /// The plugin refuses the configuration, and keeps the one it has; or its VM fails over it. Envoy tries a
    /// configuration out in another VM first, so that a trap there harms nobody; here it does.
    pub fn reconfigure(&mut self, place: usize, configuration: Bytes) -> Result<(), StartError> {
        let Some(plugin) = self.plugins.get(place) else { return Ok(()) };
        let Some(before) = self.roots.get(place).copied() else { return Ok(()) };
        let Some(vm) = self.state.roots.get(before).map(|root| root.vm) else { return Ok(()) };
        let root = Root { configuration: configuration.clone(), ..Root::new(plugin, place, vm) };
        let index = self.free_root();
        match self.state.roots.get_mut(index) {
            Some(slot) => *slot = root,
            None => self.state.roots.push(root),
        }
        if let Err(refused) = self.start_root(index) {
            self.retire(index);
            return Err(refused);
        }
        if let Some(plugin) = self.plugins.get_mut(place) {
            plugin.configuration = configuration;
        }
        if let Some(current) = self.roots.get_mut(place) {
            *current = index;
        }
        self.retire(before);
        Ok(())
    }

    /// Creates, starts and configures a plugin's root context.
    pub(super) fn start_root(&mut self, index: usize) -> Result<(), StartError> {
        let Some((place, vm, size)) =
            self.state.roots.get(index).map(|root| (root.place, root.vm, length(root.configuration.len())))
        else {
            return Ok(());
        };
        let Some(plugin) = self.plugins.get(place) else { return Ok(()) };
        let name = plugin.name.clone();
        let vm_size = length(plugin.vm_configuration.len());
        #[cfg(feature = "native")]
        if let Code::Native(linked) = plugin.code {
            linked.register().map_err(|reason| StartError::Load { plugin: name.clone(), reason })?;
        }
        let Some(context) = self.state.vms.get_mut(vm).map(|data| {
            let context = data.ids.context();
            data.contexts.insert(context, Owner::Root(index));
            context
        }) else {
            return Ok(());
        };
        if let Some(root) = self.state.roots.get_mut(index) {
            root.context = context;
            root.tick = None;
            root.next_tick = None;
        }
        let trap = |trap| StartError::Trap { plugin: name.clone(), trap };
        self.enter(vm, Callback::ContextCreate { context, root: 0 }).map_err(trap)?;
        if self.enter(vm, Callback::VmStart { root: context, config_len: vm_size }).map_err(trap)? == 0 {
            return Err(StartError::VmStart { plugin: name });
        }
        if self.enter(vm, Callback::Configure { root: context, config_len: size }).map_err(trap)? == 0 {
            return Err(StartError::Configure { plugin: name });
        }
        Ok(())
    }

    /// The place of a root context that has ended, or the next one.
    fn free_root(&self) -> usize {
        let roots = &self.state.roots;
        let free = (0..roots.len()).find(|index| {
            roots.get(*index).is_some_and(|root| root.retired && root.context == 0) && !self.is_in_use(*index)
        });
        free.unwrap_or(roots.len())
    }

    /// Lets a root context end as soon as no exchange and no connection belongs to it.
    fn retire(&mut self, index: usize) {
        if let Some(root) = self.state.roots.get_mut(index) {
            root.retired = true;
        }
        self.end_retired();
    }

    /// Ends the retired root contexts that nobody needs any more.
    pub(super) fn end_retired(&mut self) {
        for index in 0..self.state.roots.len() {
            let waits = |root: &Root| root.retired && root.context != 0 && !root.pending_done;
            if self.state.roots.get(index).is_some_and(waits) && !self.is_in_use(index) {
                self.end_root(index);
            }
        }
    }

    fn is_in_use(&self, root: usize) -> bool {
        let state = &self.state;
        state.exchanges.iter().any(|exchange| exchange.filters.iter().any(|filter| filter.root == root))
            || state.tcp.values().any(|tcp| tcp.filters.iter().any(|filter| filter.root == root))
    }

    /// Tells a root context that it is done; it may take its time over that.
    pub(super) fn end_root(&mut self, index: usize) {
        let Some((vm, context)) = self.state.roots.get(index).map(|root| (root.vm, root.context)) else { return };
        if context == 0 {
            return;
        }
        match self.call(vm, Callback::Done { context }) {
            Some(0) => {
                if let Some(root) = self.state.roots.get_mut(index) {
                    root.pending_done = true;
                }
            }
            Some(_) => self.delete_root(index),
            // Its VM has failed, and with it all contexts.
            None => self.forget_root(index),
        }
    }

    /// Deletes a root context that has said that it is done.
    pub(crate) fn delete_root(&mut self, index: usize) {
        let Some((vm, context)) = self.state.roots.get(index).map(|root| (root.vm, root.context)) else { return };
        self.forget_root(index);
        self.call(vm, Callback::Delete { context });
        if let Some(data) = self.state.vms.get_mut(vm) {
            data.contexts.remove(&context);
        }
        // After its last callback, which may have sent some more.
        self.state.give_up_callouts(&[index]);
    }

    fn forget_root(&mut self, index: usize) {
        if let Some(root) = self.state.roots.get_mut(index) {
            root.pending_done = false;
            root.tick = None;
            root.next_tick = None;
            root.context = 0;
        }
    }
}

impl Root {
    pub(super) fn new(plugin: &Plugin, place: usize, vm: usize) -> Self {
        Self {
            place,
            name: plugin.name.as_str().into(),
            root_id: plugin.root_id.as_str().into(),
            configuration: plugin.configuration.clone(),
            vm,
            context: 0,
            retired: false,
            tick: None,
            next_tick: None,
            status: 0,
            status_message: Bytes::new(),
            pending_done: false,
        }
    }
}

impl VmState {
    /// Gives up the callouts that these root contexts wait for.
    pub(super) fn give_up_callouts(&mut self, roots: &[usize]) {
        self.grpc_tokens.retain(|(root, _), _| !roots.contains(root));
        let orphans: Vec<CalloutId> =
            self.pending.iter().filter(|(_, pending)| roots.contains(&pending.root)).map(|(id, _)| *id).collect();
        for id in orphans {
            self.unexpect(id);
            self.effects.push_back(Effect::CancelCallout(id));
        }
    }
}
