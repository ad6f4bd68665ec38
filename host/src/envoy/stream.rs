//! A client's connection to an Envoy: plain, or with TLS in it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use rustls::{ClientConnection, StreamOwned};

use super::tls;

/// Reads and writes what is inside.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// Connects, says the preface as it is, and begins TLS if a client of it is given.
    pub(super) fn open(
        to: SocketAddr,
        preface: &[u8],
        tls: Option<&tls::Client>,
        patience: Duration,
    ) -> io::Result<Self> {
        let mut socket = TcpStream::connect_timeout(&to, patience)?;
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(patience))?;
        // A handshake reads while something is written.
        socket.set_read_timeout(Some(patience))?;
        socket.write_all(preface)?;
        Ok(match tls {
            None => Self::Plain(socket),
            Some(client) => {
                let connection = client.connect().map_err(io::Error::other)?;
                Self::Tls(Box::new(StreamOwned::new(connection, socket)))
            }
        })
    }

    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.sock,
        }
    }

    /// Says that no more will be sent.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.shutdown(Shutdown::Write),
            Self::Tls(stream) => {
                stream.conn.send_close_notify();
                stream.flush()
            }
        }
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(bytes),
            Self::Tls(stream) => match stream.read(bytes) {
                // The peer closed without saying so before.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
                outcome => outcome,
            },
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
