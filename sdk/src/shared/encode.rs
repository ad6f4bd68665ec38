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

/// Both, one behind the other.
impl<A: Encode, B: Encode> Encode for (A, B) {
    fn encode(&self) -> Vec<u8> {
        let first = self.0.encode();
        let length = u32::try_from(first.len()).unwrap_or(u32::MAX).to_le_bytes();
        [length.as_slice(), &first, &self.1.encode()].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk()?;
        let (first, second) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        Some((A::decode(first)?, B::decode(second)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_survives_its_bytes() {
        let pair = (7_u64, (String::from("seven"), b"7".to_vec()));
        assert_eq!(Encode::decode(&pair.encode()), Some(pair));
        assert_eq!(<(u64, u64)>::decode(&[9, 0, 0, 0, 1]), None);
    }
}
