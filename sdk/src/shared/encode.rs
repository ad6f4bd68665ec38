//! Values as the bytes that the host keeps.

/// A value that cells, maps and queues can hold: one that is bytes, and comes from bytes.
///
/// The bytes travel between VMs, which run two versions of a plugin while it is replaced: a type whose bytes change should
/// get another name for its cell, map or queue.
pub trait Encode: Sized {
    /// The value as bytes.
    fn encode(&self) -> Vec<u8>;

    /// The value of these bytes; nothing if they are not one.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

impl Encode for u64 {
    fn encode(&self) -> Vec<u8> {
        self.to_le_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_le_bytes)
    }
}

impl Encode for String {
    fn encode(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        std::str::from_utf8(bytes).ok().map(str::to_owned)
    }
}

impl Encode for Vec<u8> {
    fn encode(&self) -> Vec<u8> {
        self.clone()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(bytes.to_vec())
    }
}
