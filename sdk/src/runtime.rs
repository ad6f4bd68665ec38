//! The executor: one task per exchange, woken by host callbacks, polled with the right context active.
//!
//! A guest has one thread and the host calls it; so "running" means: a callback marks what happened, wakes the
//! tasks that wait for it, and [`run`] polls them before the callback returns. A task is out of the table while it
//! is polled and no borrow is held, so whatever a plugin does inside cannot meet itself.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasherDefault, Hasher};
use std::pin::Pin;
use std::task::{Context, RawWaker, RawWakerVTable, Waker};

use crate::sys;

/// A map by an id that the host counts up: multiplied, which spreads well enough, and without a random seed,
/// which would cost every module an import.
pub(crate) type IdMap<V> = HashMap<u32, V, BuildHasherDefault<IdHasher>>;

#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32((*byte).into()));
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

struct Task {
    /// The plugin instance that the exchange belongs to.
    root: u32,
    future: Pin<Box<dyn Future<Output = ()>>>,
}

#[derive(Default)]
struct Runtime {
    /// The context that host calls act on now.
    active: Cell<u32>,
    tasks: RefCell<IdMap<Task>>,
    ready: RefCell<Vec<u32>>,
    /// The context whose task is being polled, its root, and whether its exchange ended meanwhile.
    polled: Cell<u32>,
    root: Cell<u32>,
    cancelled: Cell<bool>,
}

thread_local! {
    static RUNTIME: Runtime = Runtime::default();
}

/// Says which context the host made current; every callback begins with it.
pub(crate) fn enter(context: u32) {
    RUNTIME.with(|runtime| runtime.active.set(context));
}

/// Makes host calls act on `context`, at no cost when they do already.
pub(crate) fn focus(context: u32) -> sys::Result<()> {
    RUNTIME.with(|runtime| {
        if runtime.active.get() != context {
            // Once more before giving up: a stream that cannot be reached cannot be answered either.
            sys::set_effective_context(context).or_else(|_| sys::set_effective_context(context))?;
            runtime.active.set(context);
        }
        Ok(())
    })
}

/// Gives a context its task, polls it once, and keeps it only if it waits.
pub(crate) fn start(context: u32, root: u32, future: impl Future<Output = ()> + 'static) {
    poll(context, Task { root, future: Box::pin(future) });
}

/// The root of the context whose task is being polled.
pub(crate) fn root() -> u32 {
    RUNTIME.with(|runtime| runtime.root.get())
}

/// Ends a context's task where it stands; what it holds is dropped.
pub(crate) fn cancel(context: u32) {
    let task = RUNTIME.with(|runtime| {
        if runtime.polled.get() == context {
            runtime.cancelled.set(true);
        }
        runtime.tasks.borrow_mut().remove(&context)
    });
    drop(task);
}

/// Polls every task that was woken, and those that these wake.
pub(crate) fn run() {
    while let Some(context) = RUNTIME.with(|runtime| runtime.ready.borrow_mut().pop()) {
        let Some(task) = RUNTIME.with(|runtime| runtime.tasks.borrow_mut().remove(&context)) else { continue };
        match focus(context) {
            Ok(()) => poll(context, task),
            Err(error) => log::error!("exchange {context} is lost: {error}"),
        }
    }
}

fn poll(context: u32, mut task: Task) {
    let waker = waker(context);
    let (polled, root, cancelled) = RUNTIME.with(|runtime| {
        (runtime.polled.replace(context), runtime.root.replace(task.root), runtime.cancelled.replace(false))
    });
    let pending = task.future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending();
    let ended = RUNTIME.with(|runtime| {
        let keep = pending && !runtime.cancelled.get();
        let ended = if keep { runtime.tasks.borrow_mut().insert(context, task) } else { Some(task) };
        runtime.polled.set(polled);
        runtime.root.set(root);
        runtime.cancelled.set(cancelled);
        ended
    });
    // What the task holds is dropped here, where no borrow is held.
    drop(ended);
}

/// How many tasks wait.
pub(crate) fn waiting() -> usize {
    RUNTIME.with(|runtime| runtime.tasks.borrow().len())
}

/// A waker is the context id in the shape of a pointer: nothing to allocate, nothing to count.
fn waker(context: u32) -> Waker {
    const TABLE: RawWakerVTable = RawWakerVTable::new(|data| RawWaker::new(data, &TABLE), wake, wake, |_| ());
    fn wake(data: *const ()) {
        let context = data.addr() as u32;
        RUNTIME.with(|runtime| {
            let mut ready = runtime.ready.borrow_mut();
            if !ready.contains(&context) {
                ready.push(context);
            }
        });
    }
    sys::waker(RawWaker::new(std::ptr::without_provenance(context as usize), &TABLE))
}
