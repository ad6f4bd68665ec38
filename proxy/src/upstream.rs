//! Clusters as one worker knows them: their servers, and the connections that wait for the next request.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::bodies::RequestBody;
use crate::settings;
use crate::stats::{ClusterStats, WorkerStats};
use crate::tasks::Local;

/// Idle connections that are kept per server and worker.
const KEPT: usize = 1024;

/// A cluster as one worker knows it.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) name: String,
    pub(crate) http2: bool,
    endpoints: Vec<Rc<Endpoint>>,
    next: Cell<usize>,
    connect_timeout: Duration,
    stats: Arc<WorkerStats>,
    index: usize,
}

#[derive(Debug)]
struct Endpoint {
    address: SocketAddr,
    /// Connections without a request; the last one used is the next one taken.
    idle: RefCell<Vec<http1::SendRequest<RequestBody>>>,
    /// The one connection for all requests. The lock is held while it is made, so that it is made once.
    shared: Mutex<Option<http2::SendRequest<RequestBody>>>,
}

/// Why there is no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The cluster has no server.
    NoServer,
    /// No connection could be made.
    Connect,
    /// No connection could be made in time.
    ConnectTimeout,
    /// The connection ended before the response's headers.
    Reset,
    /// What came is not HTTP.
    Protocol,
}

/// The right to use a connection again, when its response has ended.
#[derive(Debug)]
pub(crate) struct Lease {
    endpoint: Rc<Endpoint>,
    sender: Option<http1::SendRequest<RequestBody>>,
}

impl Lease {
    /// Keeps the connection for the next request.
    pub(crate) fn give_back(self) {
        let Some(sender) = self.sender else { return };
        let mut idle = self.endpoint.idle.borrow_mut();
        if !sender.is_closed() && idle.len() < KEPT {
            idle.push(sender);
        }
    }
}

impl Cluster {
    pub(crate) fn new(cluster: &settings::Cluster, index: usize, stats: &Arc<WorkerStats>) -> Self {
        let endpoint = |address: &SocketAddr| {
            Rc::new(Endpoint { address: *address, idle: RefCell::default(), shared: Mutex::default() })
        };
        Self {
            name: cluster.name.clone(),
            http2: cluster.http2,
            endpoints: cluster.endpoints.iter().map(endpoint).collect(),
            next: Cell::new(0),
            connect_timeout: cluster.connect_timeout,
            stats: Arc::clone(stats),
            index,
        }
    }

    /// What is counted about it.
    pub(crate) fn stats(&self) -> Option<&ClusterStats> {
        self.stats.clusters.get(self.index)
    }

    /// Sends a request and waits for the headers of the response.
    pub(crate) async fn send(&self, request: Request<RequestBody>) -> Result<(Response<Incoming>, Lease), Failure> {
        let at = self.next.get();
        self.next.set(at.wrapping_add(1));
        let endpoint = at.checked_rem(self.endpoints.len()).and_then(|at| self.endpoints.get(at));
        let Some(endpoint) = endpoint else { return Err(Failure::NoServer) };
        if let Some(stats) = self.stats() {
            stats.requests.up();
        }
        let _active = Active::new(&self.stats, self.index, |stats| &stats.requests_active);
        let result = if self.http2 {
            self.send_shared(endpoint, request).await
        } else {
            self.send_alone(endpoint, request).await
        };
        match (self.stats(), &result) {
            (Some(stats), Ok((response, _))) => stats.responses.count(response.status().as_u16()),
            (Some(stats), Err(Failure::Reset | Failure::Protocol)) => stats.resets.up(),
            _ => {}
        }
        result
    }

