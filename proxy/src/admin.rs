//! The admin port: is the proxy ready, and what has it counted.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::board::{Board, Phase};
use crate::prometheus;

/// The endpoints, and what they tell.
const ENDPOINTS: [(&str, &str); 3] = [
    ("/", "this list"),
    ("/ready", "LIVE while requests are served, DRAINING while the proxy ends"),
    ("/stats/prometheus", "all counters, those of the plugins included, as Prometheus reads them"),
];

/// Answers until the proxy ends.
pub(crate) async fn serve(listener: TcpListener, board: Arc<Board>, mut phases: watch::Receiver<Phase>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phases.wait_for(|phase| *phase == Phase::Ended) => return,
        };
        let Ok((socket, _)) = accepted else {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let (board, phases) = (Arc::clone(&board), phases.clone());
        connections.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let response = answer(&board, *phases.borrow(), &request);
                async move { Ok::<_, Infallible>(response) }
            });
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(std::time::Duration::from_secs(60));
            if let Err(error) = builder.serve_connection(TokioIo::new(socket), service).await {
                log::debug!("an admin connection has ended: {error}");
            }
        });
    }
}

fn answer(board: &Board, phase: Phase, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are understood here\n".to_owned());
    }
    match request.uri().path() {
        "/" => text(StatusCode::OK, ENDPOINTS.iter().map(|(path, about)| format!("{path}: {about}\n")).collect()),
        "/ready" => match phase {
            Phase::Live => text(StatusCode::OK, "LIVE\n".to_owned()),
            Phase::Draining | Phase::Ended => text(StatusCode::SERVICE_UNAVAILABLE, "DRAINING\n".to_owned()),
        },
        "/stats/prometheus" => {
            let mut response = text(StatusCode::OK, prometheus::render(board));
            let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        other => {
            let known: Vec<&str> = ENDPOINTS.iter().map(|(path, _)| *path).collect();
            text(StatusCode::NOT_FOUND, format!("there is no `{other}`; there are {}\n", known.join(", ")))
        }
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, max-age=0"));
    response
}
