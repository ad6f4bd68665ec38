//! Foreign functions: what a host offers by name.

use super::{Answer, give_block, take};
use crate::abi::Status;
use crate::memory::Memory;
use crate::vm::VmState;

pub(crate) fn call(_: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [name, name_len, argument, argument_len, out, out_len] = take(arguments)?;
    let name = memory.read(name, name_len)?;
    memory.read(argument, argument_len)?;
    match name {
        // There is no route cache: the upstream is chosen after all filters.
        b"clear_route_cache" => {
            // A guest that does not want the result passes null.
            if out != 0 && out_len != 0 { give_block(memory, 0, 0, out, out_len) } else { Ok(()) }
        }
        _ => Err(Status::NotFound),
    }
}
