//! The VMs of a worker: started, entered, failed, started again, ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::StartError;
use super::parts::{Share, Vm, Worker};
use super::plugin::{Code, FailPolicy, Plugin};
use crate::abi::AbiVersion;
use crate::callback::{Callback, Trap};
use crate::ids::Ids;
use crate::vm::{Running, VmData};

impl Worker {
    /// The VM for a plugin: one that runs and that it can share, or a new one.
    pub(super) fn vm_of(&mut self, plugin: &Plugin) -> Result<usize, StartError> {
        let mut vms = self.vms.iter().zip(&self.state.vms);
        let shared = vms.position(|(vm, data)| vm.share.is_some() && !data.failed && vm.plugin.shares_vm(plugin));
        if let Some(shared) = shared {
            return Ok(shared);
        }
        let share = Some(Share::new(Arc::clone(&self.state.services), &plugin.vm_id));
        let vm = Vm { guest: None, plugin: plugin.clone(), started: Duration::ZERO, share };
        let place = self.vms.iter().position(|vm| vm.share.is_none()).unwrap_or(self.vms.len());
        match (self.vms.get_mut(place), self.state.vms.get_mut(place)) {
            // The guests go on being counted, so that nothing that is about an earlier one meets this one.
            (Some(slot), Some(data)) => {
                *data = VmData { generation: data.generation, ..VmData::new(plugin) };
                *slot = vm;
            }
            _ => {
                self.state.vms.push(VmData::new(plugin));
                self.vms.push(vm);
            }
        }
        match self.load(place) {
            Ok(()) => Ok(place),
            Err(refused) => {
                self.end_vm(place);
                Err(refused)
            }
        }
    }

    /// Ends the VMs that have no root context any more.
    pub(super) fn end_vms(&mut self) {
        for vm in 0..self.vms.len() {
            if !self.state.roots.iter().any(|root| root.vm == vm && root.context != 0) {
                self.end_vm(vm);
            }
        }
    }

    fn end_vm(&mut self, vm: usize) {
        if let Some(data) = self.state.vms.get_mut(vm) {
            // Nothing can be called in it any more.
            data.failed = true;
            data.contexts.clear();
        }
        if let Some(vm) = self.vms.get_mut(vm) {
            vm.guest = None;
            vm.share = None;
        }
    }

    /// Starts the code of a VM.
    fn load(&mut self, vm: usize) -> Result<(), StartError> {
        let Some(plugin) = self.vms.get(vm).map(|vm| &vm.plugin) else { return Ok(()) };
        let (name, code) = (plugin.name.clone(), plugin.code.clone());
        let (guest, ids) = match code {
            #[cfg(feature = "native")]
            Code::Native(linked) => (Ok(linked.guest()), Ids::Thread),
            Code::Wasm(load) => {
                let running = Running { vm, ..Running::default() };
                let outer = std::mem::replace(&mut self.state.running, running);
                let guest = self.state.lend(|state| load.start(state));
                self.state.running = outer;
                (guest, Ids::own())
            }
        };
        let guest = guest.map_err(|reason| StartError::Load { plugin: name, reason })?;
        if let Some(data) = self.state.vms.get_mut(vm) {
            data.abi = guest.abi();
            data.ids = ids;
            data.generation += 1;
            data.failed = false;
            data.contexts.clear();
            data.metrics = Default::default();
        }
        let now = self.state.services.clock().now();
        if let Some(vm) = self.vms.get_mut(vm) {
            vm.guest = Some(guest);
            vm.started = now;
        }
        Ok(())
    }

    /// Runs a callback and what it asked for; nothing if the VM has failed, now or before.
    pub(crate) fn call(&mut self, vm: usize, callback: Callback) -> Option<u32> {
        self.enter(vm, callback).ok()
    }

