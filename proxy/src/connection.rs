//! Serves one client's connection, in whichever protocol the client speaks.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use hyper::Version;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::client::Client;
use crate::exchange::Exchange;
use crate::listener::Listener;
use crate::refusal::Refusal;
use crate::request_head::READ;
use crate::settings::Serves;
use crate::socket::{ClientSocket, Plug};
use crate::stats::ListenerStats;
use crate::tasks::Local;
use crate::thread_state::ThreadState;
use crate::{service, tcp};

/// What an HTTP/2 client says first. No HTTP/1 request begins like it.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a TLS client says first: a record of the type handshake.
const HANDSHAKE: u8 = 22;

/// Streams that an HTTP/2 client may have open at the same time.
const STREAMS: u32 = 1024;

/// Serves a connection in a task of its own.
pub(crate) fn start(thread: &Rc<ThreadState>, listener: &Rc<Listener>, id: u64, socket: TcpStream) {
    let client = Rc::new(Client::new(id, socket.peer_addr().ok(), socket.local_addr().ok()));
    let presence = Presence::new(thread, listener, &client);
    let listener = Rc::clone(listener);
    let task = tokio::task::spawn_local(async move {
        let Presence { thread, client, stats } = &presence;
        match secured(&listener, client, socket).await {
            Ok(plug) => {
                // Not held any longer: a connection must not keep a chain that was replaced.
                let http = matches!(listener.chain().serves, Serves::Http(_));
                if http {
                    serve(thread, &listener, client, stats, plug).await;
                } else {
                    tcp::serve(listener.chain(), Rc::clone(client), plug).await;
                }
            }
            Err(error) => {
                stats.handshake_errors.up();
                log::debug!("connection {}: no TLS: {error}", client.id);
            }
        }
    });
    *client.task.borrow_mut() = Some(task.abort_handle());
}

/// A connection counts as long as this lives, also when its task is cut short.
struct Presence {
    thread: Rc<ThreadState>,
    client: Rc<Client>,
    stats: Arc<ListenerStats>,
}

impl Presence {
    fn new(thread: &Rc<ThreadState>, listener: &Listener, client: &Rc<Client>) -> Self {
        let stats = Arc::clone(&listener.chain().stats);
        stats.connections.up();
        stats.connections_active.up();
        thread.stats.connections.up();
        thread.stats.connections_active.up();
        thread.clients.borrow_mut().insert(client.id, Rc::clone(client));
        *client.stats.borrow_mut() = Some(Arc::clone(&stats));
        Self { thread: Rc::clone(thread), client: Rc::clone(client), stats }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.thread.clients.borrow_mut().remove(&self.client.id);
        self.stats.connections_active.down();
        self.thread.stats.connections_active.down();
        self.thread.left.notify_waiters();
    }
}

/// The connection behind the TLS that its listener wants.
async fn secured(listener: &Listener, client: &Client, socket: TcpStream) -> io::Result<Plug> {
    let Some(tls) = listener.tls() else { return Ok(Plug::Plain(socket)) };
    // A client that never says anything is given up as one that does not finish its headers.
    client.head_begins();
    if tls.permissive {
        let mut first = [0];
        if socket.peek(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if first != [HANDSHAKE] {
            return Ok(Plug::Plain(socket));
        }
    }
    let socket = TlsAcceptor::from(Arc::clone(&tls.config)).accept(socket).await?;
    client.head_since.set(None);
    *client.tls.borrow_mut() = Some(tls.facts(socket.get_ref().1));
    Ok(Plug::Tls(Box::new(socket.into())))
}

async fn serve(
    thread: &Rc<ThreadState>,
    listener: &Rc<Listener>,
    client: &Rc<Client>,
    stats: &ListenerStats,
    mut plug: Plug,
) {
    let mut first = Vec::with_capacity(2048);
    let Ok(http2) = speaks_http2(thread, client, &mut plug, &mut first).await else { return };
    let socket = TokioIo::new(ClientSocket::new(plug, first, Rc::clone(client)));
    let service = {
        let (listener, client) = (Rc::clone(listener), Rc::clone(client));
        service_fn(move |request| service::serve(Rc::clone(&listener), Rc::clone(&client), request))
    };
    let header_size = thread.settings.max_header_size;
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
            .max_header_list_size(u32::try_from(header_size).unwrap_or(u32::MAX));
        let mut connection = std::pin::pin!(builder.serve_connection(socket, service));
        tokio::select! {
            biased;
            result = connection.as_mut() => result,
            () = drained(thread) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    } else {
        let mut builder = http1::Builder::new();
        let read = header_size * READ;
        builder.auto_date_header(false).max_header_size(read).max_buf_size(read.max(16 * 1024) + 4096);
        let mut connection = std::pin::pin!(builder.serve_connection(socket, service));
        tokio::select! {
            biased;
            result = connection.as_mut() => result,
            () = drained(thread) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    if let Err(error) = result {
        if error.is_parse() {
            stats.protocol_errors.up();
            // hyper has answered already; plugins learn of it as of any other refusal.
            let refusal = if error.is_parse_too_large() { Refusal::LARGE } else { Refusal::BAD };
            let facts = client.facts(if http2 { Version::HTTP_2 } else { Version::HTTP_11 });
            let mut exchange = Exchange::open(listener.chain(), Rc::clone(client), facts, !http2);
            exchange.refuse(None, refusal.reply());
            exchange.finish();
        }
        log::debug!("connection {}: {error}", client.id);
    }
}

/// Waits until no new requests are to be served.
async fn drained(thread: &ThreadState) {
    let notified = thread.drain.notified();
    if !thread.draining.get() {
        notified.await;
    }
}

/// Reads until it is clear which protocol the client speaks.
async fn speaks_http2(thread: &ThreadState, client: &Client, plug: &mut Plug, first: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        let drained = drained(thread);
        let read = tokio::select! {
            biased;
            read = plug.read_buf(first) => read?,
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
