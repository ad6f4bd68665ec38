//! Data and queues that plugins share across workers, kept by VM id.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::abi::Status;

/// Values that all VMs of one id share, each with a number for compare-and-swap.
#[derive(Debug, Default)]
pub struct SharedData {
    inner: Mutex<Values>,
}

#[derive(Debug, Default)]
struct Values {
    by_vm: HashMap<Box<str>, ByKey>,
    last_cas: u32,
}

type ByKey = HashMap<Box<[u8]>, (Bytes, u32)>;

impl SharedData {
    /// The value of a key, and its number.
    #[must_use]
    pub fn get(&self, vm_id: &str, key: &[u8]) -> Option<(Bytes, u32)> {
        lock(&self.inner).by_vm.get(vm_id)?.get(key).cloned()
    }

    /// Stores a value; a `cas` other than 0 must be the number of the present value, if there is one.
    ///
    /// # Errors
    ///
    /// [`Status::CasMismatch`] if the number is another one.
    pub fn set(&self, vm_id: &str, key: &[u8], value: &[u8], cas: u32) -> Result<(), Status> {
        let mut guard = lock(&self.inner);
        let values = &mut *guard;
        let next = values.last_cas.wrapping_add(1).max(1);
        let vm = match values.by_vm.get_mut(vm_id) {
            Some(vm) => vm,
            None => values.by_vm.entry(vm_id.into()).or_default(),
        };
        match vm.get_mut(key) {
            // A number on a missing key succeeds: Envoy does not look at it.
            None => {
                vm.insert(key.into(), (Bytes::copy_from_slice(value), next));
            }
            Some((_, present)) if cas != 0 && *present != cas => return Err(Status::CasMismatch),
            Some(entry) => *entry = (Bytes::copy_from_slice(value), next),
        }
        values.last_cas = next;
        Ok(())
    }

    /// Forgets everything of one VM id.
    pub fn clear(&self, vm_id: &str) {
        lock(&self.inner).by_vm.remove(vm_id);
    }
}

/// A root context of some worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reader {
    /// The VM within the worker.
    pub(crate) vm: usize,
    /// Which of the VM's guests, one after the other, knows the context.
    pub(crate) generation: u32,
    /// The context's id.
    pub(crate) root: u32,
}

/// A queue has news for a root context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice {
    /// Whom to call.
    pub(crate) reader: Reader,
    /// The queue.
    pub(crate) queue: u32,
}

/// Where notices for one worker wait; cloned handles reach the same box.
#[derive(Clone, Default)]
pub struct Inbox {
    notices: Arc<Mutex<VecDeque<Notice>>>,
    wake: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl Inbox {
    /// An inbox that calls `wake`, from any thread, when something arrives.
    #[must_use]
    pub fn waking(wake: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self { notices: Arc::default(), wake: Some(wake) }
    }

    pub(crate) fn take(&self) -> Option<Notice> {
        lock(&self.notices).pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.notices).is_empty()
    }

    fn post(&self, notice: Notice) {
        lock(&self.notices).push_back(notice);
        if let Some(wake) = &self.wake {
            wake();
        }
    }
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}

/// The queues between plugins; each notifies whoever registered it last.
#[derive(Debug, Default)]
pub struct Queues {
    inner: Mutex<QueueTable>,
}

#[derive(Debug, Default)]
struct QueueTable {
    ids: HashMap<(Box<str>, Box<[u8]>), u32>,
    /// The last id that was given; none is given twice.
    last: u32,
    queues: HashMap<u32, Queue>,
}

#[derive(Debug)]
struct Queue {
    items: VecDeque<Bytes>,
    inbox: Inbox,
    reader: Reader,
}

impl Queues {
    /// The id of a queue, which from now on notifies this root context.
    pub(crate) fn register(&self, vm_id: &str, name: &[u8], inbox: &Inbox, reader: Reader) -> u32 {
        let mut table = lock(&self.inner);
        let next = table.last.wrapping_add(1).max(1);
        let id = *table.ids.entry((vm_id.into(), name.into())).or_insert(next);
        if id == next {
            table.last = next;
        }
        let queue =
            table.queues.entry(id).or_insert_with(|| Queue { items: VecDeque::new(), inbox: inbox.clone(), reader });
        (queue.inbox, queue.reader) = (inbox.clone(), reader);
        id
    }

