//! Properties: attributes of the exchange and the proxy, by path.

use super::{Answer, give, take};
use crate::abi::Status;
use crate::filter_state::{Declaration, FilterState};
use crate::memory::Memory;
use crate::recording::Event;
use crate::vm::VmState;
use crate::witness;

pub(crate) fn get(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [path, path_len, out, out_len] = take(arguments)?;
    let path = memory.read(path, path_len)?;
    let mut value = std::mem::take(&mut state.scratch);
    value.clear();
    let found = state.property(path, &mut value);
    let answer = found.and_then(|()| give(state, memory, &value, out, out_len));
    state.scratch = value;
    answer
}

/// Says what objects of a name are like, before the first is stored: once per VM.
pub(crate) fn declare(state: &mut VmState, argument: &[u8]) -> Answer {
    let (name, declaration) = Declaration::read(argument)?;
    let vm = state.vm_mut().ok_or(Status::InternalFailure)?;
    if vm.declared.contains_key(&name) {
        return Err(Status::BadArgument);
    }
    vm.declared.insert(name, declaration);
    Ok(())
}

/// Stores a value in the exchange's filter state, where plugins of all VMs find it.
pub(crate) fn set(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [path, path_len, value, value_len] = take(arguments)?;
    let (path, value) = (memory.read(path, path_len)?, memory.read(value, value_len)?);
    let declared = state.vm().and_then(|vm| vm.declared.get(path)).cloned();
    objects(state)?.set(path, value, declared.as_ref())?;
    state.watch(|| Event::Stored { path: witness::text(path), length: value.len() });
    Ok(())
}

/// Makes one of Envoy's own objects in the filter state.
pub(crate) fn make_object(state: &mut VmState, argument: &[u8]) -> Answer {
    objects(state)?.make(argument)
}

/// The filter state of what the guest acts on, an exchange or a connection.
fn objects(state: &mut VmState) -> Result<&mut FilterState, Status> {
    if state.tcp().is_some() {
        return state.tcp_mut().map(|(tcp, _)| &mut tcp.filter_state).ok_or(Status::NotFound);
    }
    state.stream_mut().map(|(exchange, _)| &mut exchange.filter_state).ok_or(Status::NotFound)
}
