//! Notices of shared queues: which consumer waits for which.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use crate::machinery;
use crate::waiters::Waiters;

/// A consumer: its root context, its queue, and the task that waits.
struct Consumer {
    root: u32,
    queue: u32,
    waiters: Weak<Waiters>,
}

thread_local! {
    /// Few: a queue of a plugin has one consumer in each VM.
    static CONSUMERS: RefCell<Vec<Consumer>> = const { RefCell::new(Vec::new()) };
}

/// Has the task that waits in `waiters` woken when the host has news of the queue for this root.
pub(crate) fn subscribe(root: u32, queue: u32, waiters: &Rc<Waiters>) {
    machinery::queue_ready::used(queue_ready);
    CONSUMERS.with_borrow_mut(|consumers| {
        consumers.retain(|consumer| consumer.waiters.strong_count() > 0);
        consumers.push(Consumer { root, queue, waiters: Rc::downgrade(waiters) });
    });
}

/// Wakes the consumers of a queue.
fn queue_ready(root: u32, queue: u32) {
    CONSUMERS.with_borrow(|consumers| {
        for consumer in consumers.iter().filter(|consumer| consumer.root == root && consumer.queue == queue) {
            if let Some(waiters) = consumer.waiters.upgrade() {
                waiters.wake();
            }
        }
    });
}
