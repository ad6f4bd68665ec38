//! Peers that were understood before, so that the next request of one costs no decoding.

use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;

use lru::LruCache;

use super::Peer;
use crate::key::{Key, OwnedKey};

/// How many peers are remembered unless the configuration says otherwise: Istio's number.
pub(super) const DEFAULT_PEERS: usize = 500;

/// Bytes of header values that are remembered at most, whatever the number of peers.
const MAX_BYTES: usize = 2 * 1024 * 1024;

/// Turns header values into the peers that filter state holds, and remembers the last ones.
///
/// A peer is found by all bytes of the header's value, not by the id that it claims: nobody can leave his metadata under
/// another's name, and a peer whose labels have changed is known by the new ones at once. What is no peer is not
/// remembered, so that garbage pushes nobody out.
pub struct Peers {
    additional_labels: BTreeSet<String>,
    limit: usize,
    known: LruCache<OwnedKey, Rc<[u8]>>,
    bytes: usize,
}

impl Peers {
    /// Remembers that many peers; 0 remembers none. The labels are those of [`Peer::from_header`].
    #[must_use]
    pub fn new(limit: usize, additional_labels: BTreeSet<String>) -> Self {
        Self { additional_labels, limit, known: LruCache::unbounded(), bytes: 0 }
    }

    /// What is left in filter state ([`Peer::to_state`]) for a header's value; `None` where it is no peer.
    pub fn state(&mut self, header: &[u8]) -> Option<Rc<[u8]>> {
        if let Some(state) = self.known.get(Key::of(header)) {
            return Some(Rc::clone(state));
        }
        let state: Rc<[u8]> = Peer::from_header(header, &self.additional_labels)?.to_state().into();
        self.remember(header, &state);
        Some(state)
    }

    /// How many peers are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The bytes of the header values that are remembered; what they stand for takes about as much again.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn remember(&mut self, header: &[u8], state: &Rc<[u8]>) {
        if self.limit == 0 {
            return;
        }
        self.known.put(OwnedKey::of(header), Rc::clone(state));
        self.bytes += header.len();
        while self.known.len() > self.limit || self.bytes > MAX_BYTES {
            let Some((header, _)) = self.known.pop_lru() else { break };
            self.bytes -= header.len();
        }
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("limit", &self.limit).field("known", &self.known.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::header::MAX_METADATA_BYTES;
    use super::*;

    fn header(number: usize) -> String {
        Peer { workload: format!("w{number}"), ..Peer::default() }.to_header()
    }

    fn workload(state: Option<Rc<[u8]>>) -> Option<String> {
        state.map(|state| Peer::from_state(&state).unwrap().workload)
    }

    #[test]
    fn a_peer_is_known_by_its_bytes() {
        let mut peers = Peers::new(2, BTreeSet::new());
        let (first, again) = (peers.state(header(1).as_bytes()).unwrap(), peers.state(header(1).as_bytes()).unwrap());
        assert!(Rc::ptr_eq(&first, &again));
        assert_eq!(workload(Some(first)).as_deref(), Some("w1"));
        assert_eq!(workload(peers.state(header(2).as_bytes())).as_deref(), Some("w2"));
    }

    #[test]
    fn a_hundred_thousand_peers_take_no_more_than_the_last_five_hundred() {
        let mut peers = Peers::new(DEFAULT_PEERS, BTreeSet::new());
        for number in 0..100_000 {
            assert_eq!(workload(peers.state(header(number).as_bytes())), Some(format!("w{number}")));
        }
        assert_eq!(peers.len(), DEFAULT_PEERS);
        assert!(peers.bytes() < DEFAULT_PEERS * 64, "{}", peers.bytes());
    }

    #[test]
    fn large_peers_take_no_more_either() {
        let mut peers = Peers::new(1_000_000, BTreeSet::new());
        for number in 0..1000 {
            let name = format!("{number:0>10000}");
            let header = Peer { name, ..Peer::default() }.to_header();
            assert!(header.len() < MAX_METADATA_BYTES && peers.state(header.as_bytes()).is_some());
        }
        assert!(peers.len() > 100 && peers.bytes() <= MAX_BYTES, "{peers:?}");
    }

    #[test]
    fn garbage_pushes_nobody_out_and_is_no_peer() {
        let mut peers = Peers::new(1, BTreeSet::new());
        let known = peers.state(header(1).as_bytes()).unwrap();
        for number in 0..100 {
            assert!(peers.state(format!("garbage {number}").as_bytes()).is_none());
        }
        assert!(Rc::ptr_eq(&known, &peers.state(header(1).as_bytes()).unwrap()));
    }

    #[test]
    fn nothing_is_remembered_where_nothing_may_be() {
        let mut peers = Peers::new(0, BTreeSet::new());
        assert!(peers.state(header(1).as_bytes()).is_some());
        assert!(peers.is_empty());
    }
}
