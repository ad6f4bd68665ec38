//! Which metrics a stream is counted in: a bounded memory of sets of labels, and a place for what is over the bound.
//!
//! Envoy never forgets a metric, so what is defined once stays in its memory as long as the VM. Sets of labels therefore
//! have a lifetime's budget; what comes after is counted in coarser sets. Streams find their set by the bytes of their
//! facts, of which the most recent are remembered: then no label has to be made.

use std::num::NonZeroUsize;
use std::rc::Rc;

use hashbrown::HashMap;
use lru::LruCache;

use super::labels::Set;
use super::plan::Metrics;
use crate::key::{Key, OwnedKey};

/// The longest facts that are remembered; longer ones have their labels made each time.
const LONGEST_KEY: usize = 8 * 1024;

/// The sets for what is over the budget, which only say how it went and not with whom.
const COARSE_SETS: usize = 100;

/// Sets of labels, with what the host knows their metrics by.
#[derive(Debug)]
pub struct Dimensions<I> {
    recent: LruCache<OwnedKey, Rc<[I]>>,
    sets: HashMap<Set, Rc<[I]>>,
    limit: usize,
    coarse: HashMap<Set, Rc<[I]>>,
}

/// How a stream's set was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<I> {
    /// What the host knows its metrics by, in the order of [`Metrics::all`].
    pub ids: Rc<[I]>,
    /// Whether it is one for what is over the budget.
    pub is_overflow: bool,
}

impl<I> Dimensions<I> {
    /// Room for that many sets; at least one.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let capacity = NonZeroUsize::new(limit).unwrap_or(NonZeroUsize::MIN);
        // Unbounded, since a bounded one takes all its memory at once.
        Self { recent: LruCache::unbounded(), sets: HashMap::new(), limit: capacity.get(), coarse: HashMap::new() }
    }

    /// The metrics of a stream whose facts, as bytes, have been seen lately.
    pub fn recent(&mut self, key: &[u8]) -> Option<&[I]> {
        self.recent.get(Key::of(key)).map(|ids| &**ids)
    }

    /// The metrics of a set of labels, which `define` makes when it is new.
    ///
    /// # Errors
    ///
    /// Those of `define`; then nothing is kept.
    pub fn find<E>(
        &mut self,
        key: &[u8],
        set: Set,
        metrics: &Metrics,
        mut define: impl FnMut(&Set) -> Result<Rc<[I]>, E>,
    ) -> Result<Found<I>, E> {
        let (ids, is_overflow) = if let Some(ids) = self.sets.get(&set) {
            (Rc::clone(ids), false)
        } else if self.sets.len() < self.limit {
            let ids = define(&set)?;
            self.sets.insert(set, Rc::clone(&ids));
            (ids, false)
        } else {
            (self.overflow(&set, metrics, define)?, true)
        };
        self.remember(key, &ids);
        Ok(Found { ids, is_overflow })
    }

    /// How many sets there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sets.len() + self.coarse.len()
    }

    /// Whether there is none yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn overflow<E>(
        &mut self,
        set: &Set,
        metrics: &Metrics,
        mut define: impl FnMut(&Set) -> Result<Rc<[I]>, E>,
    ) -> Result<Rc<[I]>, E> {
        let mut coarse = set.coarse(metrics);
        if self.coarse.len() >= COARSE_SETS && !self.coarse.contains_key(&coarse) {
            coarse = set.coarsest(metrics);
        }
        if let Some(ids) = self.coarse.get(&coarse) {
            return Ok(Rc::clone(ids));
        }
        let ids = define(&coarse)?;
        self.coarse.insert(coarse, Rc::clone(&ids));
        Ok(ids)
    }

    fn remember(&mut self, key: &[u8], ids: &Rc<[I]>) {
        if key.len() > LONGEST_KEY {
            return;
        }
        if self.recent.len() >= self.limit {
            self.recent.pop_lru();
        }
        self.recent.put(OwnedKey::of(key), Rc::clone(ids));
    }
}
