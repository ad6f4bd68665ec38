//! The front door of the facade: a proxy that runs, and the exchanges in it.

use std::cell::RefCell;
use std::fmt;
use std::net::SocketAddr;
#[cfg(any(feature = "wasm", feature = "envoy"))]
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::builder::Builder;
use super::cluster::Cluster;
use super::driver::{Driver, Leaks, LogLine, Samples};
use super::failure::{Failure, StartError};
use super::message::{Headers, Request, Response};
use super::request::RequestBuilder;
use super::setup::{Engine, Setup};
use super::tcp::{TcpSeen, TcpServer};
use super::tcp_client::TcpClient;
use super::{Finding, TraceLine};
use crate::callback::Callback;

/// A proxy with plugins in it, between the test as a client and the test as the upstream.
///
#[cfg_attr(feature = "native", doc = "```")]
#[cfg_attr(not(feature = "native"), doc = "```ignore")]
/// # fn register() {}
/// use wasmplugin_host::test::{Answer, Proxy, Request};
///
/// # fn test() -> Result<(), Box<dyn std::error::Error>> {
/// let mut proxy = Proxy::native(register)
///     .config(serde_json::json!({"realm": "admin"}))
///     .cluster("auth", |request: &Request| match request.header("x-token") {
///         Some("good") => Answer::new(200),
///         _ => Answer::new(403),
///     })
///     .start()?;
///
/// let response = proxy.get("/admin?a=b").header("x-token", "bad").send()?;
///
/// assert_eq!(response.status(), 403);
/// assert!(proxy.upstream_requests().is_empty());
/// assert_eq!(proxy.cluster_requests("auth").len(), 1);
/// # Ok(())
/// # }
/// ```
///
/// The same test runs the plugin's module in Wasmtime with `Proxy::wasm` and in a real Envoy with
/// `Proxy::envoy`.
///
/// # Several exchanges at once
///
/// [`open`](RequestBuilder::open) sends a request without waiting for its response;
/// [`finish`](Self::finish) waits.
///
/// ```
/// # use wasmplugin_host::test::{Failure, Proxy};
/// # fn test(proxy: &mut Proxy) -> Result<(), Failure> {
/// let upload = proxy.post("/upload").open()?;
/// let other = proxy.get("/").open()?;
/// proxy.send_data(&upload, "first half, ", false)?;
/// assert_eq!(proxy.finish(other)?.status(), 200);
/// proxy.send_data(&upload, "second half", true)?;
/// assert_eq!(proxy.finish(upload)?.status(), 200);
/// # Ok(())
/// # }
/// ```
pub struct Proxy {
    /// Shared with the TCP clients.
    driver: Rc<RefCell<Box<dyn Driver>>>,
    engine: Engine,
    upstream: Cluster,
    tcp: Option<TcpServer>,
    clusters: Vec<Cluster>,
    http2: bool,
    opened: u64,
}

/// An exchange under way; a number to show to the proxy that gave it.
#[derive(Debug, PartialEq, Eq, Hash)]
#[must_use = "an exchange goes on until `finish` or `abort`"]
pub struct Exchange {
    number: u64,
}

impl Proxy {
    /// A proxy that runs the plugin in this process; the function is the one that `wasmplugin::plugin!` made, or
    /// one that calls `proxy_wasm::set_http_context` or its like.
    #[cfg(feature = "native")]
    pub fn native(register: fn()) -> Builder {
        Builder::new(Engine::Native, None).native(register)
    }

    /// A proxy that runs the module in Wasmtime.
    #[cfg(feature = "wasm")]
    pub fn wasm(module: impl Into<PathBuf>) -> Builder {
        Builder::new(Engine::Wasm, Some(module.into()))
    }

    /// A real Envoy that runs the module; it is obtained on first use (see [`crate::envoy::binary`]).
    #[cfg(feature = "envoy")]
    pub fn envoy(module: impl Into<PathBuf>) -> Builder {
        Builder::new(Engine::Envoy, Some(module.into()))
    }

