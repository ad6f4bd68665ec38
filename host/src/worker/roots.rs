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
    /// The root context that runs for a plugin like this one, or a new one.
    pub(super) fn root_of(&mut self, plugin: &Plugin) -> Result<usize, StartError> {
        let roots = self.state.roots.iter().zip(&self.plugins);
        let known = roots.enumerate().find(|(_, (root, other))| {
            let alive = self.state.vms.get(root.vm).is_some_and(|vm| !vm.failed);
            alive && root.context != 0 && !root.pending_done && other.same(plugin)
        });
        if let Some((index, _)) = known {
            if let Some(root) = self.state.roots.get_mut(index) {
                root.retired = false;
            }
            return Ok(index);
        }
        let vm = self.vm_of(plugin)?;
        let index = self.free_root();
        let root = Root::new(plugin, vm);
        match (self.state.roots.get_mut(index), self.plugins.get_mut(index)) {
            (Some(slot), Some(slot_of_plugin)) => (*slot, *slot_of_plugin) = (root, plugin.clone()),
            _ => {
                self.state.roots.push(root);
                self.plugins.push(plugin.clone());
            }
        }
        if let Err(refused) = self.start_root(index) {
            self.retire(index);
            self.end_retired();
            return Err(refused);
        }
        Ok(index)
    }

    /// Creates, starts and configures a plugin's root context.
    pub(super) fn start_root(&mut self, index: usize) -> Result<(), StartError> {
        let (Some(root), Some(plugin)) = (self.state.roots.get(index), self.plugins.get(index)) else { return Ok(()) };
        let (vm, size) = (root.vm, length(root.configuration.len()));
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
        let free = roots.iter().position(|root| root.retired && root.context == 0 && root.users == 0);
        free.unwrap_or(roots.len())
    }

    /// No chain has a root context any more.
    pub(super) fn retire(&mut self, index: usize) {
        if let Some(root) = self.state.roots.get_mut(index) {
            root.retired = true;
        }
    }

    /// Ends the retired root contexts that nobody needs any more, and their VMs.
    pub(super) fn end_retired(&mut self) {
        let mut ended = false;
        for index in 0..self.state.roots.len() {
            let over = |root: &Root| root.retired && root.users == 0 && root.context != 0 && !root.pending_done;
            if self.state.roots.get(index).is_some_and(over) {
                self.end_root(index);
                ended = true;
            }
        }
        if ended {
            self.end_vms();
        }
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
        self.end_vms();
    }

    /// Forgets root contexts that were told that they are done, have not said so themselves, and are all that is left of
    /// their VM: at the next change they do not keep it any longer.
    pub(super) fn forget_late(&mut self) {
        let late = |root: &Root| root.pending_done && root.users == 0;
        for vm in 0..self.vms.len() {
            let mut left = self.state.roots.iter().filter(|root| root.vm == vm && root.context != 0);
            if !left.all(late) {
                continue;
            }
            for index in 0..self.state.roots.len() {
                if self.state.roots.get(index).is_some_and(|root| root.vm == vm && late(root)) {
                    self.forget_root(index);
                    self.state.give_up_callouts(&[index]);
                }
            }
        }
        self.end_vms();
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
    pub(super) fn new(plugin: &Plugin, vm: usize) -> Self {
        Self {
            name: plugin.name.as_str().into(),
            root_id: plugin.root_id.as_str().into(),
            configuration: plugin.configuration.clone(),
            vm,
            context: 0,
            users: 0,
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
    /// The filters of something that begins belong to these root contexts.
    pub(super) fn join_roots(&mut self, roots: &[usize]) {
        for root in roots {
            if let Some(root) = self.roots.get_mut(*root) {
                root.users += 1;
            }
        }
    }

    /// A filter that belonged to this root context is gone.
    pub(super) fn leave_root(&mut self, root: usize) {
        if let Some(root) = self.roots.get_mut(root) {
            root.users = root.users.saturating_sub(1);
        }
    }

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
