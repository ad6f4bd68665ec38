//! A port for bytes: what a client sends goes to both proxies, and it gets what the embedded one sends.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep, timeout};

use super::streams::{Ending, Side, Streams};
use super::{PATIENCE, Pair};

/// How often something is looked at that cannot be waited for.
const GLANCE: Duration = Duration::from_millis(20);
/// How many bytes one proxy may be ahead of the other, before it is read no further.
const LEAD: usize = 16 << 20;

/// A listener in front of both proxies.
#[derive(Debug)]
pub(super) struct Line {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Line {
    /// Begins to listen; `judge` is told what differed on each connection that is over, in a thread of its own.
    pub(super) fn start(pair: &Pair, judge: impl Fn(Vec<String>) + Send + Sync + 'static) -> Result<Self> {
        let problem = || format!("the comparison cannot listen on {}", pair.listen);
        let listener = std::net::TcpListener::bind(pair.listen).with_context(problem)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let (sides, judge) = ([pair.embedded, pair.envoy], Arc::new(judge));
        let accept = async move {
            let Ok(listener) = TcpListener::from_std(listener) else { return };
            let mut connections = JoinSet::new();
            let all = async {
                while let Ok((mut client, _)) = listener.accept().await {
                    let judge = Arc::clone(&judge);
                    connections.spawn_local(async move {
                        let (found, ending) = compare(&mut client, sides).await;
                        // Before the client sees its end, and goes on to something else. A judge that is gone has no opinion.
                        let _judged = tokio::task::spawn_blocking(move || judge(found)).await;
                        if ending == Some(Ending::Reset) {
                            let _gone = client.set_zero_linger();
                        }
                    });
                    while connections.try_join_next().is_some() {}
                }
            };
            tokio::select! {
                () = all => {}
                // Also if the other end is dropped.
                _ = stopped => {}
            }
            // Those that clients keep open are left to their own.
            let judged = async { while connections.join_next().await.is_some() {} };
            let _all_judged = timeout(PATIENCE, judged).await;
        };
        let thread = thread::Builder::new().name("comparison".to_owned());
        let thread = thread.spawn(move || LocalSet::new().block_on(&runtime, accept))?;
        Ok(Self { address, stop, thread })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no further connections, and waits until those that have ended are judged.
    pub(super) fn finish(self) {
        // Whoever is gone has stopped already.
        let _stopping = self.stop.send(());
        let _panicked = self.thread.join();
    }
}

/// What the parts of one comparison share.
#[derive(Debug)]
struct State {
    streams: RefCell<Streams>,
    /// When bytes or an end have come last.
    active: Cell<Instant>,
    /// The client will send no more.
    client_ended: Cell<bool>,
}

impl State {
    fn touch(&self) {
        self.active.set(Instant::now());
    }

    fn ending(&self, side: Side) -> Option<Ending> {
        self.streams.borrow().ending(side)
    }

    /// Reads a proxy to its end; `to` gets what came.
    async fn read(&self, side: Side, mut from: ReadHalf<'_>, mut to: Option<WriteHalf<'_>>) {
        let other = if side == Side::Embedded { Side::Envoy } else { Side::Embedded };
        let mut bytes = vec![0; 16 * 1024];
        let ending = loop {
            while self.streams.borrow_mut().lead(side) > LEAD && self.ending(other).is_none() {
                sleep(GLANCE).await;
            }
            let read = from.read(&mut bytes).await;
            self.touch();
            match read {
                Ok(0) => break Ending::Closed,
                Ok(length) => {
                    let bytes = bytes.get(..length).unwrap_or_default();
                    self.streams.borrow_mut().came(side, bytes);
                    if let Some(to) = &mut to {
                        // A client that does not listen any more says so otherwise.
                        let _unheard = to.write_all(bytes).await;
                    }
                }
                Err(_) => break Ending::Reset,
            }
        };
        self.streams.borrow_mut().ended(side, ending);
    }

    /// Hands on what the client sends until it sends no more; an error if it has left.
    async fn send(&self, mut from: ReadHalf<'_>, mut to: [WriteHalf<'_>; 2]) -> io::Result<()> {
        let mut bytes = vec![0; 16 * 1024];
        loop {
            let length = from.read(&mut bytes).await?;
            self.touch();
            for to in &mut to {
                // A proxy may close before it has read everything; what it answers tells more.
                let _closed_before = match bytes.get(..length).filter(|bytes| !bytes.is_empty()) {
                    Some(bytes) => timeout(PATIENCE, to.write_all(bytes)).await.map(drop),
                    None => timeout(PATIENCE, to.shutdown()).await.map(drop),
                };
            }
            if length == 0 {
                self.client_ended.set(true);
                return Ok(());
            }
        }
    }

    /// Returns when nothing has come for so long that nothing will.
    async fn give_up(&self) {
        loop {
            sleep(GLANCE).await;
            let ended = [Side::Embedded, Side::Envoy].map(|side| self.ending(side).is_some());
            let waits = ended != [false; 2] || self.client_ended.get();
            if waits && self.active.get().elapsed() > PATIENCE {
                return;
            }
        }
    }
}

/// Serves one connection to its end; what differed, and how the embedded proxy has ended it.
async fn compare(client: &mut TcpStream, sides: [SocketAddr; 2]) -> (Vec<String>, Option<Ending>) {
    let failed = |problem: String| (vec![problem], Some(Ending::Reset));
    let [embedded, envoy] = sides.map(connect);
    let (mut embedded, mut envoy) = match tokio::join!(embedded, envoy) {
        (Ok(embedded), Ok(envoy)) => (embedded, envoy),
        (Err(_), Err(_)) => return (Vec::new(), Some(Ending::Reset)),
        (Err(error), Ok(_)) => return failed(format!("no connection to the embedded proxy: {error}")),
        (Ok(_), Err(error)) => return failed(format!("no connection to envoy: {error}")),
    };
    let state = Rc::new(State {
        streams: RefCell::default(),
        active: Cell::new(Instant::now()),
        client_ended: Cell::new(false),
    });
    let left = {
        let (from_client, to_client) = client.split();
        let (from_embedded, to_embedded) = embedded.split();
        let (from_envoy, to_envoy) = envoy.split();
        let both = async {
            tokio::join!(
                state.read(Side::Embedded, from_embedded, Some(to_client)),
                state.read(Side::Envoy, from_envoy, None)
            )
        };
        let sent = async {
            state.send(from_client, [to_embedded, to_envoy]).await?;
            std::future::pending::<io::Result<()>>().await
        };
        tokio::select! {
            _ = both => false,
            () = state.give_up() => false,
            _left = sent => true,
        }
    };
    if left {
        // What was under way cannot be compared any more.
        for proxy in [&embedded, &envoy] {
            let _gone = proxy.set_zero_linger();
        }
        return (Vec::new(), None);
    }
    let streams = state.streams.borrow();
    (streams.differences(), streams.ending(Side::Embedded))
}

async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(to).await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}
