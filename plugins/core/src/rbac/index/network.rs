//! Many blocks of addresses at once: one look-up by hash for each length of block that occurs.

use std::net::IpAddr;

use crate::rbac::network::Network;
use crate::rbac::table::Table;

/// Blocks, each leading to clauses. A radix tree would answer in as many steps as an address has bits; policies use a
/// handful of lengths, and a hash needs no node per bit.
#[derive(Debug, Clone, Default)]
pub(super) struct NetworkIndex {
    lengths: Vec<(bool, u8)>,
    blocks: Table<Vec<usize>>,
}

impl NetworkIndex {
    /// Adds a block.
    pub(super) fn add(&mut self, network: Network, clause: usize) {
        let length = (network.v4, network.length);
        if !self.lengths.contains(&length) {
            self.lengths.push(length);
        }
        self.blocks.push(&key(network), clause);
    }

    /// Tells every clause with a block that the address lies in.
    pub(super) fn find(&self, address: Option<IpAddr>, found: &mut dyn FnMut(usize)) {
        let Some(address) = address else { return };
        for (_, length) in self.lengths.iter().filter(|(v4, _)| *v4 == address.is_ipv4()) {
            self.blocks.all(&key(Network::holding(address, *length))).iter().copied().for_each(&mut *found);
        }
    }
}

/// A block as bytes, each block its own.
fn key(network: Network) -> [u8; 18] {
    let mut key = [0; 18];
    let parts = [u8::from(network.v4), network.length].into_iter().chain(network.bits.to_be_bytes());
    key.iter_mut().zip(parts).for_each(|(byte, part)| *byte = part);
    key
}
