//! A TCP proxy as a test sees it: the upstream that it plays, and what the client of a connection got.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

/// The upstream of a TCP proxy, played by a function of the test, with a record of what it saw.
#[derive(Clone)]
pub struct TcpServer {
    script: Option<Script>,
    seen: Arc<Mutex<Vec<TcpSeen>>>,
}

type Script = Arc<dyn Fn(TcpEvent<'_>, &mut TcpTurn) + Send + Sync>;

/// What the upstream notices of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcpEvent<'a> {
    /// It has begun.
    Connected,
    /// Bytes came.
    Data(&'a [u8]),
    /// No more bytes will come.
    Finished,
}

/// What the upstream does next, in this order.
#[derive(Debug, Default)]
pub struct TcpTurn {
    delay: Duration,
    actions: Vec<(Duration, TcpAction)>,
}

/// One thing that the upstream does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TcpAction {
    /// Sends these bytes.
    Send(Bytes),
    /// Sends no more.
    Finish,
    /// Cuts the connection.
    Reset,
}

/// One connection, as the upstream saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TcpSeen {
    /// Everything that came.
    pub received: Vec<u8>,
    /// Whether its end came too.
    pub finished: bool,
}

impl TcpSeen {
    /// What came, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }
}

impl TcpServer {
    /// A server that does what the function says.
    pub fn new(script: impl Fn(TcpEvent<'_>, &mut TcpTurn) + Send + Sync + 'static) -> Self {
        Self { script: Some(Arc::new(script)), seen: Arc::default() }
    }

    /// A server that sends back what it gets, and finishes when the client has.
    pub fn echo() -> Self {
        Self::new(|event, turn| match event {
            TcpEvent::Connected => {}
            TcpEvent::Data(bytes) => turn.send(bytes.to_vec()),
            TcpEvent::Finished => turn.finish(),
        })
    }

    /// An address at which nobody listens.
    pub fn unreachable() -> Self {
        Self { script: None, seen: Arc::default() }
    }

    /// Whether somebody listens.
    pub fn is_reachable(&self) -> bool {
        self.script.is_some()
    }

    /// The connections so far, in the order of their beginning.
    pub fn connections(&self) -> Vec<TcpSeen> {
        lock(&self.seen).clone()
    }

    /// A connection begins; its place in the record is what the engine reports the rest under.
    pub fn accepted(&self) -> usize {
        let mut seen = lock(&self.seen);
        seen.push(TcpSeen::default());
        seen.len() - 1
    }

    /// Something happened on a connection; what the server does then, each after a delay from now.
    pub fn happened(&self, place: usize, event: TcpEvent<'_>) -> Vec<(Duration, TcpAction)> {
        if let Some(seen) = lock(&self.seen).get_mut(place) {
            match event {
                TcpEvent::Connected => {}
                TcpEvent::Data(bytes) => seen.received.extend_from_slice(bytes),
                TcpEvent::Finished => seen.finished = true,
            }
        }
        // The record is free again: the script may look at it.
        let mut turn = TcpTurn::default();
        if let Some(script) = &self.script {
            script(event, &mut turn);
        }
        turn.actions
    }
}

impl fmt::Debug for TcpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpServer").field("reachable", &self.is_reachable()).finish_non_exhaustive()
    }
}

impl TcpTurn {
    /// Waits before what follows.
    pub fn after(&mut self, delay: Duration) -> &mut Self {
        self.delay += delay;
        self
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: impl Into<Bytes>) {
        self.actions.push((self.delay, TcpAction::Send(bytes.into())));
    }

    /// Sends no more; bytes of the client may still come.
    pub fn finish(&mut self) {
        self.actions.push((self.delay, TcpAction::Finish));
    }

    /// Cuts the connection.
    pub fn reset(&mut self) {
        self.actions.push((self.delay, TcpAction::Reset));
    }
}

/// How a connection has ended for its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcpEnding {
    /// No more bytes come. A client cannot tell a proxy that has only finished from one that has closed.
    Finished,
    /// The connection was cut.
    Reset,
}

/// What a client waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcpWait {
    /// For nothing that takes time.
    Now,
    /// For so many bytes, or for the end.
    Bytes(usize),
    /// For the end.
    End,
}

/// What a client got since it last asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TcpRead {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The end behind them, if it has come.
    pub ending: Option<TcpEnding>,
}

/// A script that panicked (a failed assertion in a closure) must not hide the record from the test.
fn lock(seen: &Mutex<Vec<TcpSeen>>) -> MutexGuard<'_, Vec<TcpSeen>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
