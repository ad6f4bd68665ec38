//! Bytes of the table: its client, and its upstream.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

/// What the upstream says first.
pub(crate) const GREETING: &str = "hi!";

/// A connection of a client, and what it is to see of both engines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Talk {
    /// What it sends, if anything; then it sends no more.
    pub(crate) says: &'static str,
    /// What it gets until the end.
    pub(crate) hears: &'static str,
}

impl Talk {
    /// Talks over a connection of its own; what came back in place of what is expected.
    pub(crate) fn hold(&self, to: &str) -> Result<(), String> {
        let mut client = TcpStream::connect(to).unwrap();
        // The proxy may have closed already.
        let _closed_before = client.write_all(self.says.as_bytes()).and_then(|()| client.shutdown(Shutdown::Write));
        let mut heard = Vec::new();
        // A reset is an end as well.
        let _ended = client.read_to_end(&mut heard);
        let heard = String::from_utf8(heard).unwrap();
        if heard == self.hears { Ok(()) } else { Err(heard) }
    }
}

/// Listens as long as the test lasts: greets, says again what it is told, and resets the connection when it is told `reset`.
pub(crate) fn upstream() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            thread::spawn(move || serve(&client.unwrap()));
        }
    });
    address
}

fn serve(mut client: &TcpStream) {
    client.set_nodelay(true).unwrap();
    for byte in GREETING.as_bytes() {
        if client.write_all(&[*byte]).is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    let mut bytes = [0; 1024];
    while let Ok(length @ 1..) = client.read(&mut bytes) {
        let said = bytes.get(..length).unwrap();
        if said.starts_with(b"reset") {
            SockRef::from(client).set_linger(Some(Duration::ZERO)).unwrap();
            return;
        }
        if client.write_all(said).is_err() {
            return;
        }
    }
}
