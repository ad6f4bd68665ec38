//! Servers behind the proxy: one that is well behaved, and scripts of single bytes.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, server};
use hyper_util::rt::{TokioExecutor, TokioIo};
use wasmplugin_proxy::{Cluster, Plugin, Proxy, Settings};

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// A server that answers by path:
/// `/echo` with the request's body and trailers, `/bytes/N` with N bytes, `/trailers` with trailers, `/status/N` with
/// a status and no body, `/never` not at all, everything else with `upstream`.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// What came: the request line and the headers.
    pub(crate) seen: Arc<Mutex<Vec<String>>>,
    pub(crate) connections: Arc<AtomicUsize>,
    // Its thread ends with it.
    _ends: tokio::sync::oneshot::Sender<()>,
}

impl Server {
    pub(crate) fn http1() -> Self {
        Self::start(false)
    }

    pub(crate) fn http2() -> Self {
        Self::start(true)
    }

    fn start(http2: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (seen, connections) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicUsize>::default());
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (seen_there, connections_there) = (Arc::clone(&seen), Arc::clone(&connections));
        let (ends, ended) = tokio::sync::oneshot::channel::<()>();
        let serve = async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                connections_there.fetch_add(1, Ordering::SeqCst);
                let seen = Arc::clone(&seen_there);
                let service = service_fn(move |request| answer(Arc::clone(&seen), request));
                let socket = TokioIo::new(socket);
                tokio::spawn(async move {
                    if http2 {
                        server::conn::http2::Builder::new(TokioExecutor::new())
                            .serve_connection(socket, service)
                            .await
                            .ok();
                    } else {
                        server::conn::http1::Builder::new().serve_connection(socket, service).await.ok();
                    }
                });
            }
        };
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve => {}
                    _ = ended => {}
                }
            });
        });
        Self { address, seen, connections, _ends: ends }
    }

    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn answer(seen: Arc<Mutex<Vec<String>>>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let headers: String =
        request.headers().iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap())).collect();
    seen.lock().unwrap().push(format!("{} {}\n{headers}", request.method(), request.uri()));
    let whole = |text: String| Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
    let path = request.uri().path().to_owned();
    let number = || path.rsplit('/').next().and_then(|number| number.parse::<usize>().ok()).unwrap_or_default();
    let mut response = match path.split('/').nth(1).unwrap_or_default() {
        "echo" => {
            let trailer = request.headers().get("trailer").cloned();
            let mut response = Response::new(request.into_body().boxed_unsync());
            if let Some(trailer) = trailer {
                response.headers_mut().insert("trailer", trailer);
            }
            response
        }
        "bytes" => Response::new(whole("x".repeat(number()))),
        "trailers" => {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "42".parse().unwrap());
            let body = Full::new(Bytes::from("body")).with_trailers(async move { Some(Ok(trailers)) });
            let mut response = Response::new(body.map_err(|never: Infallible| match never {}).boxed_unsync());
            response.headers_mut().insert("trailer", "x-sum".parse().unwrap());
            if request.version() == hyper::Version::HTTP_11 {
                // A body of known length has no trailers.
                response.headers_mut().insert("transfer-encoding", "chunked".parse().unwrap());
            }
            response
        }
        "status" => {
            let mut response = Response::new(whole(String::new()));
            *response.status_mut() = u16::try_from(number()).unwrap().try_into().unwrap();
            response
        }
        "never" => {
            std::future::pending::<()>().await;
            Response::new(whole(String::new()))
        }
        _ => Response::new(whole("upstream".to_owned())),
    };
    response.headers_mut().insert("x-from", "server".parse().unwrap());
    Ok(response)
}

/// A server that does the same with every connection, byte by byte.
pub(crate) fn scripted(script: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let script = Arc::new(script);
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let script = Arc::clone(&script);
            std::thread::spawn(move || script(socket));
        }
    });
    address
}

/// Reads a request's headers, says something, and closes the connection.
pub(crate) fn says(words: &'static str) -> SocketAddr {
    scripted(move |mut socket| {
        read_head(&mut socket);
        socket.write_all(words.as_bytes()).unwrap();
    })
}

pub(crate) fn read_head(socket: &mut TcpStream) {
    let (mut all, mut piece) = (Vec::new(), [0; 1024]);
    while !all.windows(4).any(|end| end == b"\r\n\r\n") {
        match socket.read(&mut piece) {
            Ok(count) if count > 0 => all.extend_from_slice(&piece[..count]),
            _ => return,
        }
    }
}

/// An address that nobody listens on.
pub(crate) fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Settings for a proxy in front of one server, with patience fit for tests.
pub(crate) fn settings(upstream: SocketAddr) -> Settings {
    let mut cluster = Cluster::new("upstream", [upstream]);
    cluster.connect_timeout = Duration::from_secs(2);
    Settings::new(cluster)
}

/// A proxy in front of one server.
pub(crate) fn proxy(upstream: SocketAddr, plugins: impl IntoIterator<Item = Plugin>) -> Proxy {
    let mut settings = settings(upstream);
    settings.listeners[0].plugins.extend(plugins);
    Proxy::start(settings).unwrap()
}
