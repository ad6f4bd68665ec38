//! What the worker has decided about one exchange and the sockets have not yet done.
//!
//! The worker's effects land here, whoever caused them; the tasks that own the sockets take them out.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use wasmplugin_host::headers::HeaderMap;
use wasmplugin_host::worker::Item;

use crate::client::Client;
use crate::stats::ListenerStats;
use crate::upstream::Cluster;

/// Body bytes that may wait for a socket before the other side is no longer read.
const WINDOW: usize = 64 * 1024;

/// One exchange, between its worker and its sockets.
#[derive(Debug)]
pub(crate) struct Lane {
    /// Whose exchange it is.
    pub(crate) client: Rc<Client>,
    /// What is counted about its listener.
    pub(crate) stats: Arc<ListenerStats>,
    /// The request's headers, once they may go to the upstream.
    pub(crate) upstream_head: RefCell<Option<(HeaderMap, bool)>>,
    /// The rest of the request, on its way to the upstream.
    pub(crate) up: Queue,
    /// The response, on its way to the client.
    pub(crate) down: Queue,
    /// The upstream request is to be dropped, or not to be made.
    pub(crate) upstream_gone: Cell<bool>,
    /// The client is to be cut off, after what is in `down`.
    pub(crate) cut: Cell<bool>,
    /// Nothing more happens.
    pub(crate) over: Cell<bool>,
    /// When the request had come to its end.
    pub(crate) request_ended: Cell<Option<Instant>>,
    /// When the upstream was asked, as long as its response has not come to its end.
    pub(crate) asked: Cell<Option<Instant>>,
    /// The cluster that was asked.
    pub(crate) cluster: RefCell<Option<Rc<Cluster>>>,
    /// When something last came or went.
    pub(crate) active: Cell<Instant>,
    /// The proxy itself has answered that it took too long.
    pub(crate) timed_out: Cell<bool>,
    /// Whoever sends the response.
    pub(crate) driver: Sleeper,
    /// Whoever reads the request's body.
    pub(crate) upload: Sleeper,
}

impl Lane {
    pub(crate) fn new(client: Rc<Client>, stats: Arc<ListenerStats>, now: Instant) -> Self {
        Self {
            client,
            stats,
            upstream_head: RefCell::default(),
            up: Queue::default(),
            down: Queue::default(),
            upstream_gone: Cell::new(false),
            cut: Cell::new(false),
            over: Cell::new(false),
            request_ended: Cell::new(None),
            asked: Cell::new(None),
            cluster: RefCell::default(),
            active: Cell::new(now),
            timed_out: Cell::new(false),
            driver: Sleeper::default(),
            upload: Sleeper::default(),
        }
    }

    /// A part of the request may go on.
    pub(crate) fn to_upstream(&self, item: Item) {
        match item {
            Item::Headers(headers, end) => {
                if end {
                    self.up.ended.set(true);
                }
                *self.upstream_head.borrow_mut() = Some((headers, end));
                self.driver.wake();
            }
            rest => self.up.push(rest),
        }
        self.upload.wake();
    }

    /// A part of the response may go on.
    pub(crate) fn to_downstream(&self, item: Item) {
        self.down.push(item);
        self.driver.wake();
    }

    /// Nothing more happens: whoever still waits finds out.
    pub(crate) fn close(&self) {
        self.over.set(true);
        self.driver.wake();
        self.upload.wake();
        self.up.reader.wake();
    }
}

/// Parts of a message that wait for their socket.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    items: RefCell<VecDeque<Item>>,
    bytes: Cell<usize>,
    /// The last part has been taken.
    pub(crate) ended: Cell<bool>,
    /// Whoever sends it.
    pub(crate) reader: Sleeper,
}

impl Queue {
    pub(crate) fn push(&self, item: Item) {
        if let Item::Data(data, _) = &item {
            self.bytes.set(self.bytes.get() + data.len());
        }
        self.items.borrow_mut().push_back(item);
        self.reader.wake();
    }

    /// The next part. An end that is a piece of its own joins the last piece.
    pub(crate) fn pop(&self) -> Option<Item> {
        let mut items = self.items.borrow_mut();
        let mut item = items.pop_front()?;
        if let Item::Data(data, end) = &mut item {
            self.bytes.set(self.bytes.get().saturating_sub(data.len()));
            if !*end && matches!(items.front(), Some(Item::Data(next, true)) if next.is_empty()) {
                items.pop_front();
                *end = true;
            }
        }
        if matches!(&item, Item::Headers(_, true) | Item::Data(_, true) | Item::Trailers(_)) {
            self.ended.set(true);
        }
        Some(item)
    }

    /// Whether more may be read for this direction.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes.get() < WINDOW
    }
}

/// The request of a gRPC callout, as its plugin sends it.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    pub(crate) messages: Queue,
    /// Nobody listens any more, or nobody speaks.
    pub(crate) gone: Cell<bool>,
}

impl Outgoing {
    /// Ends it where it stands.
    pub(crate) fn cut(&self) {
        self.gone.set(true);
        self.messages.reader.wake();
    }
}

/// A task that waits for something to happen to its exchange.
#[derive(Default)]
pub(crate) struct Sleeper(Cell<Option<Waker>>);

impl Sleeper {
    /// Wakes it, if it sleeps.
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.0.take() {
            waker.wake();
        }
    }

    /// It is awake: what happens now, it will see by itself.
    pub(crate) fn awake(&self) {
        self.0.set(None);
    }

    /// Sleeps until the next [`wake`](Self::wake).
    pub(crate) fn sleep<T>(&self, cx: &Context<'_>) -> Poll<T> {
        self.0.set(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl fmt::Debug for Sleeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sleeper")
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn an_end_joins_the_piece_before_it() {
        let queue = Queue::default();
        queue.push(Item::Data("a".into(), false));
        queue.push(Item::Data("b".into(), false));
        queue.push(Item::Data(Bytes::new(), true));
        assert_eq!(queue.pop(), Some(Item::Data("a".into(), false)));
        assert!(!queue.ended.get());
        assert_eq!(queue.pop(), Some(Item::Data("b".into(), true)));
        assert!(queue.ended.get());
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn there_is_room_until_the_window_is_full() {
        let queue = Queue::default();
        queue.push(Item::Data(vec![0; WINDOW].into(), false));
        assert!(!queue.has_room());
        queue.pop();
        assert!(queue.has_room());
    }
}