    /// Over a connection that carries one request at a time.
    async fn send_alone(
        &self,
        endpoint: &Rc<Endpoint>,
        mut request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Lease), Failure> {
        loop {
            let kept = endpoint.take_idle();
            let fresh = kept.is_none();
            let mut sender = match kept {
                Some(sender) => sender,
                None => self.connect(endpoint).await?,
            };
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, Lease { endpoint: Rc::clone(endpoint), sender: Some(sender) })),
                // The server had closed the kept connection: nothing was sent, so another one may try.
                Err(error) => request = unsent(error, fresh)?,
            }
        }
    }

    /// Over the connection that all requests share.
    async fn send_shared(
        &self,
        endpoint: &Rc<Endpoint>,
        mut request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Lease), Failure> {
        loop {
            let mut shared = endpoint.shared.lock().await;
            let kept = shared.as_ref().filter(|sender| !sender.is_closed()).cloned();
            let fresh = kept.is_none();
            let mut sender = match kept {
                Some(sender) => sender,
                None => {
                    let sender = self.connect_shared(endpoint).await?;
                    *shared = Some(sender.clone());
                    sender
                }
            };
            drop(shared);
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, Lease { endpoint: Rc::clone(endpoint), sender: None })),
                Err(error) => request = unsent(error, fresh)?,
            }
        }
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<http1::SendRequest<RequestBody>, Failure> {
        let socket = TokioIo::new(self.open(endpoint.address).await?);
        let (sender, connection) = http1::handshake(socket).await.map_err(|_| Failure::Reset)?;
        let open = Active::new(&self.stats, self.index, |stats| &stats.connections_active);
        tokio::task::spawn_local(async move {
            let _open = open;
            if let Err(error) = connection.await {
                log::debug!("an upstream connection has ended: {error}");
            }
        });
        Ok(sender)
    }

    async fn connect_shared(&self, endpoint: &Endpoint) -> Result<http2::SendRequest<RequestBody>, Failure> {
        let socket = TokioIo::new(self.open(endpoint.address).await?);
        let mut builder = http2::Builder::new(Local);
        builder.timer(TokioTimer::new()).initial_stream_window_size(1 << 20).initial_connection_window_size(4 << 20);
        let (sender, connection) = builder.handshake(socket).await.map_err(|_| Failure::Reset)?;
        let open = Active::new(&self.stats, self.index, |stats| &stats.connections_active);
        tokio::task::spawn_local(async move {
            let _open = open;
            if let Err(error) = connection.await {
                log::debug!("an upstream connection has ended: {error}");
            }
        });
        Ok(sender)
    }

    async fn open(&self, address: SocketAddr) -> Result<TcpStream, Failure> {
        let stats = self.stats();
        if let Some(stats) = stats {
            stats.connections.up();
        }
        match tokio::time::timeout(self.connect_timeout, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => {
                // Without it small pieces would wait for each other; the connection works either way.
                socket.set_nodelay(true).ok();
                Ok(socket)
            }
            Ok(Err(error)) => {
                log::debug!("cluster `{}`: no connection to `{address}`: {error}", self.name);
                if let Some(stats) = stats {
                    stats.connect_failures.up();
                }
                Err(Failure::Connect)
            }
            Err(_) => {
                if let Some(stats) = stats {
                    stats.connect_failures.up();
                    stats.connect_timeouts.up();
                }
                Err(Failure::ConnectTimeout)
            }
        }
    }

    /// Closes the connections that wait.
    pub(crate) fn close(&self) {
        for endpoint in &self.endpoints {
            endpoint.idle.borrow_mut().clear();
            if let Ok(mut shared) = endpoint.shared.try_lock() {
                *shared = None;
            }
        }
    }
}

impl Endpoint {
    fn take_idle(&self) -> Option<http1::SendRequest<RequestBody>> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|sender| !sender.is_closed());
        // A connection that was given back a moment ago may still be on its way to its end.
        let at = idle.iter().rposition(http1::SendRequest::is_ready)?;
        Some(idle.remove(at))
    }
}

/// The request, if it may be sent again; the failure otherwise.
fn unsent(mut error: TrySendError<Request<RequestBody>>, fresh: bool) -> Result<Request<RequestBody>, Failure> {
    if let Some(request) = error.take_message()
        && !fresh
    {
        return Ok(request);
    }
    let error = error.into_error();
    log::debug!("an upstream request has failed: {error}");
    Err(if error.is_parse() { Failure::Protocol } else { Failure::Reset })
}

/// Counts something for as long as it lives.
struct Active {
    stats: Arc<WorkerStats>,
    index: usize,
    which: fn(&ClusterStats) -> &crate::stats::Count,
}

impl Active {
    fn new(stats: &Arc<WorkerStats>, index: usize, which: fn(&ClusterStats) -> &crate::stats::Count) -> Self {
        let active = Self { stats: Arc::clone(stats), index, which };
        if let Some(count) = active.count() {
            count.up();
        }
        active
    }

    fn count(&self) -> Option<&crate::stats::Count> {
        self.stats.clusters.get(self.index).map(self.which)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        if let Some(count) = self.count() {
            count.down();
        }
    }
}
