//! One TCP connection with the connection behind it: bytes between two sockets, through the network filters.
//!
//! Each direction has a reader, which stops while the filters or the other socket hold too much, and a writer.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use hyper::Version;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use wasmplugin_host::worker::{TcpId, Worker};

use crate::chain::Chain;
use crate::client::Client;
use crate::settings::Serves;
use crate::socket::Plug;
use crate::tcp_lane::{Stream, TcpLane};

/// How much is read at once.
const READ: usize = 16 * 1024;

/// Serves a client until one side or a filter has ended the connection.
pub(crate) async fn serve(chain: Rc<Chain>, client: Rc<Client>, plug: Plug) {
    let Serves::Tcp { cluster } = &chain.serves else { return };
    client.request_begins();
    let lane = Rc::new(TcpLane::new(Rc::clone(&client), Arc::clone(&chain.stats)));
    let connection = client.facts(Version::HTTP_11);
    let hub = &chain.hub;
    let id = hub.note(|worker| worker.open_tcp(chain.id, connection));
    hub.tcp.borrow_mut().insert(id, Rc::clone(&lane));
    let call = Call { chain: Rc::clone(&chain), lane, id };
    // What the filters have said to the new connection, now that there is somebody to do it.
    hub.tell(|_| ());
    let (from_client, to_client) = tokio::io::split(plug);
    let both = async {
        tokio::join!(call.read(from_client, &call.lane.up, Side::CLIENT), call.upstream(cluster));
        // The client is still written to.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = call.write(to_client, &call.lane.down, Side::CLIENT) => {}
        () = both => {}
    }
}

/// What is told to the worker about one of the two peers.
struct Side {
    came: fn(&mut Worker, TcpId, Bytes, bool),
    gone: fn(&mut Worker, TcpId),
}

impl Side {
    const CLIENT: Self = Self { came: Worker::tcp_from_downstream, gone: Worker::tcp_downstream_gone };
    const UPSTREAM: Self = Self { came: Worker::tcp_from_upstream, gone: Worker::tcp_upstream_gone };
}

/// A connection under way; dropped, also when its task is cut short, it leaves nothing behind.
struct Call {
    chain: Rc<Chain>,
    lane: Rc<TcpLane>,
    id: TcpId,
}

impl Call {
    async fn upstream(&self, cluster: &str) {
        self.lane.wanted().await;
        let opened = match self.chain.hub.thread.cluster(cluster) {
            Some(cluster) => cluster.open_tcp().await.ok().map(|(socket, host)| (socket, host, cluster.facts())),
            None => None,
        };
        if let Some((socket, host, cluster)) = opened {
            self.chain.hub.tell(|worker| {
                worker.tcp_to(self.id, Arc::new(cluster), host);
                worker.tcp_connected(self.id);
            });
            let (from, to) = tokio::io::split(socket);
            tokio::join!(
                self.read(from, &self.lane.down, Side::UPSTREAM),
                self.write(to, &self.lane.up, Side::UPSTREAM)
            );
        }
        // It was never there, or both directions have come to their end.
        self.chain.hub.tell(|worker| worker.tcp_upstream_gone(self.id));
    }

    /// Reads one socket, no faster than what it says is taken.
    async fn read(&self, mut socket: impl AsyncRead + Unpin, other: &Stream, side: Side) {
        let mut buffer = BytesMut::new();
        loop {
            let limit = self.chain.hub.thread.settings.buffer_limit;
            if !other.room(|| self.chain.hub.ask(|worker| worker.tcp_backlog(self.id)) > limit).await {
                return;
            }
            buffer.reserve(READ);
            let read = socket.read_buf(&mut buffer).await;
            self.lane.active.set(Instant::now());
            match read {
                Ok(0) => {
                    self.chain.hub.tell(|worker| (side.came)(worker, self.id, Bytes::new(), true));
                    return;
                }
                Ok(_) => self.chain.hub.tell(|worker| (side.came)(worker, self.id, buffer.split().freeze(), false)),
                Err(_) => {
                    self.chain.hub.tell(|worker| (side.gone)(worker, self.id));
                    return;
                }
            }
            // What came in this direction may have released what was held in the other.
            self.lane.up.look_again();
            self.lane.down.look_again();
        }
    }

    /// Writes to one socket what the filters let pass.
    async fn write(&self, mut socket: impl AsyncWrite + Unpin, own: &Stream, side: Side) {
        while let Some((data, end)) = own.next().await {
            let written = async {
                socket.write_all(&data).await?;
                socket.flush().await?;
                if end { socket.shutdown().await } else { Ok(()) }
            };
            let written = written.await;
            self.lane.active.set(Instant::now());
            if written.is_err() {
                self.chain.hub.tell(|worker| (side.gone)(worker, self.id));
            }
        }
        // The connection is over; a peer that is gone does not mind.
        socket.shutdown().await.ok();
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // Nothing happens if the worker has ended it.
        self.chain.hub.tell(|worker| worker.tcp_upstream_gone(self.id));
        self.chain.hub.tcp.borrow_mut().remove(&self.id);
    }
}
