//! TCP over real sockets: the test as the client of an Envoy and as the server behind it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::client::refused;
use super::stream::Stream;
use super::tls;
use crate::test::{Failure, TcpAction, TcpEnding, TcpEvent, TcpRead, TcpServer, TcpWait};

/// A pause between two actions of a server, so that Envoy sees them one by one.
const BREATH: Duration = Duration::from_millis(5);

/// A port below which no ordinary process listens, so nobody does.
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// One connection of a client.
#[derive(Debug)]
pub(super) struct Client {
    stream: Stream,
    received: Vec<u8>,
    ending: Option<TcpEnding>,
}

impl Client {
    /// Connects, and says by the PROXY protocol where it wants to come from.
    pub(super) fn open(
        to: SocketAddr,
        source: SocketAddr,
        tls: Option<&tls::Client>,
        patience: Duration,
    ) -> Result<Self, Failure> {
        let stream = Stream::open(to, greeting(source).as_bytes(), tls, patience).map_err(refused)?;
        Ok(Self { stream, received: Vec::new(), ending: None })
    }

    /// Sends bytes; a proxy may have closed before it has read everything, so a failed write is no failure.
    pub(super) fn send(&mut self, data: &[u8], end: bool) {
        let _closed_before = self.stream.write_all(data);
        if end {
            let _closed_before = self.stream.finish();
        }
        thread::sleep(BREATH);
    }

    /// Cuts the connection: the peer gets a reset in place of an end.
    pub(super) fn reset(self) {
        let _gone = SockRef::from(self.stream.socket()).set_linger(Some(Duration::ZERO));
    }

    /// Reads until there is what the test waits for; `moment` is how long that which is due now may take.
    pub(super) fn read(&mut self, until: TcpWait, moment: Duration, patience: Duration) -> Result<TcpRead, Failure> {
        let wait = if until == TcpWait::Now { moment } else { patience };
        let deadline = Instant::now() + wait;
        while self.ending.is_none() {
            if matches!(until, TcpWait::Bytes(count) if self.received.len() >= count) {
                break;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                if until == TcpWait::Now {
                    break;
                }
                return Err(Failure::Hung(patience));
            }
            if self.stream.socket().set_read_timeout(Some(left)).is_err() {
                self.ending = Some(TcpEnding::Reset);
                break;
            }
            let mut bytes = [0; 16 * 1024];
            match self.stream.read(&mut bytes) {
                Ok(0) => self.ending = Some(TcpEnding::Finished),
                Ok(length) => self.received.extend_from_slice(bytes.get(..length).unwrap_or_default()),
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                }
                Err(_) => self.ending = Some(TcpEnding::Reset),
            }
        }
        Ok(TcpRead { bytes: std::mem::take(&mut self.received), ending: self.ending })
    }
}

/// The first line of the PROXY protocol, version 1.
fn greeting(source: SocketAddr) -> String {
    let (family, here) = match source {
        SocketAddr::V4(_) => ("TCP4", "127.0.0.1"),
        SocketAddr::V6(_) => ("TCP6", "::1"),
    };
    format!("PROXY {family} {} {here} {} 10000\r\n", source.ip(), source.port())
}

/// The server behind Envoy; stops when dropped.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    shared: Option<Arc<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    connections: Mutex<Vec<Weak<TcpStream>>>,
}

impl Server {
    /// Listens on a free port of the loopback; a server that is unreachable gets an address only.
    pub(super) fn start(server: TcpServer) -> io::Result<Self> {
        if !server.is_reachable() {
            return Ok(Self { address: NOBODY, shared: None });
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let state = Arc::clone(&shared);
        thread::Builder::new().name("tcp upstream".to_owned()).spawn(move || accept(&listener, &server, &state))?;
        Ok(Self { address, shared: Some(shared) })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(shared) = &self.shared else { return };
        shared.stopped.store(true, Ordering::Release);
        // The thread that accepts sees the flag once somebody connects.
        let _woken = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        let connections = shared.connections.lock().unwrap_or_else(PoisonError::into_inner);
        for connection in connections.iter().filter_map(Weak::upgrade) {
            let _gone = connection.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &TcpListener, server: &TcpServer, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::Acquire) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let stream = Arc::new(stream);
        shared.connections.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&stream));
        let server = server.clone();
        let _spawned = thread::Builder::new().name("tcp upstream".to_owned()).spawn(move || serve(&stream, &server));
    }
}

/// Serves one connection: this thread reads, another one does what the script says, each at its time.
fn serve(stream: &Arc<TcpStream>, server: &TcpServer) {
    let _unimportant = stream.set_nodelay(true);
    let (send, actions) = mpsc::channel();
    let writer = Arc::clone(stream);
    let acting = thread::Builder::new().name("tcp upstream".to_owned()).spawn(move || act(&writer, &actions));
    if acting.is_err() {
        return;
    }
    let place = server.accepted();
    let tell = |event: TcpEvent<'_>| {
        let now = Instant::now();
        for (delay, action) in server.happened(place, event) {
            let _over = send.send((now + delay, action));
        }
    };
    tell(TcpEvent::Connected);
    let mut bytes = [0; 16 * 1024];
    loop {
        match (&**stream).read(&mut bytes) {
            Ok(0) => {
                tell(TcpEvent::Finished);
                return;
            }
            Ok(length) => tell(TcpEvent::Data(bytes.get(..length).unwrap_or_default())),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

fn act(mut stream: &TcpStream, actions: &Receiver<(Instant, TcpAction)>) {
    while let Ok((when, action)) = actions.recv() {
        thread::sleep(when.saturating_duration_since(Instant::now()));
        match action {
            TcpAction::Send(bytes) => {
                if stream.write_all(&bytes).is_err() {
                    return;
                }
            }
            TcpAction::Finish => {
                let _closed_before = stream.shutdown(Shutdown::Write);
            }
            TcpAction::Reset => {
                let socket = SockRef::from(stream);
                // A reset goes out when the last handle of the socket is closed; this ends the one that reads.
                let _gone = socket.set_linger(Some(Duration::ZERO));
                let _gone = stream.shutdown(Shutdown::Read);
                return;
            }
        }
        thread::sleep(BREATH);
    }
}
