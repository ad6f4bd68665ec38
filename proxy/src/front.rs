//! The proxy's own thread: takes connections and deals them out to the workers, and serves the admin port.
//!
//! One socket accepts for all workers, and each connection goes to the worker that has the fewest. Sockets of their
//! own (`SO_REUSEPORT`) would let the kernel choose by a hash of the addresses, which leaves workers idle when a few
//! clients keep their connections, and would let a second proxy take the same port unnoticed.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

use crate::admin;
use crate::board::{Board, Desk, Phase};
use crate::error::StartError;
use crate::worker_thread;

/// Connections that the system keeps until they are accepted.
const BACKLOG: u32 = 4096;

/// An address that is taken, but not listened on yet.
#[derive(Debug)]
pub(crate) struct Bound {
    socket: TcpSocket,
    what: &'static str,
    address: SocketAddr,
}

impl Bound {
    pub(crate) fn new(what: &'static str, address: SocketAddr) -> Result<Self, StartError> {
        let bind = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(socket)
        };
        match bind() {
            Ok(socket) => Ok(Self { socket, what, address }),
            Err(source) => Err(StartError::Listen { what, address, source }),
        }
    }

    fn listen(self) -> Result<(TcpListener, SocketAddr), StartError> {
        let Self { socket, what, address } = self;
        let listen = || {
            let listener = socket.listen(BACKLOG)?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        listen().map_err(|source| StartError::Listen { what, address, source })
    }
}

/// What the front's thread can be told.
pub(crate) enum Order {
    /// Take connections for that listener as well.
    Listen(Arc<str>, Bound, mpsc::Sender<Result<SocketAddr, StartError>>),
    /// Take none for it any more.
    Forget(Arc<str>),
}

/// The thread, and how to end it.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) admin_address: Option<SocketAddr>,
    board: Arc<Board>,
    orders: UnboundedSender<Order>,
    thread: Option<JoinHandle<()>>,
}

impl Front {
    /// Begins to serve the admin port; listeners come one by one.
    pub(crate) fn start(port: Option<Bound>, board: &Arc<Board>) -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
        let port = match port {
            Some(port) => {
                let _inside = runtime.enter();
                Some(port.listen()?)
            }
            None => None,
        };
        let admin_address = port.as_ref().map(|(_, address)| *address);
        let (orders, inbox) = unbounded_channel();
        let thread = {
            let board = Arc::clone(board);
            thread::Builder::new()
                .name("wasmplugin-front".to_owned())
                .spawn(move || serve(&runtime, inbox, port.map(|(port, _)| port), &board))
                .map_err(StartError::Thread)?
        };
        Ok(Self { admin_address, board: Arc::clone(board), orders, thread: Some(thread) })
    }

    /// Begins to take connections; tells where.
    pub(crate) fn listen(&self, listener: &str, bound: Bound) -> Result<SocketAddr, StartError> {
        let (answer, answers) = mpsc::channel();
        let ended = || StartError::Thread(io::Error::other("it has ended"));
        self.orders.send(Order::Listen(listener.into(), bound, answer)).map_err(|_| ended())?;
        let address = answers.recv().map_err(|_| ended())??;
        self.board.set_address(listener, Some(address));
        Ok(address)
    }

    /// Takes no further connections for that listener.
    pub(crate) fn forget(&self, listener: &str) {
        // The thread has none of them if it has ended.
        self.orders.send(Order::Forget(listener.into())).ok();
        self.board.set_address(listener, None);
    }

    /// Ends everything.
    pub(crate) fn end(&mut self) {
        self.board.enter(Phase::Ended);
        if let Some(thread) = self.thread.take() {
            // A panic has been printed where it happened.
            thread.join().ok();
        }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.end();
    }
}

fn serve(runtime: &Runtime, mut orders: UnboundedReceiver<Order>, port: Option<TcpListener>, board: &Arc<Board>) {
    let mut phases = board.phase.subscribe();
    runtime.block_on(async {
        if let Some(port) = port {
            tokio::spawn(admin::serve(port, Arc::clone(board), phases.clone()));
        }
        let mut draining = phases.clone();
        tokio::select! {
            () = take_connections(&mut orders, board) => {}
            // The sender lives as long as this thread is wanted.
            _ = draining.wait_for(|phase| *phase != Phase::Live) => {}
        }
        drop(phases.wait_for(|phase| *phase == Phase::Ended).await);
    });
}

/// Listens on what it is told to; dropped, it listens on nothing.
async fn take_connections(orders: &mut UnboundedReceiver<Order>, board: &Arc<Board>) {
    let mut tasks = JoinSet::new();
    let mut listeners: HashMap<Arc<str>, AbortHandle> = HashMap::new();
    while let Some(order) = orders.recv().await {
        match order {
            Order::Listen(name, bound, answer) => {
                let listened = bound.listen().map(|(listener, address)| {
                    let task = tasks.spawn(accept(listener, Arc::clone(&name), Arc::clone(board)));
                    listeners.insert(name, task);
                    address
                });
                // Whoever asked waits for the answer.
                answer.send(listened).ok();
            }
            Order::Forget(name) => {
                if let Some(task) = listeners.remove(&name) {
                    task.abort();
                }
            }
        }
    }
    std::future::pending().await
}

async fn accept(listener: TcpListener, name: Arc<str>, board: Arc<Board>) {
    let limit = board.settings().max_connections as u64;
    loop {
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                // No descriptors are left, most of the time: some become free.
                log::warn!("a connection cannot be accepted: {error}");
                sleep(pause_after(&error)).await;
                continue;
            }
        };
        let open: u64 = board.workers.iter().map(Desk::in_hand).sum();
        if open >= limit {
            board.overflows.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let worker = board.workers.iter().min_by_key(|worker| worker.in_hand());
        if let (Some(worker), Ok(socket)) = (worker, socket.into_std()) {
            worker.dealt.up();
            // Fails only if the worker has ended, and the proxy with it.
            worker.orders.send(worker_thread::Order::Serve(board.next_connection(), Arc::clone(&name), socket)).ok();
        }
    }
}

fn pause_after(error: &io::Error) -> Duration {
    match error.kind() {
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset => Duration::ZERO,
        _ => Duration::from_millis(100),
    }
}
