//! A map by an id that the host counts up: small code, since every module carries it.

/// Values by id. Ids mostly come in rising order and go in any; then adding and removing cost nothing but the search.
///
/// A hash table would not be faster at the few thousand entries that a worker has at once, and costs a module three
/// kilobytes for each type of values.
#[derive(Debug)]
pub(crate) struct IdMap<V> {
    /// INVARIANT: sorted by id, each id once. What was removed leaves its place until half of the places are empty.
    places: Vec<(u32, Option<V>)>,
    length: usize,
}

impl<V> IdMap<V> {
    /// An empty map.
    pub(crate) const fn new() -> Self {
        Self { places: Vec::new(), length: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn get(&self, id: u32) -> Option<&V> {
        self.places.get(self.place(id).ok()?)?.1.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut V> {
        let place = self.place(id).ok()?;
        self.places.get_mut(place)?.1.as_mut()
    }

    /// Puts a value there, and gives back the one that was there.
    pub(crate) fn insert(&mut self, id: u32, value: V) -> Option<V> {
        let earlier = match self.place(id) {
            Ok(place) => self.places.get_mut(place).and_then(|(_, slot)| slot.replace(value)),
            Err(place) => {
                self.places.insert(place, (id, Some(value)));
                None
            }
        };
        self.length += usize::from(earlier.is_none());
        earlier
    }

    pub(crate) fn remove(&mut self, id: u32) -> Option<V> {
        let place = self.place(id).ok()?;
        let value = self.places.get_mut(place)?.1.take()?;
        self.length -= 1;
        if self.length * 2 <= self.places.len() {
            self.places.retain(|(_, slot)| slot.is_some());
        }
        Some(value)
    }

    /// The ids and values, in the order of the ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &V)> {
        self.places.iter().filter_map(|(id, slot)| Some((*id, slot.as_ref()?)))
    }

    /// Where an id is, or where it would have to be.
    fn place(&self, id: u32) -> Result<usize, usize> {
        match self.places.last() {
            Some((last, _)) if *last >= id => self.places.binary_search_by_key(&id, |(id, _)| *id),
            _ => Err(self.places.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u32, u8),
        Remove(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        let id = || prop_oneof![0..20_u32, Just(u32::MAX)];
        prop_oneof![(id(), any::<u8>()).prop_map(|(id, value)| Step::Insert(id, value)), id().prop_map(Step::Remove)]
    }

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec(step(), 0..200)) {
            let (mut map, mut plain) = (IdMap::new(), BTreeMap::new());
            for step in steps {
                match step {
                    Step::Insert(id, value) => prop_assert_eq!(map.insert(id, value), plain.insert(id, value)),
                    Step::Remove(id) => prop_assert_eq!(map.remove(id), plain.remove(&id)),
                }
                prop_assert_eq!(map.len(), plain.len());
                prop_assert!(map.iter().eq(plain.iter().map(|(id, value)| (*id, value))));
                for id in 0..20 {
                    prop_assert_eq!(map.get(id), plain.get(&id));
                    prop_assert_eq!(map.get_mut(id), plain.get_mut(&id));
                }
            }
            prop_assert!(map.places.len() <= map.len() * 2);
        }
    }
}
