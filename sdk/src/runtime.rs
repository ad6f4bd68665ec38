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

/// An empty map.
pub(crate) const fn id_map<V>() -> IdMap<V> {
    HashMap::with_hasher(BuildHasherDefault::new())
}

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
    static RUNTIME: Runtime = const {
        Runtime {
            active: Cell::new(0),
            tasks: RefCell::new(id_map()),
            ready: RefCell::new(Vec::new()),
            polled: Cell::new(0),
            root: Cell::new(0),
            cancelled: Cell::new(false),
        }
    };
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

/// Gives a context its task and polls it once. A task that waits is kept; one that has ended is given back.
pub(crate) fn start<F>(context: u32, root: u32, mut future: Pin<Box<F>>) -> Option<Pin<Box<F>>>
where
    F: Future<Output = ()> + 'static,
{
    if !poll(context, root, future.as_mut()) {
        return Some(future);
    }
    let earlier = RUNTIME.with(|runtime| runtime.tasks.borrow_mut().insert(context, Task { root, future }));
    drop(earlier);
    None
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
        let Some(mut task) = RUNTIME.with(|runtime| runtime.tasks.borrow_mut().remove(&context)) else { continue };
        match focus(context) {
            Ok(()) if poll(context, task.root, task.future.as_mut()) => {
                RUNTIME.with(|runtime| runtime.tasks.borrow_mut().insert(context, task));
            }
            Ok(()) => {}
            Err(error) => log::error!("exchange {context} is lost: {error}"),
        }
    }
}

/// Polls a task; whether it waits and is still wanted.
fn poll(context: u32, root: u32, future: Pin<&mut dyn Future<Output = ()>>) -> bool {
    let waker = waker(context);
    let outer = RUNTIME.with(|runtime| {
        (runtime.polled.replace(context), runtime.root.replace(root), runtime.cancelled.replace(false))
    });
    let pending = future.poll(&mut Context::from_waker(&waker)).is_pending();
    RUNTIME.with(|runtime| {
        let (polled, root, cancelled) = outer;
        runtime.polled.set(polled);
        runtime.root.set(root);
        pending && !runtime.cancelled.replace(cancelled)
    })
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
            // One event often wakes a task several times in a row. A search through all would cost the square of
            // how many wait; a task that is polled once too often finds nothing new.
            if ready.last() != Some(&context) {
                ready.push(context);
            }
        });
    }
    sys::waker(RawWaker::new(std::ptr::without_provenance(context as usize), &TABLE))
}
