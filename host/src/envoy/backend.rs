//! The test as upstream and callout clusters: servers on loopback that answer as the scripts say.

use std::fmt;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::codec::Part;
use super::connections::{Connections, read};
use super::grpc_backend;
use super::http1::{self, Reader, Side};
use super::http2::PREFACE;
use crate::test::{Answer, Arrival, Cluster, Ending, Headers};

/// Enough for scripts that parse JSON in a debug build; only what is touched costs memory.
const STACK: usize = 512 * 1024;

/// A pause between two pieces of a body, so that they do not arrive as one.
const BREATH: Duration = Duration::from_millis(3);

/// A pause before a connection is cut, so that Envoy has passed on what came before.
const LAST_BREATH: Duration = Duration::from_millis(50);

/// A port below which no ordinary process listens, so nobody does.
const NOBODY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// How often a client is looked at that has begun with the first bytes of HTTP/2, and may go on otherwise.
const GLANCE: Duration = Duration::from_millis(1);

/// The server of one cluster; stops when dropped.
#[derive(Debug)]
pub struct Backend {
    address: SocketAddr,
    shared: Option<Arc<Connections>>,
}

/// Who serves connections that begin with HTTP/2.
#[derive(Clone)]
struct Http2(Arc<dyn Fn(TcpStream) + Send + Sync>);

impl fmt::Debug for Http2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http2")
    }
}

impl Backend {
    /// Listens on a free port of the loopback; a cluster that is unreachable gets an address, and no server.
    pub fn start(cluster: Cluster) -> io::Result<Self> {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), cluster)
    }

    /// As [`start`](Self::start), at that address.
    pub fn start_at(address: SocketAddr, cluster: Cluster) -> io::Result<Self> {
        Self::listen(address, cluster, None)
    }

    /// As [`start_at`](Self::start_at), with somebody else for the connections that begin with HTTP/2: called in a thread of each,
    /// until it has ended.
    pub fn start_beside(
        address: SocketAddr,
        cluster: Cluster,
        http2: impl Fn(TcpStream) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Self::listen(address, cluster, Some(Http2(Arc::new(http2))))
    }

    fn listen(address: SocketAddr, cluster: Cluster, http2: Option<Http2>) -> io::Result<Self> {
        if !cluster.is_reachable() {
            return Ok(Self { address: NOBODY, shared: None });
        }
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Connections::default());
        let state = Arc::clone(&shared);
        thread::Builder::new()
            .name(format!("cluster {}", cluster.name()))
            .stack_size(STACK)
            .spawn(move || accept(&listener, &cluster, http2.as_ref(), &state))?;
        Ok(Self { address, shared: Some(shared) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let Some(shared) = &self.shared else { return };
        shared.stop();
        // The thread that accepts sees the flag once somebody connects.
        let _woken = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        shared.cut();
    }
}

fn accept(listener: &TcpListener, cluster: &Cluster, http2: Option<&Http2>, shared: &Arc<Connections>) {
    for connection in listener.incoming() {
        if shared.is_stopped() {
            return;
        }
        let Ok(connection) = connection else { continue };
        let connection = Arc::new(connection);
        shared.remember(&connection);
        let (cluster, http2, state) = (cluster.clone(), http2.cloned(), Arc::clone(shared));
        // Without a thread the connection is dropped, which Envoy reports as a reset.
        let _spawned =
            thread::Builder::new().name(format!("cluster {}", cluster.name())).stack_size(STACK).spawn(move || {
                match http2 {
                    _ if cluster.speaks_grpc() => grpc_backend::serve(&connection, &cluster, &state),
                    Some(http2) if begins_with_http2(&connection) => {
                        // Without a second handle the connection ends here.
                        if let Ok(own) = connection.try_clone() {
                            (http2.0)(own);
                        }
                    }
                    _ => serve(&connection, &cluster, &state),
                }
            });
    }
}

