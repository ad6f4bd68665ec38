//! Metrics by number.

use super::{Answer, give_u32, give_u64, number, take};
use crate::abi::{MetricKind, Status};
use crate::memory::Memory;
use crate::metrics::Cell;
use crate::vm::VmState;

pub(crate) fn define(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [kind, name, name_len, out] = take(arguments)?;
    let kind = MetricKind::from_u32(number(kind)).ok_or(Status::BadArgument)?;
    let name = String::from_utf8_lossy(memory.read(name, name_len)?).into_owned();
    let cell = state.services.metrics().define(kind, &name);
    let id = state.vm_mut().ok_or(Status::InternalFailure)?.metrics.insert(kind, cell);
    give_u32(memory, id, out)
}

pub(crate) fn increment(state: &mut VmState, _: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [id, offset] = take(arguments)?;
    find(state, id, Status::BadArgument)?.increment(offset.cast_signed())
}

pub(crate) fn record(state: &mut VmState, _: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [id, value] = take(arguments)?;
    find(state, id, Status::NotFound)?.record(value);
    Ok(())
}

pub(crate) fn get(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [id, out] = take(arguments)?;
    let value = find(state, id, Status::BadArgument)?.get()?;
    give_u64(memory, value, out)
}

/// `no_kind` is the answer to a number that no kind of metric has.
fn find(state: &VmState, id: u64, no_kind: Status) -> Result<&Cell, Status> {
    let id = number(id);
    if id & 3 == 3 {
        return Err(no_kind);
    }
    state.vm().and_then(|vm| vm.metrics.get(id)).ok_or(Status::NotFound)
}
