//! The admin port: is the proxy ready, what does it do, what has it counted; the pages have Envoy's paths and shapes.

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
use crate::{config_dump, levels, listings, prometheus};

/// A page: what it is asked with, and what it says.
struct Page {
    path: &'static str,
    about: &'static str,
    /// It changes something, so it is not for GET.
    changes: bool,
    answer: fn(&Board, &Query<'_>) -> Answer,
}

/// What a page says.
pub(crate) struct Answer {
    status: StatusCode,
    kind: &'static str,
    body: String,
}

const TEXT: &str = "text/plain; charset=UTF-8";
const JSON: &str = "application/json";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

impl Answer {
    pub(crate) const fn text(body: String) -> Self {
        Self { status: StatusCode::OK, kind: TEXT, body }
    }

    pub(crate) fn json(value: &serde_json::Value) -> Self {
        Self { status: StatusCode::OK, kind: JSON, body: format!("{value:#}\n") }
    }

    pub(crate) const fn refused(body: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind: TEXT, body }
    }
}

const PAGES: [Page; 9] = [
    Page {
        path: "/clusters",
        about: "the clusters and their servers; `?format=json`",
        changes: false,
        answer: listings::clusters,
    },
    Page {
        path: "/config_dump",
        about: "what the proxy is set up with, plugins and their modules included",
        changes: false,
        answer: |board, _| Answer::json(&config_dump::dump(board)),
    },
    Page {
        path: "/drain_listeners",
        about: "take no further connections, and close those that wait for nothing (POST)",
        changes: true,
        answer: |board, _| {
            board.drain();
            Answer::text("OK\n".to_owned())
        },
    },
    Page {
        path: "/listeners",
        about: "where the proxy listens; `?format=json`",
        changes: false,
        answer: listings::listeners,
    },
    Page {
        path: "/logging",
        about: "how loud plugins are; `?level=debug` changes it (POST)",
        changes: true,
        answer: levels::logging,
    },
    Page {
        path: "/ready",
        about: "LIVE while requests are served, DRAINING while the proxy ends",
        changes: false,
        answer: |board, _| ready(*board.phase.borrow()),
    },
    Page {
        path: "/server_info",
        about: "what runs here, and in which state",
        changes: false,
        answer: |board, _| Answer::json(&config_dump::server_info(board)),
    },
    Page {
        path: "/stats",
        about: "all counters; `?filter=TEXT`, `?format=json`, `?format=prometheus`",
        changes: false,
        answer: |board, query| match query.get("format") {
            Some("prometheus") => scrape(board),
            _ => listings::stats(board, query),
        },
    },
    Page {
        path: "/stats/prometheus",
        about: "all counters, those of the plugins included, as Prometheus reads them",
        changes: false,
        answer: |board, _| scrape(board),
    },
];

/// What follows the path.
pub(crate) struct Query<'a>(&'a str);

impl Query<'_> {
    /// The value of a parameter; empty if it has none.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.pairs().find(|(have, _)| *have == name).map(|(_, value)| value)
    }

    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let parts = self.0.split('&').filter(|part| !part.is_empty());
        parts.map(|part| part.split_once('=').unwrap_or((part, "")))
    }
}

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
        let board = Arc::clone(&board);
        connections.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let response = respond(&board, &request);
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

fn respond(board: &Board, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let Answer { status, kind, body } = answer(board, request.method(), request.uri().path(), request.uri().query());
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, max-age=0"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn answer(board: &Board, method: &Method, path: &str, query: Option<&str>) -> Answer {
    if path == "/" {
        return Answer::text(PAGES.iter().map(|page| format!("{}: {}\n", page.path, page.about)).collect());
    }
    let Some(page) = PAGES.iter().find(|page| page.path == path) else {
        let known: Vec<&str> = PAGES.iter().map(|page| page.path).collect();
        let body = format!("there is no `{path}`; there are {}\n", known.join(", "));
        return Answer { status: StatusCode::NOT_FOUND, kind: TEXT, body };
    };
    match (page.changes, method) {
        (false, &Method::GET | &Method::HEAD) | (true, &Method::POST) => {
            (page.answer)(board, &Query(query.unwrap_or_default()))
        }
        (changes, _) => {
            let wanted = if changes { "POST" } else { "GET and HEAD" };
            let body = format!("only {wanted} is understood here\n");
            Answer { status: StatusCode::METHOD_NOT_ALLOWED, kind: TEXT, body }
        }
    }
}

fn ready(phase: Phase) -> Answer {
    match phase {
        Phase::Live => Answer::text("LIVE\n".to_owned()),
        Phase::Draining | Phase::Ended => {
            Answer { status: StatusCode::SERVICE_UNAVAILABLE, kind: TEXT, body: "DRAINING\n".to_owned() }
        }
    }
}

fn scrape(board: &Board) -> Answer {
    Answer { status: StatusCode::OK, kind: PROMETHEUS, body: prometheus::render(board) }
}
