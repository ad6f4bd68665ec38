//! The bodies of the host calls, one file per subject; [`imports`](crate::imports) is their table.

pub(crate) mod buffers;
pub(crate) mod callouts;
pub(crate) mod foreign;
pub(crate) mod general;
pub(crate) mod grpc;
pub(crate) mod header_maps;
pub(crate) mod metrics;
pub(crate) mod properties;
pub(crate) mod shared;
pub(crate) mod streams;

use crate::abi::Status;
use crate::memory::Memory;
use crate::vm::VmState;

/// What a body answers; `Ok` is status 0.
pub(crate) type Answer = Result<(), Status>;

/// The arguments by number. The doors pass as many as the table says; anything else is our own mistake.
pub(crate) fn take<const N: usize>(arguments: &[u64]) -> Result<[u64; N], Status> {
    arguments.try_into().map_err(|_| Status::InternalFailure)
}

/// A number that was passed as `u32`.
#[expect(clippy::cast_possible_truncation, reason = "the ABI has 32 bits; the doors widen them")]
pub(crate) const fn number(argument: u64) -> u32 {
    argument as u32
}

/// A size of the guest's; one that does not fit is as good as the largest.
pub(crate) fn size(argument: u64) -> usize {
    usize::try_from(argument).unwrap_or(usize::MAX)
}

/// Hands bytes to the guest in a block of its own, and the block's address and length through `out` and `out_len`.
/// Nothing is allocated for no bytes.
pub(crate) fn give(state: &mut VmState, memory: &mut dyn Memory, bytes: &[u8], out: u64, out_len: u64) -> Answer {
    let block = if bytes.is_empty() { 0 } else { state.allocate(memory, bytes.len())? };
    if block != 0 {
        memory.write(block, bytes)?;
    }
    give_block(memory, block, bytes.len(), out, out_len)
}

/// Hands over a block that is filled already.
pub(crate) fn give_block(memory: &mut dyn Memory, block: u64, len: usize, out: u64, out_len: u64) -> Answer {
    memory.write_usize(out, block)?;
    memory.write_usize(out_len, len as u64)
}

/// Writes a result of four bytes.
pub(crate) fn give_u32(memory: &mut dyn Memory, value: u32, out: u64) -> Answer {
    memory.write(out, &value.to_le_bytes())
}

/// Writes a result of eight bytes.
pub(crate) fn give_u64(memory: &mut dyn Memory, value: u64, out: u64) -> Answer {
    memory.write(out, &value.to_le_bytes())
}
