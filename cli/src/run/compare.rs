//! `run --compare`: each request goes through the embedded proxy and through a real Envoy, and what differs is told.

mod counters;
mod lines;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use wasmplugin_host::envoy::backend::Backend;
use wasmplugin_host::envoy::log::Log;
use wasmplugin_host::test::{Answer, Cluster, Request};

use crate::client::{self, Response};
use crate::output;
use counters::Counters;
use lines::Lines;

pub(super) use counters::Witnesses;

/// How long one proxy may take for its answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long counters and logs may take until they agree: plugins count and log when an exchange is over, which is after its
/// answer.
const SETTLING: Duration = Duration::from_secs(5);
/// How often they are looked at meanwhile.
const GLANCE: Duration = Duration::from_millis(20);
/// Bytes of a body that are shown on either side of where bodies part.
const EXCERPT: usize = 40;

/// Headers of answers that differ by their nature, and why.
const KNOWN: [(&str, &str); 6] = [
    ("connection", "it is about one connection"),
    ("date", "each proxy has its own clock"),
    ("keep-alive", "it is about one connection"),
    ("transfer-encoding", "how a body is framed is each proxy's own affair"),
    ("x-envoy-upstream-service-time", "it is a time that was measured"),
    ("x-request-id", "it is random"),
];

/// One place where requests come in, on both sides.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    /// What to call it.
    pub(super) name: String,
    /// Where the comparison listens for it; port 0 takes a free one.
    pub(super) listen: SocketAddr,
    /// Where the embedded proxy takes them.
    pub(super) embedded: SocketAddr,
    /// Where Envoy takes them.
    pub(super) envoy: SocketAddr,
}

/// Listeners in front of both sides; they end when this is dropped.
#[derive(Debug)]
pub(super) struct Comparison {
    fronts: Vec<(String, Backend)>,
    tally: Arc<Mutex<Tally>>,
}

/// What has come of it so far.
#[derive(Debug)]
struct Tally {
    requests: usize,
    different: usize,
    known: BTreeMap<&'static str, usize>,
    counters: Vec<Counters>,
    lines: Lines,
}

impl Comparison {
    /// Begins to listen; `envoys` are the logs of all Envoys.
    pub(super) fn start(pairs: Vec<Pair>, witnesses: Vec<Witnesses>, envoys: Vec<Log>) -> Result<Self> {
        let counters = witnesses.into_iter().map(Counters::of).collect();
        let tally = Tally { requests: 0, different: 0, known: BTreeMap::new(), counters, lines: Lines::of(envoys) };
        let tally = Arc::new(Mutex::new(tally));
        let start = |pair: Pair| {
            let (name, listen) = (pair.name.clone(), pair.listen);
            let tally = Arc::clone(&tally);
            let judge = move |request: &Request| judge(&pair, request, &tally);
            let front = Cluster::new("comparison", judge);
            let front = Backend::start_at(listen, front)
                .with_context(|| format!("the comparison cannot listen on {listen}"))?;
            Ok((name, front))
        };
        let fronts = pairs.into_iter().map(start).collect::<Result<_>>()?;
        Ok(Self { fronts, tally })
    }

    /// Who listens where, for people.
    pub(super) fn describe(&self) -> String {
        self.fronts.iter().map(|(name, front)| format!("{name} at http://{}\n", front.address())).collect()
    }

    /// The result for people, and whether there was no difference.
    pub(super) fn end(self) -> (String, bool) {
        let tally = lock(&self.tally);
        let mut text = format!("{} requests, {} of them with differences\n", tally.requests, tally.different);
        for (name, count) in &tally.known {
            let reason = KNOWN.iter().find(|(known, _)| known == name).map_or("", |(_, reason)| reason);
            let _ = writeln!(text, "not counted: `{name}` differed {count} times; {reason}");
        }
        (text, tally.different == 0)
    }
}

