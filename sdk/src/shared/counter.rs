//! A number that all workers add to.

use super::content::number;
use super::swap::{change, read};
use crate::error::Result;

/// A number that all workers add to; it begins at 0.
#[derive(Debug, Clone)]
pub struct SharedCounter {
    pub(super) key: Vec<u8>,
}

impl SharedCounter {
    /// Adds `n` and tells the sum, which stops at the largest number.
    pub fn add(&self, n: u64) -> Result<u64> {
        change(&self.key, |old| {
            let sum = number(old)?.saturating_add(n);
            Ok((Some(sum.to_le_bytes().to_vec()), sum))
        })
    }

    /// The sum as it stands.
    pub fn value(&self) -> Result<u64> {
        number(read(&self.key)?.0.as_deref())
    }
}
