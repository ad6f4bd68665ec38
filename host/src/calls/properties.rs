//! Properties: attributes of the exchange and the proxy, by path.

use super::{Answer, give, take};
use crate::abi::Status;
use crate::memory::Memory;
use crate::properties::store;
use crate::vm::VmState;

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

/// Stores a value in the exchange's filter state, where plugins of all VMs find it.
pub(crate) fn set(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [path, path_len, value, value_len] = take(arguments)?;
    let (path, value) = (memory.read(path, path_len)?, memory.read(value, value_len)?);
    if let Some((tcp, _)) = state.tcp_mut() {
        store(&mut tcp.filter_state, path, value);
        return Ok(());
    }
    let (exchange, _) = state.stream_mut().ok_or(Status::NotFound)?;
    store(&mut exchange.filter_state, path, value);
    Ok(())
}
