//! A map that all workers share, with a fixed number of slots and entries that expire.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use super::content::{foreign, hash};
use super::encode::Encode;
use super::swap::{change, read};
use crate::error::{Error, Result};
use crate::sys;

/// The most bytes of an entry, its key included, unless [`SharedMap::entry_limit`] says otherwise.
const ENTRY_LIMIT: usize = 64 * 1024;

/// How much later than the own clock the time of an entry may be before it is taken for wrong, in nanoseconds.
const SKEW: u64 = 1_000_000_000;

/// What happens to an entry whose slot another key needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Collision {
    /// The newcomer takes its place: right for a cache.
    #[default]
    Overwrite,
    /// It stays until it expires, and the newcomer is not stored: right where an entry means that something has
    /// happened, such as a one-time token that was used.
    Keep,
}

/// A map from bytes to values, in a fixed number of slots.
///
/// A key belongs to a slot by its hash, and a slot holds one entry: memory does not grow beyond `slots` times the
/// [limit](Self::entry_limit) of an entry, and two keys of one slot displace each other, as [`Collision`] says. The whole
/// key is compared, so that no key ever reads another's value. (Twice as many slots as entries leave about a third of the
/// entries in a slot that others want too.)
///
/// An entry lives for the time-to-live that the map has where it was written. The clock of a host can be set: an entry
/// that would live longer than a whole time-to-live (and a second) from now is taken for expired, so a step back ends
/// entries early, and never makes one outlive its time.
///
/// ```
/// use std::time::Duration;
///
/// use wasmplugin::shared::{Shared, SharedMap};
///
/// # fn example() -> wasmplugin::Result<()> {
/// let users: SharedMap<String> = Shared::of("my-plugin").map("users", 1_024, Duration::from_secs(60));
/// users.insert("token-1", &"ada".to_owned())?;
/// assert_eq!(users.get("token-1")?.as_deref(), Some("ada"));
/// # Ok(())
/// # }
/// ```
pub struct SharedMap<V> {
    key: Vec<u8>,
    slots: u32,
    ttl: u64,
    limit: usize,
    collision: Collision,
    value: PhantomData<fn() -> V>,
}

