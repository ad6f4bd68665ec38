//! `run --compare`: each request goes through the embedded proxy and through a real Envoy, and what differs is told.

mod answers;
mod counters;
mod http2;
mod line;
mod lines;
mod messages;
mod streams;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use wasmplugin_host::envoy::backend::Backend;
use wasmplugin_host::envoy::log::Log;
use wasmplugin_host::test::{Answer, Cluster, Request};

use crate::client::{self, Field, Framing, Response};
use crate::output;
use answers::Known;
use counters::Counters;
use line::Line;
use lines::Lines;

pub(super) use counters::Witnesses;

/// How long one proxy may take for its answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long counters and logs may take until they agree: plugins count and log when an exchange is over, which is after its
/// answer.
const SETTLING: Duration = Duration::from_secs(5);
/// How long they may take after a change, when they need not agree: what plugins say and count as they start depends on how many
/// of them share a VM, which is each proxy's own affair.
const STARTING: Duration = Duration::from_secs(1);
/// How often they are looked at meanwhile.
const GLANCE: Duration = Duration::from_millis(20);

/// What a request is spoken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// All that two sides have to be compared by.
#[derive(Debug)]
pub(super) struct Sides {
    pub(super) pairs: Vec<Pair>,
    pub(super) witnesses: Vec<Witnesses>,
    /// The logs of all Envoys.
    pub(super) envoys: Vec<Log>,
}

/// One place where requests come in, on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    /// What to call it.
    pub(super) name: String,
    /// Where the comparison listens for it; port 0 takes a free one.
    pub(super) listen: SocketAddr,
    /// Where the embedded proxy takes them.
    pub(super) embedded: SocketAddr,
    /// Where Envoy takes them.
    pub(super) envoy: SocketAddr,
    /// What comes in there.
    pub(super) carries: Carries,
}

/// What comes in at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carries {
    /// Requests, over HTTP/1.1 or HTTP/2.
    Requests,
    /// Connections with bytes of any kind.
    Bytes,
}

/// Listeners in front of both sides; they end when this is dropped.
#[derive(Debug)]
pub(super) struct Comparison {
    fronts: Vec<(Pair, Front)>,
    tally: Arc<Mutex<Tally>>,
}

/// What listens in front of a pair.
#[derive(Debug)]
enum Front {
    Requests(Backend),
    Bytes(Line),
}

/// What has come of it so far.
#[derive(Debug)]
struct Tally {
    requests: Count,
    connections: Count,
    changes: Count,
    known: Known,
    counters: Vec<Counters>,
    lines: Lines,
}

/// How many there were, and how many of them with differences.
#[derive(Debug, Default)]
struct Count {
    all: usize,
    different: usize,
}

impl Comparison {
    /// Begins to listen; `found` is what differed when the two sides were started.
    pub(super) fn start(sides: Sides, found: &[String]) -> Result<Self> {
        let mut tally = Tally {
            requests: Count::default(),
            connections: Count::default(),
            changes: Count::default(),
            known: Known::default(),
            counters: sides.witnesses.into_iter().map(Counters::of).collect(),
            lines: Lines::of(sides.envoys),
        };
        if !found.is_empty() {
            tally.changed("the start", found);
        }
        let mut comparison = Self { fronts: Vec::new(), tally: Arc::new(Mutex::new(tally)) };
        comparison.listen(sides.pairs)?;
        Ok(comparison)
    }

    /// Lets requests wait while both sides change, and compares the changed ones from then on; `change` tells these, and what
    /// differed in how they took the change.
    pub(super) fn change(&mut self, change: impl FnOnce() -> (Sides, Vec<String>)) -> Result<()> {
        let mut tally = lock(&self.tally);
        let (sides, found) = change();
        tally.changed("a change of the files", &found);
        let mut before = std::mem::take(&mut tally.counters);
        let counters = sides.witnesses.into_iter().map(|witnesses| {
            let at = before.iter().position(|counters| *counters.witnesses() == witnesses);
            at.map_or_else(|| Counters::of(witnesses), |at| before.remove(at))
        });
        tally.counters = counters.collect();
        tally.lines.follow(sides.envoys);
        // It belongs to no request.
        let _of_the_change = tally.settled(STARTING);
        drop(tally);
        self.listen(sides.pairs)
    }