    /// As [`call`](Self::call), with the reason of a failure.
    pub(super) fn enter(&mut self, vm: usize, callback: Callback) -> Result<u32, Trap> {
        let failed = |reason: &str| Trap { function: callback.name(), reason: reason.to_owned() };
        if self.state.vms.get(vm).is_none_or(|data| data.failed) {
            return Err(failed("the VM has failed before"));
        }
        let Some(mut guest) = self.vms.get_mut(vm).and_then(|vm| vm.guest.take()) else {
            return Err(failed("the VM has no guest"));
        };
        let allowed = self.state.vms.get(vm).is_some_and(|data| data.sandbox.capabilities.allow(callback.name()));
        if !allowed || !guest.exports(callback) {
            if let Some(vm) = self.vms.get_mut(vm) {
                vm.guest = Some(guest);
            }
            return Ok(callback.assumed());
        }
        // What an outer callback has left to do waits until this one's wishes are done.
        let postponed = (!self.state.deferred.is_empty()).then(|| std::mem::take(&mut self.state.deferred));
        let outer = self.state.before_callback(vm, callback);
        let result = if self.state.options.faults.as_mut().is_some_and(|faults| faults.at_callback(callback.name())) {
            Err(failed("a trap was injected"))
        } else {
            let began = self.state.options.measure_time.then(Instant::now);
            let result = self.state.lend(|state| guest.call(state, callback));
            if let Some(began) = began {
                self.state.counters.guest_time += began.elapsed();
            }
            match self.state.running.stop.take() {
                Some(reason) => Err(Trap { function: callback.name(), reason }),
                None => result,
            }
        };
        self.state.after_callback(callback, &result, outer);
        match &result {
            Ok(_) => {
                if let Some(vm) = self.vms.get_mut(vm) {
                    vm.guest = Some(guest);
                }
            }
            Err(trap) => {
                // The guest is dropped here: nothing of it may run again.
                drop(guest);
                self.fail_vm(vm, trap);
            }
        }
        // After a trap as well: what the guest asked for before, Envoy carries out, so last words reach their clients.
        self.run_deferred();
        if let Some(postponed) = postponed {
            self.state.deferred = postponed;
        }
        result
    }

    /// Marks a VM as failed and forgets what waits for it.
    fn fail_vm(&mut self, vm: usize, trap: &Trap) {
        let state = &mut *self.state;
        state.counters.traps += 1;
        state.log_trap(vm, trap);
        let Some(data) = state.vms.get_mut(vm) else { return };
        data.failed = true;
        data.contexts.clear();
        let roots: Vec<usize> =
            state.roots.iter().enumerate().filter(|(_, root)| root.vm == vm).map(|(index, _)| index).collect();
        for root in state.roots.iter_mut().filter(|root| root.vm == vm) {
            root.tick = None;
            root.next_tick = None;
            // Nobody is left who could say that it is done.
            root.pending_done = false;
        }
        state.give_up_callouts(&roots);
    }

    /// Gives a failed VM a new guest, if its policy and its pause allow it; whether the VM runs.
    pub(crate) fn revive(&mut self, vm: usize) -> bool {
        let failed = self.state.vms.get(vm).is_some_and(|data| data.failed);
        if !failed {
            return true;
        }
        let now = self.state.services.clock().now();
        let Some((fail, started)) = self.vms.get(vm).map(|vm| (vm.plugin.fail, vm.started)) else { return false };
        let FailPolicy::Reload { backoff } = fail else { return false };
        if now < started.saturating_add(backoff) {
            return false;
        }
        if self.load(vm).is_err() {
            // The next try waits as long again.
            if let Some(vm) = self.vms.get_mut(vm) {
                vm.started = now;
            }
            return false;
        }
        let roots: Vec<usize> = (0..self.state.roots.len())
            .filter(|index| self.state.roots.get(*index).is_some_and(|root| root.vm == vm && root.context != 0))
            .collect();
        for root in roots {
            if self.start_root(root).is_err() {
                if let Some(data) = self.state.vms.get_mut(vm) {
                    data.failed = true;
                }
                return false;
            }
        }
        true
    }
}

impl VmData {
    pub(crate) fn new(plugin: &Plugin) -> Self {
        Self {
            vm_id: plugin.vm_id.as_str().into(),
            configuration: plugin.vm_configuration.clone(),
            environment: plugin.environment.as_slice().into(),
            sandbox: plugin.sandbox.clone(),
            contexts: Default::default(),
            ids: Ids::own(),
            metrics: Default::default(),
            declared: Default::default(),
            abi: AbiVersion::V0_2_1,
            generation: 0,
            failed: false,
            #[cfg(feature = "foreign")]
            expressions: crate::expressions::Expressions::default(),
        }
    }
}
