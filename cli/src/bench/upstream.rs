//! The server behind what is measured: it answers at once, and always the same.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result};

/// The end of a request's headers; requests have no bodies.
const END: &[u8] = b"\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 19\r\n\r\nhello from upstream";

/// A server in threads of this process, which end with it.
#[derive(Debug)]
pub(super) struct Upstream {
    address: SocketAddr,
}

impl Upstream {
    pub(super) fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("the upstream has no port to listen on")?;
        let address = listener.local_addr()?;
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                // A connection that breaks is the proxy's to notice.
                thread::spawn(move || drop(serve(socket)));
            }
        });
        Ok(Self { address })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

fn serve(mut socket: TcpStream) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let (mut bytes, mut seen) = ([0; 16 * 1024], 0);
    loop {
        let length = socket.read(&mut bytes)?;
        if length == 0 {
            return Ok(());
        }
        for byte in bytes.iter().take(length) {
            seen = match END.get(seen) {
                Some(next) if next == byte => seen + 1,
                _ => usize::from(*byte == b'\r'),
            };
            if seen == END.len() {
                socket.write_all(ANSWER)?;
                seen = 0;
            }
        }
    }
}
