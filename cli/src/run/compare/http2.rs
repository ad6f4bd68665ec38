//! HTTP/2 both ways: what a client asks, and what a proxy is asked.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http2 as client_side;
use hyper::header::{HeaderName, HeaderValue};
use hyper::server::conn::http2 as server_side;
use hyper::service::service_fn;
use hyper::{HeaderMap, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::runtime::{Builder, Runtime};
use wasmplugin_host::test::{Headers, Request};

use super::messages::{self, Frames};
use crate::client::{Field, Response};

/// What either side may say in headers: a proxy is to refuse what is too much, not the comparison.
const HEADERS: u32 = 1 << 20;

/// Serves a client's connection until it has ended; each request is judged in a thread of its own.
pub(super) fn serve(connection: TcpStream, judge: &Arc<impl Fn(&Request) -> Response + Send + Sync + 'static>) {
    let Ok(runtime) = runtime() else { return };
    let answer = |request: hyper::Request<Incoming>| {
        let judge = Arc::clone(judge);
        async move {
            let request = messages::received(request).await?;
            let response = tokio::task::spawn_blocking(move || judge(&request)).await?;
            anyhow::Ok(answered(response))
        }
    };
    let ended = runtime.block_on(async {
        let socket = TokioIo::new(asynchronous(connection)?);
        let mut builder = server_side::Builder::new(TokioExecutor::new());
        builder.max_header_list_size(HEADERS);
        anyhow::Ok(builder.serve_connection(socket, service_fn(answer)).await?)
    });
    if let Err(error) = ended {
        log::debug!("a client's connection has ended: {error:#}");
    }
}

/// Asks a proxy over a connection of its own, and waits for the whole answer.
pub(super) fn send(to: SocketAddr, request: &Request, fields: &[Field], patience: Duration) -> Result<Response> {
    let exchange = async {
        let socket = tokio::net::TcpStream::connect(to).await.with_context(|| format!("no connection to {to}"))?;
        socket.set_nodelay(true)?;
        let mut builder = client_side::Builder::new(TokioExecutor::new());
        builder.max_header_list_size(HEADERS);
        let (mut sender, connection) = builder.handshake(TokioIo::new(socket)).await?;
        tokio::spawn(connection);
        let response = sender.send_request(asked(request, fields)?).await.context("the stream was cut")?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.context("the stream was cut in the middle of the answer")?;
        let trailers = body.trailers().map(owned).unwrap_or_default();
        anyhow::Ok(Response {
            status: parts.status.as_u16(),
            headers: owned(&parts.headers),
            body: body.to_bytes().to_vec(),
            trailers,
        })
    };
    runtime()?.block_on(async {
        let answer = tokio::time::timeout(patience, exchange).await;
        answer.with_context(|| format!("no answer from {to} within {} s", patience.as_secs_f64()))?
    })
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

fn asynchronous(connection: TcpStream) -> io::Result<tokio::net::TcpStream> {
    connection.set_nodelay(true)?;
    connection.set_nonblocking(true)?;
    tokio::net::TcpStream::from_std(connection)
}

/// The request as a proxy gets it, with these fields.
fn asked(request: &Request, fields: &[Field]) -> Result<hyper::Request<Frames>> {
    let mut asked = hyper::Request::new(Frames::of([request.body()], map(&texts(request.trailers()))?));
    *asked.method_mut() = request.method().parse()?;
    let scheme = request.header(":scheme").unwrap_or("http");
    let uri = Uri::builder().scheme(scheme).authority(request.authority()).path_and_query(request.path());
    *asked.uri_mut() = uri.build().context("the request names no place")?;
    *asked.headers_mut() = map(fields)?;
    Ok(asked)
}

/// The response as a client gets it.
fn answered(response: Response) -> hyper::Response<Frames> {
    // It came over HTTP/2, so it can go that way.
    let built = || {
        let mut answer = hyper::Response::new(Frames::of([response.body.clone().into()], map(&response.trailers)?));
        *answer.status_mut() = StatusCode::from_u16(response.status)?;
        *answer.headers_mut() = map(&response.headers)?;
        anyhow::Ok(answer)
    };
    built().unwrap_or_else(|error| {
        let mut answer = hyper::Response::new(Frames::of([error.to_string().into()], HeaderMap::new()));
        *answer.status_mut() = StatusCode::BAD_GATEWAY;
        answer
    })
}

/// Fields as text.
pub(super) fn texts(headers: &Headers) -> Vec<Field> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    headers.iter().map(|(name, value)| (text(name), text(value))).collect()
}

fn owned(headers: &HeaderMap) -> Vec<Field> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

fn map(fields: &[Field]) -> Result<HeaderMap> {
    let mut map = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields {
        map.append(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value)?);
    }
    Ok(map)
}
