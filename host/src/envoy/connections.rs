//! The open connections of a test's server, and whether it is time to stop.

use std::io::{self, Read};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// How often a server that waits looks whether it should stop.
const GLANCE: Duration = Duration::from_millis(20);

/// What the threads of one server share.
#[derive(Debug, Default)]
pub(super) struct Connections {
    stopped: AtomicBool,
    connections: Mutex<Vec<Weak<TcpStream>>>,
}

impl Connections {
    /// Says that it is time to stop.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Cuts every connection that is open.
    pub(super) fn cut(&self) {
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        for connection in connections.iter().filter_map(Weak::upgrade) {
            let _gone = connection.shutdown(Shutdown::Both);
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub(super) fn remember(&self, connection: &Arc<TcpStream>) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if connections.len() == connections.capacity() {
            connections.retain(|known| known.strong_count() > 0);
        }
        connections.push(Arc::downgrade(connection));
    }

    /// Sleeps unless it is time to stop.
    pub(super) fn sleep(&self, time: Duration) {
        let end = Instant::now() + time;
        while !self.is_stopped() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            thread::sleep(left.min(GLANCE));
        }
    }
}

/// Reads, again if a signal came between.
pub(super) fn read(mut connection: &TcpStream, bytes: &mut [u8]) -> io::Result<usize> {
    loop {
        match connection.read(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
