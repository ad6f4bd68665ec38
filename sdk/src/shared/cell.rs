//! A value that all workers read and replace.

use std::marker::PhantomData;

use super::content::{decode, encode};
use super::encode::Encode;
use super::swap::{change, read};
use crate::error::Result;
use crate::sys;

/// A value that all workers read and replace.
#[derive(Debug, Clone)]
pub struct SharedCell<T> {
    pub(super) key: Vec<u8>,
    pub(super) value: PhantomData<T>,
}

impl<T: Encode> SharedCell<T> {
    /// The value, if there is one.
    pub fn get(&self) -> Result<Option<T>> {
        decode(read(&self.key)?.0.as_deref())
    }

    /// Stores a value, whatever is there.
    pub fn set(&self, value: &T) -> Result<()> {
        Ok(sys::set_shared_data(&self.key, &encode(Some(value)), 0)?)
    }

    /// Replaces the value by what `step` makes of it, and tells the new one. When another worker was faster, `step`
    /// is called again with that worker's value.
    pub fn update(&self, mut step: impl FnMut(Option<T>) -> T) -> Result<T> {
        change(&self.key, |old| {
            let new = step(decode(old)?);
            Ok((Some(encode(Some(&new))), new))
        })
    }

    /// The value, or what `make` makes if there is none: all workers get the same one.
    pub fn get_or_insert_with(&self, mut make: impl FnMut() -> T) -> Result<T> {
        change(&self.key, |old| {
            Ok(match decode(old)? {
                Some(present) => (None, present),
                None => {
                    let new = make();
                    (Some(encode(Some(&new))), new)
                }
            })
        })
    }

    /// Takes the value out. Its key remains in the host, which has no way to delete one.
    pub fn clear(&self) -> Result<()> {
        Ok(sys::set_shared_data(&self.key, &encode::<T>(None), 0)?)
    }
}