impl<V: Encode> SharedMap<V> {
    pub(super) fn new(key: Vec<u8>, slots: u32, ttl: Duration) -> Self {
        let ttl = u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX);
        Self { key, slots: slots.max(1), ttl, limit: ENTRY_LIMIT, collision: Collision::default(), value: PhantomData }
    }

    /// Sets what happens when two keys want one slot.
    #[must_use]
    pub fn on_collision(mut self, collision: Collision) -> Self {
        self.collision = collision;
        self
    }

    /// Sets how many bytes an entry may have, key and value together; 65,536 unless set. A larger one is an error.
    #[must_use]
    pub fn entry_limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// The value of a key, if it has one that has not expired.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<V>> {
        let key = key.as_ref();
        let content = read(&self.slot(key))?.0;
        let now = sys::current_time()?;
        Entry::of(content.as_deref(), now, self.ttl)?.and_then(|entry| entry.value_of(key)).map(decoded).transpose()
    }

    /// Stores a value; whether it was stored, which [`Collision::Keep`] may prevent.
    pub fn insert(&self, key: impl AsRef<[u8]>, value: &V) -> Result<bool> {
        let key = key.as_ref();
        self.change(key, |_| Ok((Some(value.encode()), ()))).map(|stored| stored.is_some())
    }

    /// Stores a value if the key has none; whether it was stored.
    ///
    /// Of any number of workers that try it for one key at a time, one is told `true`, unless another key takes the
    /// slot in between: what must happen once at most wants [`Collision::Keep`].
    pub fn insert_if_absent(&self, key: impl AsRef<[u8]>, value: &V) -> Result<bool> {
        let stored = self
            .change(key.as_ref(), |old| Ok(if old.is_some() { (None, false) } else { (Some(value.encode()), true) }))?;
        Ok(stored == Some(true))
    }

    /// Replaces the value of a key by what `step` makes of it, and tells the new one; nothing if [`Collision::Keep`]
    /// prevents that. When another worker was faster, `step` is called again with that worker's value.
    pub fn update(&self, key: impl AsRef<[u8]>, mut step: impl FnMut(Option<V>) -> V) -> Result<Option<V>> {
        self.change(key.as_ref(), |old| {
            let new = step(old.map(decoded).transpose()?);
            Ok((Some(new.encode()), new))
        })
    }

    /// Takes the value of a key out; whether there was one.
    pub fn remove(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        let key = key.as_ref();
        change(&self.slot(key), |content| {
            let present = Entry::of(content, sys::current_time()?, self.ttl)?.is_some_and(|entry| entry.key == key);
            Ok((present.then(Vec::new), present))
        })
    }

    /// Changes the entry of a key: `step` gets its present bytes and says the new ones, or that they stay. Nothing is
    /// done, and `None` told, where another key keeps the slot.
    fn change<R>(
        &self,
        key: &[u8],
        mut step: impl FnMut(Option<&[u8]>) -> Result<(Option<Vec<u8>>, R)>,
    ) -> Result<Option<R>> {
        // The clock is read after the content: its writer's cannot be ahead of this.
        change(&self.slot(key), |content| self.decide(key, content, sys::current_time()?, &mut step))
    }

    /// What becomes of a slot with this content.
    fn decide<R>(
        &self,
        key: &[u8],
        content: Option<&[u8]>,
        now: u64,
        step: impl FnOnce(Option<&[u8]>) -> Result<(Option<Vec<u8>>, R)>,
    ) -> Result<(Option<Vec<u8>>, Option<R>)> {
        let entry = Entry::of(content, now, self.ttl)?;
        if self.collision == Collision::Keep && entry.as_ref().is_some_and(|entry| entry.key != key) {
            return Ok((None, None));
        }
        let (new, result) = step(entry.and_then(|entry| entry.value_of(key)))?;
        let new = new.map(|value| self.entry(key, &value, now)).transpose()?;
        Ok((new, Some(result)))
    }

    fn entry(&self, key: &[u8], value: &[u8], now: u64) -> Result<Vec<u8>> {
        let size = key.len().saturating_add(value.len());
        if size > self.limit {
            return Err(Error::app(format!("an entry of {size} bytes is over the map's limit of {}", self.limit)));
        }
        Ok(Entry { expires: now.saturating_add(self.ttl), key, value }.encode())
    }

    /// The host's key of a slot. Maps of different sizes are different maps: a key has another slot in each.
    fn slot(&self, key: &[u8]) -> Vec<u8> {
        let slot = hash(key) % u64::from(self.slots);
        [self.key.as_slice(), b"/", &self.slots.to_le_bytes(), &slot.to_le_bytes()].concat()
    }
}

impl<V> Clone for SharedMap<V> {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), value: PhantomData, ..*self }
    }
}

impl<V> fmt::Debug for SharedMap<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMap").field("slots", &self.slots).field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

/// What a slot holds: when it expires (nanoseconds since 1970), the length of the key, the key, the value.
#[derive(Debug, PartialEq, Eq)]
struct Entry<'a> {
    expires: u64,
    key: &'a [u8],
    value: &'a [u8],
}

impl<'a> Entry<'a> {
    /// The entry in a slot's bytes, unless it has expired.
    fn of(content: Option<&'a [u8]>, now: u64, ttl: u64) -> Result<Option<Self>> {
        let Some(content) = content.filter(|content| !content.is_empty()) else { return Ok(None) };
        let entry = Self::decode(content).ok_or_else(foreign)?;
        let left = entry.expires.checked_sub(now).filter(|left| *left > 0);
        Ok(left.filter(|left| *left <= ttl.saturating_add(SKEW)).map(|_| entry))
    }

    fn decode(content: &'a [u8]) -> Option<Self> {
        let (expires, rest) = content.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (key, value) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        Some(Self { expires: u64::from_le_bytes(*expires), key, value })
    }

    fn encode(&self) -> Vec<u8> {
        let length = u32::try_from(self.key.len()).unwrap_or(u32::MAX);
        [&self.expires.to_le_bytes(), length.to_le_bytes().as_slice(), self.key, self.value].concat()
    }

    fn value_of(self, key: &[u8]) -> Option<&'a [u8]> {
        (self.key == key).then_some(self.value)
    }
}

fn decoded<V: Encode>(bytes: &[u8]) -> Result<V> {
    V::decode(bytes).ok_or_else(foreign)
}

#[cfg(test)]
mod tests;
