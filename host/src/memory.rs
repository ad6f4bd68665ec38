//! The guest's memory as a host call sees it: the seam between the proxy model and the two doors.

use crate::abi::Status;

/// A guest's address space.
///
/// Addresses and lengths are `u64` so that one trait serves a 32-bit Wasm memory and, through the native
/// door, the process itself. Every bad range is [`Status::InvalidMemoryAccess`], as in Envoy.
pub trait Memory {
    /// The bytes at `ptr..ptr + len`; `(0, 0)` is valid and empty.
    fn read(&self, ptr: u64, len: u64) -> Result<&[u8], Status>;

    /// Overwrites the bytes at `ptr`.
    fn write(&mut self, ptr: u64, bytes: &[u8]) -> Result<(), Status>;

    /// Writes a pointer or a size: four bytes in Wasm, eight natively.
    fn write_usize(&mut self, ptr: u64, value: u64) -> Result<(), Status>;

    /// Takes a block of exactly `len` bytes (at least one) from the guest's allocator; the guest owns it.
    ///
    /// An allocator that answers null, or traps, is [`Status::InvalidMemoryAccess`].
    fn allocate(&mut self, len: u64) -> Result<u64, Status>;
}
