//! Queues between VMs: any worker or plugin sends, one consumer receives.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;
use std::time::Duration;

use super::encode::Encode;
use crate::error::{Error, Result};
use crate::notice;
use crate::runtime;
use crate::sys::{self, HostError, Status};
use crate::time::timeout;
use crate::waiters::Waiters;

/// The most bytes of an item; the host keeps items until they are consumed, in memory of the proxy.
const ITEM_LIMIT: usize = 64 * 1024;

/// How often a consumer looks by itself. The host gives notice to who registered the queue last; if that one is gone,
/// or does not consume any more, its items would lie there for ever.
const LOOK: Duration = Duration::from_secs(10);

/// A queue of a plugin, by its name: where producers send, and a consumer registers.
///
/// An item is received once, by one consumer, in the order of sending. Delivery is as good as the proxy: items are lost
/// when it restarts, or when the last VM of the `vm_id` goes. A queue has no bound of its own, so a producer should send
/// events, not traffic: what nobody consumes stays in the proxy's memory.
///
/// ```
/// use std::rc::Rc;
///
/// use wasmplugin::background::Singleton;
/// use wasmplugin::shared::Shared;
/// use wasmplugin::Result;
///
/// struct Auditor;
///
/// impl Singleton for Auditor {
///     async fn run(self: Rc<Self>) -> Result<()> {
///         let denied = Shared::of("audit").queue::<String>("denied").consume()?;
///         loop {
///             log::info!("denied: {}", denied.next().await?);
///         }
///     }
/// }
/// ```
pub struct Queue<T> {
    name: Vec<u8>,
    /// The VM id whose queue it is; empty for the own.
    vm_id: String,
    /// The host's number of the queue, once it is known.
    id: Cell<Option<u32>>,
    item: PhantomData<fn(T) -> T>,
}

impl<T: Encode> Queue<T> {
    pub(super) fn new(name: Vec<u8>) -> Self {
        Self { name, vm_id: String::new(), id: Cell::new(None), item: PhantomData }
    }

    /// The queue of that name among the VMs of another `vm_id`, to send to.
    #[must_use]
    pub fn of_vm(mut self, vm_id: impl Into<String>) -> Self {
        self.vm_id = vm_id.into();
        self
    }

    /// Sends an item of at most 65,536 bytes.
    ///
    /// Fails with the host's "not found" ([`ErrorKind::Host`](crate::error::ErrorKind::Host)) as long as nobody has ever
    /// registered the queue.
    pub fn send(&self, item: &T) -> Result<()> {
        let item = item.encode();
        if item.len() > ITEM_LIMIT {
            return Err(Error::app(format!("an item of {} bytes is over the limit of {ITEM_LIMIT}", item.len())));
        }
        if let Some(id) = self.id.get() {
            match sys::enqueue(id, &item) {
                // The last VM of the id went, and the queue with it: there may be a new one.
                Err(HostError { status: Status::NOT_FOUND, .. }) => self.id.set(None),
                outcome => return Ok(outcome?),
            }
        }
        let id = sys::resolve_queue(&self.vm_id, &self.name)?;
        self.id.set(Some(id));
        Ok(sys::enqueue(id, &item)?)
    }

    /// Registers the queue and receives from it.
    ///
    /// The host gives notice of new items to whoever registered last. Where several VMs consume one queue (the
    /// background tasks of N + 1 instances), that one receives nearly all, and the others look every 10 seconds, so that
    /// nothing lies there for ever when it is gone. Best consume in a [`Singleton`](crate::background::Singleton) or under
    /// a [`Leader`](super::Leader), and in a background task in any case: what registers while it is configured may be a VM
    /// that the proxy throws away.
    pub fn consume(&self) -> Result<Consumer<T>> {
        let waiters = Rc::<Waiters>::default();
        let consumer = Consumer { name: self.name.clone(), id: Cell::new(0), waiters, item: PhantomData };
        consumer.register()?;
        Ok(consumer)
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("name", &String::from_utf8_lossy(&self.name)).finish_non_exhaustive()
    }
}

/// Receives the items of a queue; made by [`Queue::consume`].
pub struct Consumer<T> {
    name: Vec<u8>,
    id: Cell<u32>,
    waiters: Rc<Waiters>,
    item: PhantomData<fn() -> T>,
}

impl<T: Encode> Consumer<T> {
    /// Waits for the next item. One that cannot be read is logged and passed over.
    pub async fn next(&self) -> Result<T> {
        loop {
            // A notice wakes this; so it does when another VM was faster, and then it waits on.
            let looked = timeout(LOOK, self.waiters.until(|| self.try_next().transpose())).await;
            if let Some(outcome) = looked {
                return outcome;
            }
            if let Some(item) = self.try_next()? {
                // Nobody was told of it, or nobody cared.
                self.register()?;
                return Ok(item);
            }
        }
    }

    /// The next item, if there is one now.
    pub fn try_next(&self) -> Result<Option<T>> {
        loop {
            let item = match sys::dequeue(self.id.get()) {
                Ok(item) => item,
                Err(HostError { status: Status::EMPTY, .. }) => return Ok(None),
                Err(HostError { status: Status::NOT_FOUND, .. }) => {
                    self.register()?;
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            };
            match T::decode(&item) {
                Some(item) => return Ok(Some(item)),
                None => log::warn!("an item of {} bytes in a queue cannot be read", item.len()),
            }
        }
    }

    fn register(&self) -> Result<()> {
        let id = sys::register_queue(&self.name)?;
        if self.id.replace(id) != id {
            notice::subscribe(runtime::root(), id, &self.waiters);
        }
        Ok(())
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("name", &String::from_utf8_lossy(&self.name)).finish_non_exhaustive()
    }
}
