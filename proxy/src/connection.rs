//! Serves one client's connection, in whichever protocol the client speaks.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::client::Client;
use crate::hub::Hub;
use crate::service;
use crate::tasks::Local;

/// What an HTTP/2 client says first. No HTTP/1 request begins like it.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Streams that an HTTP/2 client may have open at the same time.
const STREAMS: u32 = 1024;

/// Serves a connection in a task of its own.
pub(crate) fn start(hub: &Rc<Hub>, id: u64, socket: TcpStream) {
    let client = Rc::new(Client::new(id, socket.peer_addr().ok(), socket.local_addr().ok()));
    hub.stats.connections.up();
    hub.stats.connections_active.up();
    hub.clients.borrow_mut().insert(id, Rc::clone(&client));
    let presence = Presence { hub: Rc::clone(hub), client: Rc::clone(&client) };
    let task = tokio::task::spawn_local(async move {
        let presence = presence;
        serve(&presence.hub, &presence.client, socket).await;
    });
    *client.task.borrow_mut() = Some(task.abort_handle());
}

/// A connection counts as long as this lives, also when its task is cut short.
struct Presence {
    hub: Rc<Hub>,
    client: Rc<Client>,
}

impl Drop for Presence {
    fn drop(&mut self) {
        let hub = &self.hub;
        hub.clients.borrow_mut().remove(&self.client.id);
        hub.stats.connections_active.down();
        hub.left.notify_waiters();
    }
}

async fn serve(hub: &Rc<Hub>, client: &Rc<Client>, mut stream: TcpStream) {
    let mut first = Vec::with_capacity(2048);
    let Ok(http2) = speaks_http2(hub, client, &mut stream, &mut first).await else { return };
    let socket = TokioIo::new(Socket { stream, first, read: 0, client: Rc::clone(client) });
    let service = {
        let (hub, client) = (Rc::clone(hub), Rc::clone(client));
        service_fn(move |request| service::serve(Rc::clone(&hub), Rc::clone(&client), request))
    };
    let result = if http2 {
        // An idle HTTP/2 connection has traffic of its own.
        client.unwatch();
        let mut builder = http2::Builder::new(Local);
        builder
            .timer(TokioTimer::new())
            .auto_date_header(false)
            .max_concurrent_streams(STREAMS)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .max_header_list_size(u32::try_from(hub.settings.max_header_size).unwrap_or(u32::MAX));
        let mut connection = std::pin::pin!(builder.serve_connection(socket, service));
        tokio::select! {
            biased;
            result = connection.as_mut() => result,
            () = drained(hub) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    } else {
        let mut builder = http1::Builder::new();
        builder
            .auto_date_header(false)
            .max_header_size(hub.settings.max_header_size)
            .max_buf_size(hub.settings.max_header_size.max(16 * 1024) + 4096);
        let mut connection = std::pin::pin!(builder.serve_connection(socket, service));
        tokio::select! {
            biased;
            result = connection.as_mut() => result,
            () = drained(hub) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    if let Err(error) = result {
        if error.is_parse() {
            hub.stats.protocol_errors.up();
        }
        log::debug!("connection {}: {error}", client.id);
    }
}

/// Waits until no new requests are to be served.
async fn drained(hub: &Hub) {
    let notified = hub.drain.notified();
    if !hub.draining.get() {
        notified.await;
    }
}

/// Reads until it is clear which protocol the client speaks.
async fn speaks_http2(hub: &Hub, client: &Client, stream: &mut TcpStream, first: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        let drained = drained(hub);
        let read = tokio::select! {
            biased;
            read = stream.read_buf(first) => read?,
            () = drained => 0,
        };
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        client.head_begins();
        let common = first.iter().zip(PREFACE).take_while(|(one, other)| one == other).count();
        if common == PREFACE.len() {
            return Ok(true);
        }
        if common < first.len() {
            return Ok(false);
        }
    }
}

/// The client's socket: gives again what was read to find out the protocol, and notices when headers begin.
struct Socket {
    stream: TcpStream,
    first: Vec<u8>,
    read: usize,
    client: Rc<Client>,
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        if let Some(rest) = socket.first.get(socket.read..).filter(|rest| !rest.is_empty()) {
            let take = rest.len().min(buf.remaining());
            buf.put_slice(rest.get(..take).unwrap_or_default());
            socket.read += take;
            if socket.read == socket.first.len() {
                socket.first = Vec::new();
                socket.read = 0;
            }
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let result = Pin::new(&mut socket.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            socket.client.bytes_came();
        }
        result
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}