    /// A proxy for whatever engine, of which the plugin's code is still to be said
    /// ([`native`](super::Builder::native), [`module`](super::Builder::module)).
    pub fn on(engine: Engine) -> Builder {
        Builder::new(engine, None)
    }

    /// Starts what the setup describes.
    pub fn start(setup: Setup) -> Result<Self, StartError> {
        let engine = setup.engine;
        let upstream = setup.upstream.clone();
        let clusters = setup.clusters.clone();
        let http2 = setup.http2;
        let tcp = setup.tcp.clone();
        let driver = Rc::new(RefCell::new(start_engine(setup)?));
        Ok(Self { driver, engine, upstream, tcp, clusters, http2, opened: 0 })
    }

    /// What runs the plugins.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Where clients connect, for another proxy in front of this one ([`Builder::upstream_at`](super::Builder::upstream_at));
    /// none in memory.
    pub fn address(&self) -> Option<SocketAddr> {
        self.driver.borrow().address()
    }

    /// A `GET` of that path and query.
    pub fn get(&mut self, path: &str) -> RequestBuilder<'_> {
        self.request("GET", path)
    }

    /// A `POST` to that path and query.
    pub fn post(&mut self, path: &str) -> RequestBuilder<'_> {
        self.request("POST", path)
    }

    /// A request of any method.
    pub fn request(&mut self, method: &str, path: &str) -> RequestBuilder<'_> {
        RequestBuilder::new(self, method, path)
    }

    /// Makes a TCP connection from 127.0.0.1; the proxy is one that was built with
    /// [`tcp`](super::Builder::tcp).
    pub fn connect(&mut self) -> Result<TcpClient, Failure> {
        self.connect_from(([127, 0, 0, 1], 40_000).into())
    }

    /// Makes a TCP connection that comes from that address: in Envoy by its PROXY protocol.
    pub fn connect_from(&mut self, source: SocketAddr) -> Result<TcpClient, Failure> {
        self.opened += 1;
        self.driver.borrow_mut().connect(self.opened, source)?;
        Ok(TcpClient::new(Rc::clone(&self.driver), self.opened))
    }

    /// The TCP connections that reached the upstream, in the order of their beginning.
    pub fn upstream_connections(&self) -> Vec<TcpSeen> {
        self.tcp.as_ref().map(TcpServer::connections).unwrap_or_default()
    }

    /// Sends a piece of a request's body; with `end`, the last.
    pub fn send_data(&mut self, exchange: &Exchange, data: impl Into<Bytes>, end: bool) -> Result<(), Failure> {
        self.driver.borrow_mut().data(exchange.number, data.into(), end)
    }

    /// Sends a request's trailers, which end it.
    pub fn send_trailers<N: AsRef<[u8]>, V: Into<Bytes>>(
        &mut self,
        exchange: &Exchange,
        trailers: impl IntoIterator<Item = (N, V)>,
    ) -> Result<(), Failure> {
        self.driver.borrow_mut().trailers(exchange.number, trailers.into_iter().collect())
    }

    /// Waits for the response.
    pub fn finish(&mut self, exchange: Exchange) -> Result<Response, Failure> {
        self.driver.borrow_mut().finish(exchange.number)
    }

    /// Waits for all the responses, each in the place of its exchange.
    pub fn finish_all(&mut self, exchanges: impl IntoIterator<Item = Exchange>) -> Vec<Result<Response, Failure>> {
        exchanges.into_iter().map(|exchange| self.finish(exchange)).collect()
    }

    /// Goes away as a client that closes its connection does.
    pub fn abort(&mut self, exchange: Exchange) {
        self.driver.borrow_mut().abort(exchange.number);
    }

    /// Whether the response has not ended yet, though everything that was due has happened.
    pub fn waiting(&mut self, exchange: &Exchange) -> bool {
        self.driver.borrow_mut().waiting(exchange.number)
    }

    /// Lets time pass: at once in memory, really in Envoy.
    pub fn advance(&mut self, time: Duration) {
        self.driver.borrow_mut().advance(time);
    }

    /// Gives the plugin at that place of the chain, from 0 upwards, another configuration. Exchanges under way keep the
    /// one that they have met. In memory only.
    ///
    /// # Errors
    ///
    /// The plugin refuses the configuration, and keeps the one it has; or the engine cannot.
    pub fn reconfigure(&mut self, place: usize, configuration: impl Into<Bytes>) -> Result<(), Failure> {
        self.driver.borrow_mut().reconfigure(place, configuration.into())
    }

    /// Calls every plugin, by its root context, with what nothing has led to, such as the answer to a callout that nobody
    /// sent: what a plugin has to bear from a proxy with a defect. In memory only.
    ///
    /// # Errors
    ///
    /// The engine cannot.
    pub fn stray(&mut self, callback: impl Fn(u32) -> Callback) -> Result<(), Failure> {
        self.driver.borrow_mut().stray(&callback)
    }

    /// What the upstream saw, in order of arrival.
    pub fn upstream_requests(&self) -> Vec<Request> {
        self.upstream.requests()
    }

    /// What the cluster of that name saw, in order of arrival; nothing if there is no such cluster.
    pub fn cluster_requests(&self, name: &str) -> Vec<Request> {
        self.clusters.iter().find(|cluster| cluster.name() == name).map(Cluster::requests).unwrap_or_default()
    }

    /// What the plugins logged so far.
    pub fn logs(&mut self) -> Vec<LogLine> {
        self.driver.borrow_mut().logs()
    }

    /// The value of a counter or gauge of the plugins; nothing if none of them defined it.
    pub fn metric(&mut self, name: &str) -> Option<u64> {
        self.driver.borrow_mut().metric(name)
    }

    /// The samples of a histogram of the plugins; nothing if none of them defined it.
    pub fn histogram(&mut self, name: &str) -> Option<Samples> {
        self.driver.borrow_mut().histogram(name)
    }

    /// The metrics as Prometheus reads them, with the labels that [`Builder::stats_tags`](super::Builder::stats_tags)
    /// find; a real Envoy tells its own metrics as well.
    pub fn prometheus(&mut self) -> String {
        self.driver.borrow_mut().prometheus()
    }

    /// The calls between proxy and plugins so far; needs [`Builder::trace`](super::Builder::trace).
    pub fn trace(&mut self) -> Vec<TraceLine> {
        self.driver.borrow_mut().trace()
    }

    /// The mistakes that the engine noticed; a real Envoy notices none.
    pub fn findings(&mut self) -> Vec<Finding> {
        self.driver.borrow_mut().findings()
    }

    /// What is still open; a real Envoy does not tell how many contexts a plugin holds.
    pub fn leaks(&mut self) -> Leaks {
        self.driver.borrow_mut().leaks()
    }

    pub(super) fn speaks_http2(&self) -> bool {
        self.http2
    }

    pub(super) fn open(&mut self, headers: Headers, end: bool) -> Result<Exchange, Failure> {
        self.opened += 1;
        self.driver.borrow_mut().open(self.opened, headers, end)?;
        Ok(Exchange { number: self.opened })
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("engine", &self.engine)
            .field("upstream", &self.upstream)
            .field("clusters", &self.clusters)
            .field("opened", &self.opened)
            .finish_non_exhaustive()
    }
}

fn start_engine(setup: Setup) -> Result<Box<dyn Driver>, StartError> {
    match setup.engine {
        #[cfg(feature = "native")]
        Engine::Native => super::memory::start(setup),
        #[cfg(feature = "wasm")]
        Engine::Wasm => super::memory::start(setup),
        #[cfg(feature = "envoy")]
        Engine::Envoy => crate::envoy::start(setup),
        #[allow(unreachable_patterns, reason = "reached in builds without one of the features")]
        engine => Err(StartError::new(
            format!("this build has no engine `{engine}`: add the feature `{engine}` of `wasmplugin-host`"),
            Vec::new(),
        )),
    }
}
