//! Clusters as one worker knows them: their servers, and the connections that wait for the next request.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;
use wasmplugin_host::surroundings::{self, Metadata, UpstreamHost};

use crate::bodies::RequestBody;
use crate::settings;
use crate::socket::Plug;
use crate::stats::{ClusterStats, Count, WorkerStats};
use crate::tasks::Local;

/// Idle connections that are kept per server and worker.
const KEPT: usize = 1024;

/// A cluster as one worker knows it.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) settings: settings::Cluster,
    pub(crate) stats: Arc<ClusterStats>,
    endpoints: Vec<Rc<Endpoint>>,
    next: Cell<usize>,
}

#[derive(Debug)]
struct Endpoint {
    address: SocketAddr,
    /// Connections without a request; the last one used is the next one taken.
    idle: RefCell<Vec<Line<http1::SendRequest<RequestBody>>>>,
    /// The one connection for all requests. The lock is held while it is made, so that it is made once.
    shared: Mutex<Option<Line<http2::SendRequest<RequestBody>>>>,
}

/// A connection to a server, and what plugins learn about it.
#[derive(Debug, Clone)]
struct Line<S> {
    sender: S,
    host: Arc<UpstreamHost>,
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
    line: Option<Line<http1::SendRequest<RequestBody>>>,
}

impl Lease {
    /// Keeps the connection for the next request.
    pub(crate) fn give_back(self) {
        let Some(line) = self.line else { return };
        let mut idle = self.endpoint.idle.borrow_mut();
        if !line.sender.is_closed() && idle.len() < KEPT {
            idle.push(line);
        }
    }
}

impl Cluster {
    pub(crate) fn new(settings: &settings::Cluster, stats: &WorkerStats) -> Self {
        let endpoint = |address: &SocketAddr| {
            Rc::new(Endpoint { address: *address, idle: RefCell::default(), shared: Mutex::default() })
        };
        Self {
            stats: stats.cluster(&settings.name),
            endpoints: settings.endpoints.iter().map(endpoint).collect(),
            next: Cell::new(0),
            settings: settings.clone(),
        }
    }

    pub(crate) fn is(&self, name: &str) -> bool {
        self.settings.name == name
    }

    /// Whether its servers speak HTTP/2.
    pub(crate) const fn http2(&self) -> bool {
        self.settings.http2
    }

    /// The server whose turn it is.
    fn endpoint(&self) -> Option<&Rc<Endpoint>> {
        let at = self.next.get();
        self.next.set(at.wrapping_add(1));
        at.checked_rem(self.endpoints.len()).and_then(|at| self.endpoints.get(at))
    }

    /// Sends a request and waits for the headers of the response; `sent` learns to which server.
    pub(crate) async fn send(
        &self,
        request: Request<RequestBody>,
        sent: impl Fn(&Arc<UpstreamHost>),
    ) -> Result<(Response<Incoming>, Lease), Failure> {
        let Some(endpoint) = self.endpoint() else { return Err(Failure::NoServer) };
        self.stats.requests.up();
        let _active = Active::new(&self.stats, |stats| &stats.requests_active);
        let result = if self.http2() {
            self.send_shared(endpoint, request, sent).await
        } else {
            self.send_alone(endpoint, request, sent).await
        };
        match &result {
            Ok((response, _)) => self.stats.responses.count(response.status().as_u16()),
            Err(Failure::Reset | Failure::Protocol) => self.stats.resets.up(),
            Err(_) => {}
        }
        result
    }

