//! The executor: a task per exchange that waits, and tasks of a plugin's own, polled with the right context active.
//!
//! A guest has one thread and the host calls it; so "running" means: a callback marks what happened, wakes the
//! tasks that wait for it, and [`run`] polls them before the callback returns. A task is out of the table while it
//! is polled and no borrow is held, so whatever a plugin does inside cannot meet itself.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::task::{Context, RawWaker, RawWakerVTable, Waker};

use crate::id_map::IdMap;
use crate::{machinery, sys};

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

/// The tasks that wait.
struct Tasks {
    exchanges: RefCell<IdMap<Task>>,
    own: RefCell<IdMap<Task>>,
    next_own: Cell<u32>,
    ready: RefCell<Vec<Id>>,
}

/// What is the case at this moment. Nothing in it needs to be dropped, so that looking at it costs nothing.
struct Moment {
    /// The context that host calls act on.
    active: Cell<u32>,
    /// Set while some task is ready: what runs it. A module without tasks has none.
    woken: Cell<Option<fn()>>,
    /// The task that is being polled, its root, and whether it was cancelled meanwhile.
    polled: Cell<Id>,
    root: Cell<u32>,
    cancelled: Cell<bool>,
}

thread_local! {
    static MOMENT: Moment = const {
        Moment {
            active: Cell::new(0),
            woken: Cell::new(None),
            polled: Cell::new(Id::Exchange(0)),
            root: Cell::new(0),
            cancelled: Cell::new(false),
        }
    };
    /// Not dropped when a (native) thread ends: what tasks hold would look for tables that are gone already.
    static TASKS: ManuallyDrop<Tasks> = const {
        ManuallyDrop::new(Tasks {
            exchanges: RefCell::new(IdMap::new()),
            own: RefCell::new(IdMap::new()),
            next_own: Cell::new(0),
            ready: RefCell::new(Vec::new()),
        })
    };
}

/// Says which context the host made current; every callback begins with it.
pub(crate) fn enter(context: u32) {
    MOMENT.with(|moment| moment.active.set(context));
}

/// Makes host calls act on `context`, at no cost when they do already.
pub(crate) fn focus(context: u32) -> sys::Result<()> {
    MOMENT.with(|moment| {
        if moment.active.get() != context {
            // Once more before giving up: a stream that cannot be reached cannot be answered either.
            sys::set_effective_context(context).or_else(|_| sys::set_effective_context(context))?;
            moment.active.set(context);
        }
        Ok(())
    })
}

/// Says which plugin the hook that begins now is of.
pub(crate) fn enter_root(root: u32) {
    MOMENT.with(|moment| moment.root.set(root));
}

/// Gives a context its task and polls it once. A task that waits is kept; one that has ended is given back.
pub(crate) fn start<F>(context: u32, root: u32, mut future: Pin<Box<F>>) -> Option<Pin<Box<F>>>
where
    F: Future<Output = ()> + 'static,
{
    if !poll(Id::Exchange(context), root, future.as_mut()) {
        return Some(future);
    }
    let earlier = TASKS.with(|tasks| tasks.exchanges.borrow_mut().insert(context, Task { root, future }));
    drop(earlier);
    None
}

/// Gives a root a task, which begins before this callback returns; whether there was room for it.
pub(crate) fn spawn(root: u32, future: impl Future<Output = ()> + 'static) -> bool {
    machinery::end_tasks::used(end);
    let number = TASKS.with(|tasks| {
        let mut own = tasks.own.borrow_mut();
        let mut number = tasks.next_own.get();
        while own.get(number).is_some() {
            number = number.wrapping_add(1);
        }
        tasks.next_own.set(number.wrapping_add(1));
        let room = own.len() < OWN_TASKS;
        room.then(|| drop(own.insert(number, Task { root, future: Box::pin(future) }))).map(|()| number)
    });
    if let Some(number) = number {
        wake(Id::Own(number));
    }
    number.is_some()
}

/// The root of the task that is being polled, or of the hook that runs.
pub(crate) fn root() -> u32 {
    MOMENT.with(|moment| moment.root.get())
}

/// Ends the task of an exchange where it stands; what it holds is dropped.
pub(crate) fn cancel(context: u32) {
    give_up(|polled, _| polled == Id::Exchange(context));
    let task = TASKS.with(|tasks| tasks.exchanges.borrow_mut().remove(context));
    drop(task);
}

/// Ends all tasks of a root's own.
fn end(root: u32) {
    give_up(|polled, its_root| matches!(polled, Id::Own(_)) && its_root == root);
    let ended: Vec<Task> = TASKS.with(|tasks| {
        let mut own = tasks.own.borrow_mut();
        let numbers: Vec<u32> = own.iter().filter(|(_, task)| task.root == root).map(|(number, _)| number).collect();
        numbers.into_iter().filter_map(|number| own.remove(number)).collect()
    });
    drop(ended);
}

/// Has the task that is being polled dropped when it waits, if it is one of those meant.
fn give_up(meant: impl FnOnce(Id, u32) -> bool) {
    MOMENT.with(|moment| {
        if meant(moment.polled.get(), moment.root.get()) {
            moment.cancelled.set(true);
        }
    });
}

/// Polls every task that was woken, and those that these wake.
#[inline]
pub(crate) fn run() {
    if let Some(run) = MOMENT.with(|moment| moment.woken.get()) {
        run();
    }
}

#[cold]
fn run_woken() {
    while let Some(id) = TASKS.with(|tasks| tasks.ready.borrow_mut().pop()) {
        run_one(id);
    }
    MOMENT.with(|moment| moment.woken.set(None));
}

fn run_one(id: Id) {
    let Some(mut task) = TASKS.with(|tasks| tasks.take(id)) else { return };
    let (context, what) = match id {
        Id::Exchange(context) => (context, "exchange"),
        Id::Own(_) => (task.root, "a task of plugin"),
    };
    match focus(context) {
        Ok(()) if poll(id, task.root, task.future.as_mut()) => TASKS.with(|tasks| tasks.put(id, task)),
        Ok(()) => {}
        Err(error) => log::error!("{what} {context} is lost: {error}"),
    }
}

/// Polls a task; whether it waits and is still wanted.
fn poll(id: Id, root: u32, future: Pin<&mut dyn Future<Output = ()>>) -> bool {
    let waker = waker(id);
    let outer =
        MOMENT.with(|moment| (moment.polled.replace(id), moment.root.replace(root), moment.cancelled.replace(false)));
    let pending = future.poll(&mut Context::from_waker(&waker)).is_pending();
    MOMENT.with(|moment| {
        let (polled, root, cancelled) = outer;
        moment.polled.set(polled);
        moment.root.set(root);
        pending && !moment.cancelled.replace(cancelled)
    })
}

/// How many exchanges have a task that waits.
pub(crate) fn waiting() -> usize {
    TASKS.with(|tasks| tasks.exchanges.borrow().len())
}

impl Tasks {
    fn take(&self, id: Id) -> Option<Task> {
        match id {
            Id::Exchange(context) => self.exchanges.borrow_mut().remove(context),
            Id::Own(number) => self.own.borrow_mut().remove(number),
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
    TASKS.with(|tasks| {
        let mut ready = tasks.ready.borrow_mut();
        // One event often wakes a task several times in a row. A search through all would cost the square of how
        // many wait; a task that is polled once too often finds nothing new.
        if ready.last() != Some(&id) {
            ready.push(id);
        }
    });
    MOMENT.with(|moment| moment.woken.set(Some(run_woken)));
}
