//! The tasks that wait for one thing; each has a place until it waits no more.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

/// Who waits, in the order of arrival.
#[derive(Default)]
pub(crate) struct Waiters {
    /// INVARIANT: sorted by number, for newcomers get higher ones.
    list: RefCell<VecDeque<(u64, Waker)>>,
    next: Cell<u64>,
}

impl Waiters {
    /// Waits until `ready` gives something, which it is asked at once and after every [`wake`](Self::wake).
    pub(crate) async fn until<T>(&self, mut ready: impl FnMut() -> Option<T>) -> T {
        let mut place = Place { waiters: self, number: None };
        poll_fn(|cx| match ready() {
            Some(output) => Poll::Ready(output),
            None => {
                place.keep(cx);
                Poll::Pending
            }
        })
        .await
    }

    /// Wakes all, who lose their places.
    pub(crate) fn wake(&self) {
        for (_, waker) in self.list.take() {
            waker.wake();
        }
    }
}

/// A place among those who wait, given up when dropped.
struct Place<'a> {
    waiters: &'a Waiters,
    number: Option<u64>,
}

impl Place<'_> {
    /// Waits on in the same place, or in a new one after a wake.
    fn keep(&mut self, cx: &Context<'_>) {
        let mut list = self.waiters.list.borrow_mut();
        if let Some(number) = self.number
            && let Ok(at) = list.binary_search_by_key(&number, |(number, _)| *number)
            && let Some(waiter) = list.get_mut(at)
        {
            waiter.1.clone_from(cx.waker());
            return;
        }
        let number = self.waiters.next.get();
        self.waiters.next.set(number.wrapping_add(1));
        list.push_back((number, cx.waker().clone()));
        self.number = Some(number);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let mut list = self.waiters.list.borrow_mut();
        if let Ok(at) = list.binary_search_by_key(&number, |(number, _)| *number) {
            list.remove(at);
        }
    }
}
