//! The executor: a task per exchange that waits, and tasks of a plugin's own, polled with the right context active.
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

/// How many tasks of their own the plugins of one VM may have: background tasks and what they shield.
const OWN_TASKS: usize = 1_000;

/// What a task is known by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Id {
    /// The context of its exchange, which has no other task.
    Exchange(u32),
    /// A number of its own: it belongs to a root context and outlives exchanges.
    Own(u32),
}

struct Task {
    /// The plugin instance that the task belongs to.
    root: u32,
    future: Pin<Box<dyn Future<Output = ()>>>,
}

struct Runtime {
    /// The context that host calls act on now.
    active: Cell<u32>,
    exchanges: RefCell<IdMap<Task>>,
    own: RefCell<IdMap<Task>>,
    next_own: Cell<u32>,
    ready: RefCell<Vec<Id>>,
    /// The task that is being polled, its root, and whether it was cancelled meanwhile.
    polled: Cell<Id>,
    root: Cell<u32>,
    cancelled: Cell<bool>,
}

thread_local! {
    static RUNTIME: Runtime = const {
        Runtime {
            active: Cell::new(0),
            exchanges: RefCell::new(id_map()),
            own: RefCell::new(id_map()),
            next_own: Cell::new(0),
            ready: RefCell::new(Vec::new()),
            polled: Cell::new(Id::Exchange(0)),
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

/// Says which plugin the hook that begins now is of.
pub(crate) fn enter_root(root: u32) {
    RUNTIME.with(|runtime| runtime.root.set(root));
}

/// Gives a context its task and polls it once. A task that waits is kept; one that has ended is given back.
pub(crate) fn start<F>(context: u32, root: u32, mut future: Pin<Box<F>>) -> Option<Pin<Box<F>>>
where
    F: Future<Output = ()> + 'static,
{
    if !poll(Id::Exchange(context), root, future.as_mut()) {
        return Some(future);
    }
    let earlier = RUNTIME.with(|runtime| runtime.exchanges.borrow_mut().insert(context, Task { root, future }));
    drop(earlier);
    None
}

/// Gives a root a task, which begins before this callback returns; whether there was room for it.
pub(crate) fn spawn(root: u32, future: impl Future<Output = ()> + 'static) -> bool {
    RUNTIME.with(|runtime| {
        let mut own = runtime.own.borrow_mut();
        if own.len() >= OWN_TASKS {
            return false;
        }
        let mut id = runtime.next_own.get();
        while own.contains_key(&id) {
            id = id.wrapping_add(1);
        }
        runtime.next_own.set(id.wrapping_add(1));
        own.insert(id, Task { root, future: Box::pin(future) });
        runtime.ready.borrow_mut().push(Id::Own(id));
        true
    })
}

/// The root of the task that is being polled, or of the hook that runs.
pub(crate) fn root() -> u32 {
    RUNTIME.with(|runtime| runtime.root.get())
}

/// Ends the task of an exchange where it stands; what it holds is dropped.
pub(crate) fn cancel(context: u32) {
    let task = RUNTIME.with(|runtime| {
        if runtime.polled.get() == Id::Exchange(context) {
            runtime.cancelled.set(true);
        }
        runtime.exchanges.borrow_mut().remove(&context)
    });
    drop(task);
}

/// Ends all tasks of a root's own.
pub(crate) fn end(root: u32) {
    let tasks: Vec<Task> = RUNTIME.with(|runtime| {
        if matches!(runtime.polled.get(), Id::Own(_)) && runtime.root.get() == root {
            runtime.cancelled.set(true);
        }
        runtime.own.borrow_mut().extract_if(|_, task| task.root == root).map(|(_, task)| task).collect()
    });
    drop(tasks);
}

/// Polls every task that was woken, and those that these wake.
pub(crate) fn run() {
    while let Some(id) = RUNTIME.with(|runtime| runtime.ready.borrow_mut().pop()) {
        run_one(id);
    }
}

fn run_one(id: Id) {
    let Some(mut task) = RUNTIME.with(|runtime| runtime.take(id)) else { return };
    let (context, what) = match id {
        Id::Exchange(context) => (context, "exchange"),
        Id::Own(_) => (task.root, "a task of plugin"),
    };
    match focus(context) {
        Ok(()) if poll(id, task.root, task.future.as_mut()) => RUNTIME.with(|runtime| runtime.put(id, task)),
        Ok(()) => {}
        Err(error) => log::error!("{what} {context} is lost: {error}"),
    }
}

/// Polls a task; whether it waits and is still wanted.
fn poll(id: Id, root: u32, future: Pin<&mut dyn Future<Output = ()>>) -> bool {
    let waker = waker(id);
    let outer = RUNTIME
        .with(|runtime| (runtime.polled.replace(id), runtime.root.replace(root), runtime.cancelled.replace(false)));
    let pending = future.poll(&mut Context::from_waker(&waker)).is_pending();
    RUNTIME.with(|runtime| {
        let (polled, root, cancelled) = outer;
        runtime.polled.set(polled);
        runtime.root.set(root);
        pending && !runtime.cancelled.replace(cancelled)
    })
}

/// How many exchanges have a task that waits.
pub(crate) fn waiting() -> usize {
    RUNTIME.with(|runtime| runtime.exchanges.borrow().len())
}

impl Runtime {
    fn take(&self, id: Id) -> Option<Task> {
        match id {
            Id::Exchange(context) => self.exchanges.borrow_mut().remove(&context),
            Id::Own(number) => self.own.borrow_mut().remove(&number),
        }
    }

    fn put(&self, id: Id, task: Task) {
        match id {
            Id::Exchange(context) => self.exchanges.borrow_mut().insert(context, task),
            Id::Own(number) => self.own.borrow_mut().insert(number, task),
        };
    }
}

/// A waker is the number of its task in the shape of a pointer, with a table of functions for each kind: nothing to
/// allocate, nothing to count.
fn waker(id: Id) -> Waker {
    const EXCHANGE: RawWakerVTable = RawWakerVTable::new(
        |data| RawWaker::new(data, &EXCHANGE),
        |data| wake(Id::Exchange(data.addr() as u32)),
        |data| wake(Id::Exchange(data.addr() as u32)),
        |_| (),
    );
    const OWN: RawWakerVTable = RawWakerVTable::new(
        |data| RawWaker::new(data, &OWN),
        |data| wake(Id::Own(data.addr() as u32)),
        |data| wake(Id::Own(data.addr() as u32)),
        |_| (),
    );
    let (number, table) = match id {
        Id::Exchange(context) => (context, &EXCHANGE),
        Id::Own(number) => (number, &OWN),
    };
    sys::waker(RawWaker::new(std::ptr::without_provenance(number as usize), table))
}

fn wake(id: Id) {
    RUNTIME.with(|runtime| {
        let mut ready = runtime.ready.borrow_mut();
        // One event often wakes a task several times in a row. A search through all would cost the square of how
        // many wait; a task that is polled once too often finds nothing new.
        if ready.last() != Some(&id) {
            ready.push(id);
        }
    });
}
