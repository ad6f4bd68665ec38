//! State that all workers of the proxy share: counters, cells, maps, token buckets, queues, and who leads.
//!
//! Each worker has a VM of its own; what they have in common is the host's table of keys and values, one per `vm_id`.
//! Istio leaves the `vm_id` empty, so that all plugins of a proxy have the same table: a plugin therefore names itself
//! once, and its keys are kept apart from everybody else's.
//!
//! ```
//! use wasmplugin::shared::{Rate, Shared};
//!
//! const SHARED: Shared = Shared::of("my-plugin");
//! # fn example(rate: Rate) -> wasmplugin::Result<()> {
//! let visits = SHARED.counter("visits").add(1)?;
//! let granted = SHARED.bucket("requests", rate).take("client-7", 1)?;
//! # let _ = (visits, granted);
//! # Ok(())
//! # }
//! ```
//!
//! Every change is exact: it is made by compare-and-swap, and tried again when another worker was faster. After 1,000
//! tries it is [`ErrorKind::Contended`](crate::error::ErrorKind::Contended), and nothing has changed. A value stays until the last VM of its `vm_id` is gone.

mod bucket;
mod cell;
mod content;
mod counter;
mod encode;
mod leader;
mod map;
mod queue;
mod swap;

use std::marker::PhantomData;
use std::time::Duration;

pub use bucket::{Rate, SharedBucket, Take};
pub use cell::SharedCell;
pub use counter::SharedCounter;
pub use encode::Encode;
pub use leader::Leader;
pub use map::{Collision, SharedMap};
pub use queue::{Consumer, Queue};

/// The part of the shared state that belongs to one plugin.
#[derive(Debug, Clone, Copy)]
pub struct Shared {
    plugin: &'static str,
}

impl Shared {
    /// The state of the plugin of this name, which no other plugin of the proxy should use.
    #[must_use]
    pub const fn of(plugin: &'static str) -> Self {
        Self { plugin }
    }

    /// A number that all workers add to.
    #[must_use]
    pub fn counter(self, name: &str) -> SharedCounter {
        SharedCounter { key: self.key("counter", name) }
    }

    /// A value that all workers read and replace.
    #[must_use]
    pub fn cell<T: Encode>(self, name: &str) -> SharedCell<T> {
        SharedCell { key: self.key("cell", name), value: PhantomData }
    }

    /// Token buckets, one for each of 1,024 slots that keys are spread over.
    #[must_use]
    pub fn bucket(self, name: &str, rate: Rate) -> SharedBucket {
        SharedBucket { key: self.key("bucket", name), rate, slots: 1_024 }
    }

    /// A map with that many slots, from 1 up, whose entries live for `ttl`.
    #[must_use]
    pub fn map<V: Encode>(self, name: &str, slots: u32, ttl: Duration) -> SharedMap<V> {
        SharedMap::new(self.key("map", name), slots, ttl)
    }

    /// A queue from any VM to one that consumes it.
    #[must_use]
    pub fn queue<T: Encode>(self, name: &str) -> Queue<T> {
        Queue::new(self.key("queue", name))
    }

    /// The office of leader: work under it is done by one worker of the proxy at a time.
    #[must_use]
    pub fn leader(self, name: &str) -> Leader {
        Leader::new(self.key("leader", name), self.counter("members"))
    }

    /// No two of plugin, kind and name have the same key, whatever is in them.
    fn key(self, kind: &str, name: &str) -> Vec<u8> {
        format!("wasmplugin/{}:{}/{kind}/{name}", self.plugin.len(), self.plugin).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_different_things_differ() {
        let keys = [
            Shared::of("a").key("cell", "b"),
            Shared::of("a").key("counter", "b"),
            Shared::of("a/cell").key("cell", "b"),
            Shared::of("a").key("cell", "cell/b"),
        ];
        assert!(keys.iter().enumerate().all(|(at, key)| !keys.iter().skip(at + 1).any(|other| other == key)));
    }
}
