//! The proxy's own thread: takes connections and deals them out to the workers, and serves the admin port.
//!
//! One socket accepts for all workers, and each connection goes to the worker that has the fewest. Sockets of their
//! own (`SO_REUSEPORT`) would let the kernel choose by a hash of the addresses, which leaves workers idle when a few
//! clients keep their connections, and would let a second proxy take the same port unnoticed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::admin;
use crate::board::{Board, Phase};
use crate::error::StartError;
use crate::worker_thread::Order;

/// Connections that the system keeps until they are accepted.
const BACKLOG: u32 = 4096;

/// An address that is taken, but not listened on yet.
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

/// The thread, and how to end it.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    pub(crate) admin_address: Option<SocketAddr>,
    phase: watch::Sender<Phase>,
    thread: Option<JoinHandle<()>>,
}

impl Front {
    /// Begins to listen, and to serve.
    pub(crate) fn start(listener: Bound, port: Option<Bound>, board: Board) -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
        let (listener, address) = {
            let _inside = runtime.enter();
            listener.listen()?
        };
        let port = match port {
            Some(port) => {
                let _inside = runtime.enter();
                Some(port.listen()?)
            }
            None => None,
        };
        let admin_address = port.as_ref().map(|(_, address)| *address);
        let (phase, phases) = watch::channel(Phase::Live);
        let thread = thread::Builder::new()
            .name("wasmplugin-front".to_owned())
            .spawn(move || serve(&runtime, listener, port.map(|(port, _)| port), board, phases))
            .map_err(StartError::Thread)?;
        Ok(Self { address, admin_address, phase, thread: Some(thread) })
    }

    pub(crate) fn enter(&self, phase: Phase) {
        // Nobody listens if the thread has ended.
        self.phase.send(phase).ok();
    }

    /// Ends everything.
    pub(crate) fn end(&mut self) {
        self.enter(Phase::Ended);
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

fn serve(
    runtime: &Runtime,
    listener: TcpListener,
    port: Option<TcpListener>,
    board: Board,
    mut phases: watch::Receiver<Phase>,
) {
    let board = Arc::new(board);
    runtime.block_on(async {
        if let Some(port) = port {
            tokio::spawn(admin::serve(port, Arc::clone(&board), phases.clone()));
        }
        let mut draining = phases.clone();
        tokio::select! {
            () = accept(&listener, &board) => {}
            // The sender lives as long as this thread is wanted.
            _ = draining.wait_for(|phase| *phase != Phase::Live) => {}
        }
        drop(listener);
        drop(phases.wait_for(|phase| *phase == Phase::Ended).await);
    });
}

async fn accept(listener: &TcpListener, board: &Board) {
    let mut number = 0;
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
        number += 1;
        let open: u64 = board.workers.iter().map(|worker| worker.in_hand()).sum();
        if open >= board.settings.max_connections as u64 {
            board.overflows.up();
            continue;
        }
        let worker = board.workers.iter().min_by_key(|worker| worker.in_hand());
        if let (Some(worker), Ok(socket)) = (worker, socket.into_std()) {
            worker.dealt.up();
            // Fails only if the worker has ended, and the proxy with it.
            worker.orders.send(Order::Serve(number, socket)).ok();
        }
    }
}

fn pause_after(error: &io::Error) -> Duration {
    match error.kind() {
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset => Duration::ZERO,
        _ => Duration::from_millis(100),
    }
}
