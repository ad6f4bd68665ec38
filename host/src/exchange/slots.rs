//! The exchanges of a worker, found by number without hashing.

use super::state::{Exchange, ExchangeId};

/// Exchanges under way; a slot is used again, with another turn.
#[derive(Debug, Default)]
pub(crate) struct Exchanges {
    slots: Vec<(u32, Option<Box<Exchange>>)>,
    free: Vec<u32>,
    len: usize,
}

impl Exchanges {
    pub(crate) fn insert(&mut self, exchange: Exchange) -> ExchangeId {
        self.len += 1;
        let exchange = Some(Box::new(exchange));
        if let Some(slot) = self.free.pop()
            && let Some((turn, place)) = self.slots.get_mut(slot as usize)
        {
            *place = exchange;
            return ExchangeId { slot, turn: *turn };
        }
        let slot = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.slots.push((0, exchange));
        ExchangeId { slot, turn: 0 }
    }

    pub(crate) fn get(&self, id: ExchangeId) -> Option<&Exchange> {
        self.slots.get(id.slot as usize).filter(|(turn, _)| *turn == id.turn)?.1.as_deref()
    }

    pub(crate) fn get_mut(&mut self, id: ExchangeId) -> Option<&mut Exchange> {
        self.slots.get_mut(id.slot as usize).filter(|(turn, _)| *turn == id.turn)?.1.as_deref_mut()
    }

    pub(crate) fn remove(&mut self, id: ExchangeId) -> Option<Box<Exchange>> {
        let (turn, place) = self.slots.get_mut(id.slot as usize).filter(|(turn, _)| *turn == id.turn)?;
        let exchange = place.take()?;
        *turn = turn.wrapping_add(1);
        self.free.push(id.slot);
        self.len -= 1;
        Some(exchange)
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn ids(&self) -> Vec<ExchangeId> {
        let slots = (0u32..).zip(&self.slots);
        slots
            .filter(|(_, (_, place))| place.is_some())
            .map(|(slot, (turn, _))| ExchangeId { slot, turn: *turn })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Connection;
    use std::time::Duration;

    #[test]
    fn a_used_slot_has_a_new_name() {
        let mut exchanges = Exchanges::default();
        let new = || Exchange::new(Connection::default(), Default::default(), &[], Duration::ZERO, Duration::ZERO);
        let first = exchanges.insert(new());
        assert!(exchanges.remove(first).is_some());
        let second = exchanges.insert(new());
        assert_ne!(first, second);
        assert!(exchanges.get(first).is_none());
        assert!(exchanges.remove(first).is_none());
        assert_eq!(exchanges.ids(), [second]);
        assert_eq!(exchanges.len(), 1);
    }
}
