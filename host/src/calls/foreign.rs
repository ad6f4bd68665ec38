//! Foreign functions: what a host offers by name.

use super::{Answer, give, take};
use crate::foreign;
use crate::memory::Memory;
use crate::vm::VmState;

pub(crate) fn call(state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Answer {
    let [name, name_len, argument, argument_len, out, out_len] = take(arguments)?;
    let (name, argument) = (memory.read(name, name_len)?, memory.read(argument, argument_len)?);
    let result = foreign::call(state, name, argument)?;
    // A guest that does not want the result passes null.
    if out == 0 || out_len == 0 {
        return Ok(());
    }
    give(state, memory, &result, out, out_len)
}
