//! What the worker has decided about one TCP connection and the sockets have not yet done.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use wasmplugin_host::worker::TcpEffect;

use crate::client::Client;
use crate::lane::Sleeper;
use crate::stats::ListenerStats;

/// Bytes that may wait for a socket before the other one is no longer read.
const WINDOW: usize = 256 * 1024;

/// One TCP connection, between its worker and its two sockets.
#[derive(Debug)]
pub(crate) struct TcpLane {
    /// Whose connection it is.
    pub(crate) client: Rc<Client>,
    /// What is counted about its listener.
    pub(crate) stats: Arc<ListenerStats>,
    /// What goes to the upstream.
    pub(crate) up: Stream,
    /// What goes to the client.
    pub(crate) down: Stream,
    /// The upstream is wanted.
    connect: Cell<bool>,
    connecting: Sleeper,
    /// When something last came or went.
    pub(crate) active: Cell<Instant>,
}

impl TcpLane {
    pub(crate) fn new(client: Rc<Client>, stats: Arc<ListenerStats>) -> Self {
        Self {
            client,
            stats,
            up: Stream::default(),
            down: Stream::default(),
            connect: Cell::new(false),
            connecting: Sleeper::default(),
            active: Cell::new(Instant::now()),
        }
    }

    /// Something is to be done.
    pub(crate) fn take(&self, effect: TcpEffect) {
        match effect {
            TcpEffect::Connect => {
                self.connect.set(true);
                self.connecting.wake();
            }
            TcpEffect::ToUpstream(data, end) => self.up.push(data, end),
            TcpEffect::ToDownstream(data, end) => self.down.push(data, end),
            TcpEffect::Close => {
                self.up.close();
                self.down.close();
            }
        }
    }

    /// Whether the connection is over, but for what the client has not taken yet.
    pub(crate) fn is_closed(&self) -> bool {
        self.down.closed.get()
    }

    /// Waits until the upstream is wanted.
    pub(crate) async fn wanted(&self) {
        poll_fn(|cx| if self.connect.get() { Poll::Ready(()) } else { self.connecting.sleep(cx) }).await;
    }
}

/// Bytes that wait for their socket.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    pieces: RefCell<VecDeque<(Bytes, bool)>>,
    waiting: Cell<usize>,
    closed: Cell<bool>,
    writer: Sleeper,
    reader: Sleeper,
}

impl Stream {
    fn push(&self, data: Bytes, end: bool) {
        self.waiting.set(self.waiting.get() + data.len());
        self.pieces.borrow_mut().push_back((data, end));
        self.writer.wake();
    }

    fn close(&self) {
        self.closed.set(true);
        self.writer.wake();
        self.reader.wake();
    }

    /// The next piece; nothing once the connection is over and everything was taken.
    pub(crate) async fn next(&self) -> Option<(Bytes, bool)> {
        poll_fn(|cx| {
            let piece = self.pieces.borrow_mut().pop_front();
            if let Some((data, end)) = piece {
                self.waiting.set(self.waiting.get().saturating_sub(data.len()));
                self.reader.wake();
                return Poll::Ready(Some((data, end)));
            }
            if self.closed.get() { Poll::Ready(None) } else { self.writer.sleep(cx) }
        })
        .await
    }

    /// Waits until there is room for more, as long as `held` says that the filters have room as well; whether more is wanted.
    pub(crate) async fn room(&self, held: impl Fn() -> bool) -> bool {
        poll_fn(|cx| {
            if self.closed.get() {
                Poll::Ready(false)
            } else if self.waiting.get() < WINDOW && !held() {
                Poll::Ready(true)
            } else {
                self.reader.sleep(cx)
            }
        })
        .await
    }

    /// The filters may have let go of what they held.
    pub(crate) fn look_again(&self) {
        self.reader.wake();
    }
}
