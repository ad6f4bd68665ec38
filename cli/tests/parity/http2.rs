//! HTTP/2 of the table: its client, and its upstream.

use std::net::TcpStream;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::HeaderName;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::runtime::{Builder, Runtime};
use wasmplugin_host::test::{Answer, Ending, Headers};

use super::ask::Parts;
use super::messages::{self, Frames};

/// Sends a request over a connection of its own, and waits for the whole answer; nothing if its stream was reset.
pub(crate) fn status(to: &str, line: &str, parts: &Parts<'_>) -> Option<u16> {
    let (method, path) = line.split_once(' ').unwrap();
    let host = parts.headers.lines().find_map(|field| field.strip_prefix("host: ")).unwrap_or("web.test");
    let body = Frames::of([Bytes::copy_from_slice(parts.body.as_bytes())], map(fields(parts.trailers)));
    let mut request = Request::new(body);
    *request.method_mut() = method.parse().unwrap();
    *request.uri_mut() = Uri::builder().scheme("http").authority(host).path_and_query(path).build().unwrap();
    *request.headers_mut() = map(fields(parts.headers).filter(|(name, _)| *name != "host"));
    runtime().block_on(async {
        let socket = TokioIo::new(tokio::net::TcpStream::connect(to).await.unwrap());
        let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (mut sender, connection) = builder.handshake(socket).await.unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(request).await.ok()?;
        let status = response.status().as_u16();
        response.collect().await.ok()?;
        Some(status)
    })
}

fn fields(lines: &str) -> impl Iterator<Item = (&str, &str)> {
    lines.lines().map(|line| line.split_once(':').unwrap()).map(|(name, value)| (name, value.trim_start()))
}

/// Serves an upstream's connection until it has ended.
pub(crate) fn serve(connection: TcpStream, script: fn(&wasmplugin_host::test::Request) -> Answer) {
    runtime().block_on(async {
        connection.set_nonblocking(true).unwrap();
        let socket = TokioIo::new(tokio::net::TcpStream::from_std(connection).unwrap());
        let answer = |request: Request<Incoming>| async move {
            let to_head = request.method() == "HEAD";
            answer(&script(&messages::received(request).await?), to_head)
        };
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        // A proxy that leaves is the end of it.
        let _ended = builder.serve_connection(socket, service_fn(answer)).await;
    });
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// The script's answer, without its body to a `HEAD`; a reset of the stream where it is to end before its time.
fn answer(answer: &Answer, to_head: bool) -> Result<Response<Frames>, Box<dyn std::error::Error + Send + Sync>> {
    if answer.how_it_ends() != Ending::Complete {
        return Err("the script ends here".into());
    }
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let texts =
        |headers: &Headers| -> Vec<_> { headers.iter().map(|(name, value)| (text(name), text(value))).collect() };
    let headers = answer.wire_headers();
    let status = headers.get(":status").unwrap().parse::<u16>().unwrap();
    let trailers = texts(answer.scripted_trailers());
    let trailers = map(trailers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let body = if to_head { Frames::of([], HeaderMap::new()) } else { Frames::of(answer.pieces().cloned(), trailers) };
    let mut response = Response::new(body);
    *response.status_mut() = status.try_into().unwrap();
    let headers = texts(&headers);
    let own = headers.iter().filter(|(name, _)| !name.starts_with(':') && name != "transfer-encoding");
    *response.headers_mut() = map(own.map(|(name, value)| (name.as_str(), value.as_str())));
    Ok(response)
}

fn map<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    map
}
