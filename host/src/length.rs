//! Sizes as the ABI carries them.

/// A size as the ABI carries it.
pub(crate) fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