    /// Listens for these pairs and for no others; who is known goes on.
    fn listen(&mut self, pairs: Vec<Pair>) -> Result<()> {
        self.fronts.retain(|(pair, _)| pairs.contains(pair));
        for (at, pair) in pairs.into_iter().enumerate() {
            if self.fronts.iter().any(|(known, _)| *known == pair) {
                continue;
            }
            let tally = Arc::clone(&self.tally);
            let front = match pair.carries {
                Carries::Requests => Front::Requests(requests(pair.clone(), tally)?),
                Carries::Bytes => {
                    let judged = pair.clone();
                    Front::Bytes(Line::start(&pair, move |found| weigh(&judged, found, &tally))?)
                }
            };
            self.fronts.insert(at.min(self.fronts.len()), (pair, front));
        }
        Ok(())
    }

    /// Who listens where, for people.
    pub(super) fn describe(&self) -> String {
        let place = |front: &Front| match front {
            Front::Requests(front) => format!("http://{}", front.address()),
            Front::Bytes(front) => format!("tcp://{}", front.address()),
        };
        self.fronts.iter().map(|(pair, front)| format!("{} at {}\n", pair.name, place(front))).collect()
    }

    /// The result for people, and whether there was no difference.
    pub(super) fn end(self) -> (String, bool) {
        for (_, front) in self.fronts {
            match front {
                Front::Requests(front) => drop(front),
                Front::Bytes(front) => front.finish(),
            }
        }
        let tally = lock(&self.tally);
        let mut text = String::new();
        let counts = [(&tally.requests, "requests"), (&tally.connections, "connections"), (&tally.changes, "changes")];
        for (count, what) in counts {
            if count.all > 0 || what == "requests" {
                let _ = writeln!(text, "{} {what}, {} of them with differences", count.all, count.different);
            }
        }
        for known in tally.known.told() {
            let _ = writeln!(text, "{known}");
        }
        (text, tally.requests.different + tally.connections.different + tally.changes.different == 0)
    }
}

impl Tally {
    /// Counts a start or a change, and tells what differed in how it was taken.
    fn changed(&mut self, what: &str, found: &[String]) {
        self.changes.all += 1;
        if !found.is_empty() {
            self.changes.different += 1;
            tell(what, found);
        }
    }

    /// What differs in counters and logs, once both sides agree or have had that time to.
    fn settled(&mut self, patience: Duration) -> Vec<String> {
        let deadline = Instant::now() + patience;
        loop {
            // All of them look, whether or not one is content.
            let agreed = [self.lines.agree()].into_iter().chain(self.counters.iter_mut().map(Counters::agree));
            if agreed.filter(|agreed| !agreed).count() == 0 || Instant::now() >= deadline {
                break;
            }
            thread::sleep(GLANCE);
        }
        let counted = self.counters.iter_mut().flat_map(Counters::differences);
        counted.collect::<Vec<_>>().into_iter().chain(self.lines.differences()).collect()
    }
}

