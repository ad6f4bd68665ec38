//! Shared data and queues.

use super::{Answer, give, give_u32, number, take};
use crate::abi::Status;
use crate::memory::Memory;
use crate::shared::Reader;
use crate::vm::VmState;

pub(crate) fn get(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [key, key_len, out, out_len, out_cas] = take(arguments)?;
    let key = memory.read(key, key_len)?;
    let (value, cas) = state.services.shared().get(vm_id(state), key).ok_or(Status::NotFound)?;
    give(state, memory, &value, out, out_len)?;
    give_u32(memory, cas, out_cas)
}

pub(crate) fn set(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [key, key_len, value, value_len, cas] = take(arguments)?;
    let (key, value) = (memory.read(key, key_len)?, memory.read(value, value_len)?);
    state.services.shared().set(vm_id(state), key, value, number(cas))
}

pub(crate) fn register_queue(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [name, name_len, out] = take(arguments)?;
    let name = memory.read(name, name_len)?;
    let root = state.root().and_then(|root| state.roots.get(root)).map_or(0, |root| root.context);
    let reader = Reader { vm: state.running.vm, generation: state.vm().map_or(0, |vm| vm.generation), root };
    let id = state.services.queues().register(vm_id(state), name, &state.options.inbox, reader);
    give_u32(memory, id, out)
}

pub(crate) fn resolve_queue(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [vm, vm_len, name, name_len, out] = take(arguments)?;
    let (vm, name) = (memory.read(vm, vm_len)?, memory.read(name, name_len)?);
    let vm = if vm.is_empty() { vm_id(state) } else { std::str::from_utf8(vm).map_err(|_| Status::NotFound)? };
    let id = state.services.queues().resolve(vm, name).ok_or(Status::NotFound)?;
    give_u32(memory, id, out)
}

pub(crate) fn dequeue(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [id, out, out_len] = take(arguments)?;
    let item = state.services.queues().dequeue(number(id))?;
    give(state, memory, &item, out, out_len)
}

pub(crate) fn enqueue(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [id, item, item_len] = take(arguments)?;
    let item = memory.read(item, item_len)?;
    state.services.queues().enqueue(number(id), item)
}

fn vm_id(state: &VmState) -> &str {
    state.vm().map_or("", |vm| &vm.vm_id)
}