impl Tally {
    /// What differs in counters and logs, once both sides agree or have had the time to.
    fn settled(&mut self) -> Vec<String> {
        let deadline = Instant::now() + SETTLING;
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

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends a request through both, tells what differs, and answers as the embedded proxy did.
fn judge(pair: &Pair, request: &Request, tally: &Mutex<Tally>) -> Answer {
    // One after the other, so that counters belong to this request.
    let mut tally = lock(tally);
    tally.requests += 1;
    // The same for both, since plugins and servers may show it.
    let id = format!("compare-{}-{}", std::process::id(), tally.requests);
    let [embedded, envoy] =
        [pair.embedded, pair.envoy].map(|side| send(side, request, &id).map_err(|error| format!("{error:#}")));
    let mut found = differences(&embedded, &envoy, &mut tally.known);
    found.extend(tally.settled());
    if !found.is_empty() {
        tally.different += 1;
        let mut text =
            format!("{}: {} {}{} differs\n", pair.name, request.method(), request.authority(), request.path());
        for difference in found {
            let _ = writeln!(text, "  {difference}");
        }
        // Whoever does not read what is printed still gets the exit code.
        let _unread = output::print(&text);
    }
    let answer = embedded.or(envoy).map_or_else(|error| Answer::new(502).body(error), answer);
    match request.header("connection") {
        Some(wish) if wish.eq_ignore_ascii_case("close") => answer.header("connection", "close"),
        _ => answer,
    }
}

fn send(to: SocketAddr, request: &Request, id: &str) -> Result<Response> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let own =
        |name: &str| matches!(name, "connection" | "content-length" | "host" | "keep-alive" | "transfer-encoding");
    let mut fields: Vec<(String, String)> = vec![("host".to_owned(), request.authority().to_owned())];
    let given = request.headers().iter().map(|(name, value)| (text(name), text(value)));
    fields.extend(given.filter(|(name, _)| !name.starts_with(':') && !own(name)));
    if request.header("x-request-id").is_none() {
        fields.push(("x-request-id".to_owned(), id.to_owned()));
    }
    let headers: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let body = request.body();
    let sent = client::Request { method: request.method(), path: request.path(), headers: &headers, body: &body };
    client::send(to, &sent, PATIENCE)
}

/// The answer as the client gets it; it is framed anew.
fn answer(response: Response) -> Answer {
    let framing = |name: &str| matches!(name, "connection" | "content-length" | "keep-alive" | "transfer-encoding");
    let fields = response.headers.into_iter().filter(|(name, _)| !framing(name));
    fields.fold(Answer::new(response.status), |answer, (name, value)| answer.header(name, value)).body(response.body)
}

/// What differs between two answers, for people.
fn differences(
    embedded: &Result<Response, String>,
    envoy: &Result<Response, String>,
    known: &mut BTreeMap<&'static str, usize>,
) -> Vec<String> {
    let (one, other) = match (embedded, envoy) {
        (Ok(one), Ok(other)) => (one, other),
        // Both have cut the connection or said nothing: in which words, is the client's affair.
        (Err(_), Err(_)) => return Vec::new(),
        (Err(error), Ok(other)) => return vec![format!("embedded: {error}; envoy answers {}", other.status)],
        (Ok(one), Err(error)) => return vec![format!("embedded answers {}; envoy: {error}", one.status)],
    };
    let mut found = Vec::new();
    if one.status != other.status {
        found.push(format!("status: embedded {}, envoy {}", one.status, other.status));
    }
    found.extend(header_differences(one, other, known));
    if one.body != other.body {
        found.push(body_difference(&one.body, &other.body));
    }
    found
}

fn header_differences(one: &Response, other: &Response, known: &mut BTreeMap<&'static str, usize>) -> Vec<String> {
    let values = |response: &Response, name: &str| -> Vec<String> {
        response.headers.iter().filter(|(have, _)| have == name).map(|(_, value)| value.clone()).collect()
    };
    let mut names: Vec<&str> = one.headers.iter().chain(&other.headers).map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    // A body in chunks has no length in its head; bodies are compared anyway.
    let chunked = [one, other].iter().any(|response| response.header("transfer-encoding").is_some());
    let mut found = Vec::new();
    for name in names.into_iter().filter(|name| !(chunked && *name == "content-length")) {
        let (mine, theirs) = (values(one, name), values(other, name));
        if mine == theirs {
            continue;
        }
        match KNOWN.iter().find(|(known, _)| *known == name) {
            Some((name, _)) => *known.entry(name).or_default() += 1,
            None => found.push(format!("header `{name}`: embedded {}, envoy {}", listed(&mine), listed(&theirs))),
        }
    }
    found
}

fn listed(values: &[String]) -> String {
    if values.is_empty() {
        return "has none".to_owned();
    }
    values.iter().map(|value| format!("`{}`", value.escape_debug())).collect::<Vec<_>>().join(" and ")
}

/// Where two bodies part.
fn body_difference(one: &[u8], other: &[u8]) -> String {
    let at = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    let excerpt = |body: &[u8]| {
        let part: Vec<u8> = body.iter().skip(at.saturating_sub(EXCERPT)).take(2 * EXCERPT).copied().collect();
        String::from_utf8_lossy(&part).escape_debug().to_string()
    };
    let (mine, theirs) = (excerpt(one), excerpt(other));
    format!(
        "body, from byte {at} on: embedded has {} bytes, `{mine}`; envoy has {}, `{theirs}`",
        one.len(),
        other.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, headers: &[(&str, &str)], body: &str) -> Result<Response, String> {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Ok(Response { status, headers, body: body.as_bytes().to_vec() })
    }

    #[test]
    fn what_differs_is_told() {
        let mut known = BTreeMap::new();
        let one = response(200, &[("date", "now"), ("x-a", "1"), ("x-a", "2"), ("content-length", "5")], "hello");
        let other = response(403, &[("date", "then"), ("x-a", "1"), ("x-b", "3"), ("content-length", "4")], "help");
        let found = differences(&one, &other, &mut known);
        let expected = [
            "status: embedded 200, envoy 403",
            "header `content-length`: embedded `5`, envoy `4`",
            "header `x-a`: embedded `1` and `2`, envoy `1`",
            "header `x-b`: embedded has none, envoy `3`",
            "body, from byte 3 on: embedded has 5 bytes, `hello`; envoy has 4, `help`",
        ];
        assert_eq!(found, expected);
        assert_eq!(known.into_iter().collect::<Vec<_>>(), [("date", 1)]);
    }

    #[test]
    fn framing_is_no_difference() {
        let one = response(200, &[("content-length", "2")], "hi");
        let other = response(200, &[("transfer-encoding", "chunked")], "hi");
        assert_eq!(differences(&one, &other, &mut BTreeMap::new()), [""; 0]);
        let cut = Err("cut".to_owned());
        assert_eq!(differences(&cut, &Err("reset".to_owned()), &mut BTreeMap::new()), [""; 0]);
        assert_eq!(differences(&cut, &one, &mut BTreeMap::new()), ["embedded: cut; envoy answers 200"]);
    }
}
