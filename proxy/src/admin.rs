//! The admin port: is the proxy ready, what does it do, what has it counted; the pages have Envoy's paths and shapes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::answer::Answer;
use crate::board::{Board, Phase};
use crate::query::Query;
use crate::{config_dump, exchanges, levels, listings, page, prometheus, replay, visitor};

/// A page: what it is asked with, and what it says.
struct Page {
    path: &'static str,
    about: &'static str,
    /// It changes something, so it is not for GET.
    changes: bool,
    /// It tells what people's requests contain, so it is not for everybody.
    private: bool,
    answer: fn(&Board, &Query<'_>) -> Answer,
}

/// Where a request is sent once more; apart from the pages, because it takes a body and time.
const REPLAY: &str = "/exchanges/replay";
/// How long the description of a request may be.
const DESCRIPTION: usize = 1 << 20;

const PAGES: [Page; 13] = [
    Page {
        path: "/clusters",
        about: "the clusters and their servers; `?format=json`",
        changes: false,
        private: false,
        answer: listings::clusters,
    },
    Page {
        path: "/config_dump",
        about: "what the proxy is set up with, plugins and their modules included",
        changes: false,
        private: false,
        answer: |board, _| Answer::json(&config_dump::dump(board)),
    },
    Page {
        path: "/drain_listeners",
        about: "take no further connections, and close those that wait for nothing (POST)",
        changes: true,
        private: false,
        answer: |board, _| {
            board.drain();
            Answer::text("OK\n".to_owned())
        },
    },
    Page {
        path: "/exchanges",
        about: "what was recorded of the latest exchanges; `?since=VERSION`",
        changes: false,
        private: true,
        answer: exchanges::list,
    },
    Page {
        path: "/exchanges/clear",
        about: "forget what was recorded (POST)",
        changes: true,
        private: true,
        answer: exchanges::clear,
    },
    Page {
        path: "/exchanges/recording",
        about: "`?switch=on` records exchanges from now on, `?switch=off` ends that (POST)",
        changes: true,
        private: true,
        answer: exchanges::switch,
    },
    Page {
        path: "/listeners",
        about: "where the proxy listens; `?format=json`",
        changes: false,
        private: false,
        answer: listings::listeners,
    },
    Page {
        path: "/logging",
        about: "how loud plugins are; `?level=debug` changes it (POST)",
        changes: true,
        private: false,
        answer: levels::logging,
    },
    Page {
        path: "/modules",
        about: "the plugins in their order, with the digests of their modules",
        changes: false,
        private: false,
        answer: |board, _| Answer::json(&listings::modules(board)),
    },
    Page {
        path: "/ready",
        about: "LIVE while requests are served, DRAINING while the proxy ends",
        changes: false,
        private: false,
        answer: |board, _| ready(*board.phase.borrow()),
    },
    Page {
        path: "/server_info",
        about: "what runs here, and in which state",
        changes: false,
        private: false,
        answer: |board, _| Answer::json(&config_dump::server_info(board)),
    },
    Page {
        path: "/stats",
        about: "all counters; `?filter=TEXT`, `?format=json`, `?format=prometheus`",
        changes: false,
        private: false,
        answer: |board, query| match query.get("format") {
            Some("prometheus") => scrape(board),
            _ => listings::stats(board, query),
        },
    },
    Page {
        path: "/stats/prometheus",
        about: "all counters, those of the plugins included, as Prometheus reads them",
        changes: false,
        private: false,
        answer: |board, _| scrape(board),
    },
];

/// Answers until the proxy ends.
pub(crate) async fn serve(listener: TcpListener, board: Arc<Board>, mut phases: watch::Receiver<Phase>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phases.wait_for(|phase| *phase == Phase::Ended) => return,
        };
        let Ok((socket, peer)) = accepted else {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let board = Arc::clone(&board);
        connections.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let board = Arc::clone(&board);
                async move { Ok::<_, Infallible>(respond(&board, peer, request).await) }
            });
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(std::time::Duration::from_secs(60));
            if let Err(error) = builder.serve_connection(TokioIo::new(socket), service).await {
                log::debug!("an admin connection has ended: {error}");
            }
        });
    }
}

async fn respond(board: &Board, peer: SocketAddr, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let Answer { status, kind, body } = match request.uri().path() {
        REPLAY => send_again(board, peer, request).await,
        _ => answer(board, peer, &request),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if kind == Answer::HTML
        && let Ok(policy) = HeaderValue::from_str(page::policy())
    {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, max-age=0"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn answer(board: &Board, peer: SocketAddr, request: &Request<Incoming>) -> Answer {
    let path = request.uri().path();
    let accepts = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if path == "/ui" || (path == "/" && accepts.contains("text/html")) {
        return Answer::of(Answer::HTML, page::HTML.to_owned());
    }
    if path == "/" {
        let own = "/ui: the page that shows exchanges, metrics and modules in a browser\n";
        let replay = format!("{REPLAY}: send a request to a listener (POST)\n");
        let pages = PAGES.iter().map(|page| format!("{}: {}\n", page.path, page.about));
        return Answer::text(pages.chain([own.to_owned(), replay]).collect());
    }
    let Some(page) = PAGES.iter().find(|page| page.path == path) else {
        let known: Vec<&str> = PAGES.iter().map(|page| page.path).collect();
        return Answer::problem(
            StatusCode::NOT_FOUND,
            format!("there is no `{path}`; there are {}\n", known.join(", ")),
        );
    };
    let refusal = match (page.private, page.changes) {
        (true, changes) => visitor::refusal(peer, request.headers(), changes),
        (false, true) => visitor::of_another_page(request.headers()),
        (false, false) => None,
    };
    if let Some(reason) = refusal {
        return forbidden(reason);
    }
    match (page.changes, request.method()) {
        (false, &Method::GET | &Method::HEAD) | (true, &Method::POST) => {
            (page.answer)(board, &Query::new(request.uri().query()))
        }
        (changes, _) => not_allowed(if changes { "POST" } else { "GET and HEAD" }),
    }
}

async fn send_again(board: &Board, peer: SocketAddr, request: Request<Incoming>) -> Answer {
    if request.method() != Method::POST {
        return not_allowed("POST");
    }
    if let Some(reason) = visitor::refusal(peer, request.headers(), true) {
        return forbidden(reason);
    }
    match Limited::new(request.into_body(), DESCRIPTION).collect().await {
        Ok(described) => replay::replay(board, &described.to_bytes()).await,
        Err(error) => Answer::refused(format!("the request cannot be read: {error}\n")),
    }
}

fn forbidden(reason: &str) -> Answer {
    Answer::problem(StatusCode::FORBIDDEN, format!("{reason}\n"))
}

fn not_allowed(wanted: &str) -> Answer {
    Answer::problem(StatusCode::METHOD_NOT_ALLOWED, format!("only {wanted} is understood here\n"))
}

fn ready(phase: Phase) -> Answer {
    match phase {
        Phase::Live => Answer::text("LIVE\n".to_owned()),
        Phase::Draining | Phase::Ended => Answer::problem(StatusCode::SERVICE_UNAVAILABLE, "DRAINING\n".to_owned()),
    }
}

fn scrape(board: &Board) -> Answer {
    Answer::of(Answer::PROMETHEUS, prometheus::render(board))
}
