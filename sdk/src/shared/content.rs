//! What stands in the host under a key.

use super::encode::Encode;
use crate::error::{Error, Result};

/// A number of eight bytes; 0 where there is nothing yet.
pub(super) fn number(value: Option<&[u8]>) -> Result<u64> {
    match value {
        None => Ok(0),
        Some(bytes) => Encode::decode(bytes).ok_or_else(foreign),
    }
}

/// The content of a cell: a byte before the value tells it from one that was taken out.
pub(super) fn encode<T: Encode>(value: Option<&T>) -> Vec<u8> {
    value.map(|value| [&[1], value.encode().as_slice()].concat()).unwrap_or_default()
}

pub(super) fn decode<T: Encode>(content: Option<&[u8]>) -> Result<Option<T>> {
    match content {
        None | Some([]) => Ok(None),
        Some([1, value @ ..]) => T::decode(value).map(Some).ok_or_else(foreign),
        Some(_) => Err(foreign()),
    }
}

pub(super) fn foreign() -> Error {
    Error::malformed("a shared value; does another plugin, or another version, use this name?")
}

/// FNV-1a: short, and its lower bits are good enough to choose a slot. It must not change between versions or workers.
pub(super) fn hash(key: &[u8]) -> u64 {
    let hash = key
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_tells_nothing_from_an_empty_value() {
        assert_eq!(decode::<String>(Some(&encode(Some(&String::new())))).unwrap(), Some(String::new()));
        assert_eq!(decode::<String>(Some(&encode::<String>(None))).unwrap(), None);
        assert!(decode::<u64>(Some(b"\x01abc")).is_err());
    }
}