    /// Over a connection that carries one request at a time.
    async fn send_alone(
        &self,
        endpoint: &Rc<Endpoint>,
        mut request: Request<RequestBody>,
        sent: impl Fn(&Arc<UpstreamHost>),
    ) -> Result<(Response<Incoming>, Lease), Failure> {
        loop {
            let kept = endpoint.take_idle();
            let fresh = kept.is_none();
            let mut line = match kept {
                Some(line) => line,
                None => self.connect(endpoint).await?,
            };
            sent(&line.host);
            match line.sender.try_send_request(request).await {
                Ok(response) => return Ok((response, Lease { endpoint: Rc::clone(endpoint), line: Some(line) })),
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
        sent: impl Fn(&Arc<UpstreamHost>),
    ) -> Result<(Response<Incoming>, Lease), Failure> {
        loop {
            let mut shared = endpoint.shared.lock().await;
            let kept = shared.as_ref().filter(|line| !line.sender.is_closed()).cloned();
            let fresh = kept.is_none();
            let mut line = match kept {
                Some(line) => line,
                None => {
                    let line = self.connect_shared(endpoint).await?;
                    *shared = Some(line.clone());
                    line
                }
            };
            drop(shared);
            sent(&line.host);
            match line.sender.try_send_request(request).await {
                Ok(response) => return Ok((response, Lease { endpoint: Rc::clone(endpoint), line: None })),
                Err(error) => request = unsent(error, fresh)?,
            }
        }
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<Line<http1::SendRequest<RequestBody>>, Failure> {
        let (socket, host) = self.open(endpoint.address).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(|_| Failure::Reset)?;
        self.attend(connection);
        Ok(Line { sender, host })
    }

    async fn connect_shared(&self, endpoint: &Endpoint) -> Result<Line<http2::SendRequest<RequestBody>>, Failure> {
        let (socket, host) = self.open(endpoint.address).await?;
        let mut builder = http2::Builder::new(Local);
        builder.timer(TokioTimer::new()).initial_stream_window_size(1 << 20).initial_connection_window_size(4 << 20);
        let handshake = builder.handshake(TokioIo::new(socket)).await;
        let (sender, connection) = handshake.map_err(|_| Failure::Reset)?;
        self.attend(connection);
        Ok(Line { sender, host })
    }

    /// Keeps a connection going for as long as it lasts.
    fn attend(&self, connection: impl Future<Output = hyper::Result<()>> + 'static) {
        let open = Active::new(&self.stats, |stats| &stats.connections_active);
        tokio::task::spawn_local(async move {
            let _open = open;
            if let Err(error) = connection.await {
                log::debug!("an upstream connection has ended: {error}");
            }
        });
    }

    /// A connection to the server whose turn it is, for bytes that are not HTTP.
    pub(crate) async fn open_tcp(&self) -> Result<(Plug, Arc<UpstreamHost>), Failure> {
        let Some(endpoint) = self.endpoint() else { return Err(Failure::NoServer) };
        self.open(endpoint.address).await
    }

    /// What plugins learn of it where no route tells more.
    pub(crate) fn facts(&self) -> surroundings::Cluster {
        let (name, endpoints) = (self.settings.name.clone(), self.endpoints.len() as u64);
        surroundings::Cluster { name, metadata: Metadata::default(), endpoints }
    }

    async fn open(&self, address: SocketAddr) -> Result<(Plug, Arc<UpstreamHost>), Failure> {
        self.stats.connections.up();
        match tokio::time::timeout(self.settings.connect_timeout, self.dial(address)).await {
            Ok(Ok(opened)) => Ok(opened),
            Ok(Err(error)) => {
                log::debug!("cluster `{}`: no connection to `{address}`: {error}", self.settings.name);
                self.stats.connect_failures.up();
                Err(Failure::Connect)
            }
            Err(_) => {
                self.stats.connect_failures.up();
                self.stats.connect_timeouts.up();
                Err(Failure::ConnectTimeout)
            }
        }
    }

    async fn dial(&self, address: SocketAddr) -> std::io::Result<(Plug, Arc<UpstreamHost>)> {
        let socket = TcpStream::connect(address).await?;
        // Without it small pieces would wait for each other; the connection works either way.
        socket.set_nodelay(true).ok();
        let mut host = UpstreamHost {
            address: Some(address),
            local_address: socket.local_addr().ok(),
            metadata: self.settings.host_metadata.clone(),
            ..UpstreamHost::default()
        };
        let Some(tls) = &self.settings.tls else { return Ok((Plug::Plain(socket), Arc::new(host))) };
        let connector = TlsConnector::from(Arc::clone(&tls.config));
        let socket = connector.connect(tls.server_name.clone(), socket).await?;
        host.tls = Some(tls.facts(socket.get_ref().1));
        Ok((Plug::Tls(Box::new(socket.into())), Arc::new(host)))
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
    fn take_idle(&self) -> Option<Line<http1::SendRequest<RequestBody>>> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|line| !line.sender.is_closed());
        // A connection that was given back a moment ago may still be on its way to its end.
        let at = idle.iter().rposition(|line| line.sender.is_ready())?;
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
    stats: Arc<ClusterStats>,
    which: fn(&ClusterStats) -> &Count,
}

impl Active {
    fn new(stats: &Arc<ClusterStats>, which: fn(&ClusterStats) -> &Count) -> Self {
        which(stats).up();
        Self { stats: Arc::clone(stats), which }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        (self.which)(&self.stats).down();
    }
}
