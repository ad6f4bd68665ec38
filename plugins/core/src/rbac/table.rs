//! A table by exact bytes.
//!
//! Whatever it holds, the hash map in it is of one type: a module would carry the code of each further one.

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

/// Keys come from the configuration alone, so nobody can make them collide; what a request brings is only looked up.
type Places = HashMap<Box<[u8]>, usize, FxBuildHasher>;

/// Values by exact bytes.
#[derive(Debug, Clone)]
pub(super) struct Table<V> {
    places: Places,
    values: Vec<V>,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self { places: Places::default(), values: Vec::new() }
    }
}

impl<V: Default> Table<V> {
    /// The value of a key, made if it is not there.
    pub(super) fn or_default(&mut self, key: &[u8]) -> Option<&mut V> {
        let place = place(&mut self.places, key, self.values.len());
        if place == self.values.len() {
            self.values.push(V::default());
        }
        self.values.get_mut(place)
    }
}

impl<V> Table<V> {
    /// The value of a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<&V> {
        if self.values.is_empty() { None } else { self.values.get(*self.places.get(key)?) }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// All values.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.values.iter_mut()
    }
}

impl<V> Table<Vec<V>> {
    /// Adds a value under a key.
    pub(super) fn push(&mut self, key: &[u8], value: V) {
        if let Some(values) = self.or_default(key) {
            values.push(value);
        }
    }

    /// All values under a key.
    pub(super) fn all(&self, key: &[u8]) -> &[V] {
        self.get(key).map(Vec::as_slice).unwrap_or_default()
    }
}

/// The place of a key, or the next one.
fn place(places: &mut Places, key: &[u8], next: usize) -> usize {
    match places.get(key) {
        Some(place) => *place,
        None => {
            places.insert(key.into(), next);
            next
        }
    }
}