/// Waits until the first bytes tell the protocol.
fn begins_with_http2(connection: &TcpStream) -> bool {
    // No method of HTTP/1 begins like it.
    let mut first = [0; 4];
    while let Ok(length @ 1..) = connection.peek(&mut first) {
        if first.iter().zip(PREFACE).take(length).any(|(one, other)| one != other) {
            return false;
        }
        if length == first.len() {
            return true;
        }
        thread::sleep(GLANCE);
    }
    false
}

/// Serves a connection until either side closes it; whatever goes wrong ends it.
fn serve(connection: &TcpStream, cluster: &Cluster, shared: &Connections) {
    let _unimportant = connection.set_nodelay(true);
    let mut reader = Reader::new(Side::Requests);
    while let Some((arrival, trailers, wishes)) = receive(connection, cluster, &mut reader) {
        let answer = arrival.end(trailers);
        if !matches!(send(connection, &answer, wishes.to_head, shared), Ok(true)) || wishes.closes {
            return;
        }
    }
}

/// What a request says about its answer.
struct Wishes {
    /// It has no body.
    to_head: bool,
    /// It is the last one of the connection.
    closes: bool,
}

impl Wishes {
    fn of(headers: &Headers) -> Self {
        let connection = headers.get("connection").unwrap_or_default();
        Self {
            to_head: headers.get(":method") == Some("HEAD"),
            closes: connection.split(',').any(|wish| wish.trim().eq_ignore_ascii_case("close")),
        }
    }
}

/// Reads one request; nothing when there will be no further one.
fn receive(connection: &TcpStream, cluster: &Cluster, reader: &mut Reader) -> Option<(Arrival, Headers, Wishes)> {
    let mut arrival: Option<(Arrival, Wishes)> = None;
    let mut bytes = [0; 16 * 1024];
    loop {
        match (reader.next().ok()?, &mut arrival) {
            (Some(Part::Head(headers)), _) => {
                let wishes = Wishes::of(&headers);
                arrival = Some((cluster.arrived(headers), wishes));
            }
            (Some(Part::Data(data)), Some((arrival, _))) => arrival.data(&data),
            (Some(Part::End(trailers)), _) => {
                return arrival.map(|(arrival, wishes)| (arrival, trailers, wishes));
            }
            (Some(Part::Data(_)), None) => return None,
            (None, _) => {
                let length = read(connection, &mut bytes).ok()?;
                reader.feed(bytes.get(..length)?);
            }
        }
    }
}

/// Sends one answer; says whether the connection can be used again.
fn send(mut connection: &TcpStream, answer: &Answer, to_head: bool, shared: &Connections) -> io::Result<bool> {
    shared.sleep(answer.delay());
    match answer.how_it_ends() {
        Ending::Complete | Ending::ResetAfterHeaders => {}
        Ending::Unreachable | Ending::Reset => return Ok(false),
        Ending::Malformed => {
            connection.write_all(b"\x01 this is not HTTP\r\n\r\n")?;
            return Ok(false);
        }
        Ending::Never => {
            let mut bytes = [0; 1024];
            while !shared.is_stopped() && read(connection, &mut bytes)? > 0 {}
            return Ok(false);
        }
    }

    let headers = answer.wire_headers();
    let chunked = http1::is_chunked(&headers);
    connection.write_all(&http1::response_bytes(&headers))?;
    if to_head {
        return Ok(true);
    }
    let pieces: Vec<_> = answer.pieces().collect();
    let several = pieces.len() > 1;
    for piece in pieces {
        if several {
            thread::sleep(BREATH);
        }
        if chunked {
            connection.write_all(&http1::chunk_bytes(piece))?;
        } else {
            connection.write_all(piece)?;
        }
    }
    if answer.how_it_ends() == Ending::ResetAfterHeaders {
        thread::sleep(LAST_BREATH);
        return Ok(false);
    }
    if chunked {
        if several {
            thread::sleep(BREATH);
        }
        connection.write_all(&http1::last_chunk_bytes(answer.scripted_trailers()))?;
    }
    Ok(true)
}