/// Listens for requests.
fn requests(pair: Pair, tally: Arc<Mutex<Tally>>) -> Result<Backend> {
    let listen = pair.listen;
    let judge = Arc::new(move |request: &Request, protocol: Protocol| judge(&pair, request, protocol, &tally));
    let of_http2 = Arc::clone(&judge);
    let of_http2 = Arc::new(move |request: &Request| of_http2(request, Protocol::Http2));
    let of_http1 = Cluster::new("comparison", move |request| answer(request, judge(request, Protocol::Http1)));
    let front = Backend::start_beside(listen, of_http1, move |connection| http2::serve(connection, &of_http2));
    front.with_context(|| format!("the comparison cannot listen on {listen}"))
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends a request through both, tells what differs, and answers as the embedded proxy did.
fn judge(pair: &Pair, request: &Request, protocol: Protocol, tally: &Mutex<Tally>) -> Response {
    // One after the other, so that counters belong to this request.
    let mut tally = lock(tally);
    tally.requests.all += 1;
    // The same for both, since plugins and servers may show it.
    let id = format!("compare-{}-{}", std::process::id(), tally.requests.all);
    let [embedded, envoy] = [pair.embedded, pair.envoy]
        .map(|side| send(side, request, protocol, &id).map_err(|error| format!("{error:#}")));
    let mut found = answers::differences(&embedded, &envoy, request.header("te"), &mut tally.known);
    found.extend(tally.settled(SETTLING));
    if !found.is_empty() {
        tally.requests.different += 1;
        tell(&format!("{}: {} {}{}", pair.name, request.method(), request.authority(), request.path()), &found);
    }
    let failed = |error: String| Response { status: 502, body: error.into_bytes(), ..Response::default() };
    embedded.or(envoy).unwrap_or_else(failed)
}

/// Counts a connection that is over, and tells what differed.
fn weigh(pair: &Pair, mut found: Vec<String>, tally: &Mutex<Tally>) {
    let mut tally = lock(tally);
    tally.connections.all += 1;
    found.extend(tally.settled(SETTLING));
    if !found.is_empty() {
        tally.connections.different += 1;
        tell(&format!("{}: a connection", pair.name), &found);
    }
}

fn tell(what: &str, found: &[String]) {
    let mut text = format!("{what} differs\n");
    for difference in found {
        let _ = writeln!(text, "  {difference}");
    }
    // Whoever does not read what is printed still gets the exit code.
    let _unread = output::print(&text);
}

/// Sends a request as its client did.
fn send(to: SocketAddr, request: &Request, protocol: Protocol, id: &str) -> Result<Response> {
    let mut fields = http2::texts(request.headers());
    fields.retain(|(name, _)| !name.starts_with(':'));
    if request.header("x-request-id").is_none() {
        fields.push(("x-request-id".to_owned(), id.to_owned()));
    }
    if protocol == Protocol::Http2 {
        return http2::send(to, request, &fields, PATIENCE);
    }
    fields.insert(0, ("host".to_owned(), request.authority().to_owned()));
    // The client has been told to send its body already.
    let chunked = request.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    fields.retain(|(name, _)| name != "transfer-encoding" && !(chunked && name == "content-length"));
    let trailers = http2::texts(request.trailers());
    let [headers, trailers] = [&fields, &trailers].map(|fields| pairs(fields));
    let framing = if chunked { Framing::Chunked(&trailers) } else { Framing::Length };
    let body = request.body();
    let sent =
        client::Request { method: request.method(), path: request.path(), headers: &headers, body: &body, framing };
    client::send(to, &sent, PATIENCE)
}

fn pairs(fields: &[Field]) -> Vec<(&str, &str)> {
    fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// The answer as a client of HTTP/1.1 gets it; it is framed anew.
fn answer(request: &Request, response: Response) -> Answer {
    let framing = |name: &str| matches!(name, "connection" | "content-length" | "keep-alive" | "transfer-encoding");
    let fields = response.headers.into_iter().filter(|(name, _)| !framing(name));
    let answer = Answer::new(response.status);
    let answer = fields.fold(answer, |answer, (name, value)| answer.header(name, value)).body(response.body);
    let answer = response.trailers.into_iter().fold(answer, |answer, (name, value)| answer.trailer(name, value));
    match request.header("connection") {
        Some(wish) if wish.eq_ignore_ascii_case("close") => answer.header("connection", "close"),
        _ => answer,
    }
}