    /// Forgets the queues of one VM id.
    pub(crate) fn clear(&self, vm_id: &str) {
        let mut guard = lock(&self.inner);
        let table = &mut *guard;
        table.ids.retain(|(owner, _), id| {
            let stays = &**owner != vm_id;
            if !stays {
                table.queues.remove(id);
            }
            stays
        });
    }

    /// The id of a queue that somebody registered.
    #[must_use]
    pub fn resolve(&self, vm_id: &str, name: &[u8]) -> Option<u32> {
        lock(&self.inner).ids.get(&(vm_id.into(), name.into())).copied()
    }

    /// Appends an item and notifies the registrant.
    ///
    /// # Errors
    ///
    /// [`Status::NotFound`] if no such queue exists.
    pub fn enqueue(&self, id: u32, item: &[u8]) -> Result<(), Status> {
        let (inbox, notice) = {
            let mut table = lock(&self.inner);
            let queue = table.queues.get_mut(&id).ok_or(Status::NotFound)?;
            queue.items.push_back(Bytes::copy_from_slice(item));
            (queue.inbox.clone(), Notice { reader: queue.reader, queue: id })
        };
        inbox.post(notice);
        Ok(())
    }

    /// Takes the oldest item.
    ///
    /// # Errors
    ///
    /// [`Status::NotFound`] if no such queue exists, [`Status::Empty`] if it has no item.
    pub fn dequeue(&self, id: u32) -> Result<Bytes, Status> {
        lock(&self.inner).queues.get_mut(&id).ok_or(Status::NotFound)?.items.pop_front().ok_or(Status::Empty)
    }
}

/// A panic of another thread does not make the data wrong: every change is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn reader(vm: usize, root: u32) -> Reader {
        Reader { vm, generation: 1, root }
    }

    #[test]
    fn compare_and_swap_follows_envoy() {
        let data = SharedData::default();
        assert_eq!(data.set("a", b"k", b"1", 77), Ok(()), "any number creates a missing key");
        assert_eq!(data.get("a", b"k"), Some((Bytes::from("1"), 1)));
        assert_eq!(data.set("a", b"k", b"2", 77), Err(Status::CasMismatch));
        assert_eq!(data.set("a", b"k", b"2", 1), Ok(()));
        assert_eq!(data.set("a", b"k", b"3", 0), Ok(()));
        assert_eq!(data.get("a", b"k"), Some((Bytes::from("3"), 3)));
        assert_eq!(data.get("b", b"k"), None);
    }

    #[test]
    fn a_queue_notifies_the_last_registrant() {
        let (queues, first, second) = (Queues::default(), Inbox::default(), Inbox::default());
        let id = queues.register("vm", b"q", &first, reader(0, 1));
        assert_eq!(queues.register("vm", b"q", &second, reader(3, 9)), id);
        assert_eq!(queues.resolve("vm", b"q"), Some(1));
        assert_eq!(queues.resolve("vm", b"other"), None);
        assert_eq!(queues.enqueue(9, b"x"), Err(Status::NotFound));
        assert_eq!(queues.enqueue(id, b"x"), Ok(()));
        assert_eq!(first.take(), None);
        assert_eq!(second.take(), Some(Notice { reader: reader(3, 9), queue: id }));
        assert_eq!(queues.dequeue(id), Ok(Bytes::from("x")));
        assert_eq!(queues.dequeue(id), Err(Status::Empty));
        let other = queues.register("other", b"q", &first, reader(0, 1));
        queues.clear("vm");
        assert_eq!((queues.resolve("vm", b"q"), queues.dequeue(id)), (None, Err(Status::NotFound)));
        assert_eq!(
            (queues.resolve("other", b"q"), queues.register("vm", b"q", &first, reader(0, 1))),
            (Some(other), other + 1)
        );
    }
}
