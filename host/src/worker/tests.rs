//! The reference traces of Envoy 1.40, and what else the engine promises, with scripted guests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::abi::Status;
use crate::clock::Clock;
use crate::entrance::Entrance;
use crate::fault::{Faults, When};
use crate::lint::FindingKind;
use crate::scripted::{Calls, OUT, OUT_LEN, Script};
use crate::services::LogRecord;

type Answer = Result<u32, String>;

mod bodies;
mod callouts;
mod calls;
mod chains;
mod configurations;
mod failures;
mod recordings;
mod replies;
mod sharing;

/// A worker with everything around it that a test looks at.
struct Bench {
    worker: Worker,
    services: Arc<Services>,
    logs: Arc<Mutex<Vec<String>>>,
    upstream: Vec<String>,
    client: Vec<String>,
    callouts: Vec<CalloutId>,
    done: bool,
}

impl Bench {
    fn new(plugins: &[Plugin]) -> Self {
        Self::with(plugins, Options::default())
    }

    fn with(plugins: &[Plugin], options: Options) -> Self {
        let logs: Arc<Mutex<Vec<String>>> = Arc::default();
        let sink = Arc::clone(&logs);
        let log = move |record: LogRecord<'_>| sink.lock().unwrap().push(record.to_string());
        let services = Arc::new(Services::new(Clock::manual(Duration::from_secs(1000)), Box::new(log)));
        services.set_clusters(["auth".to_owned()]);
        let options = Options { trace: true, lint: true, ..options };
        let mut worker = Worker::new(Arc::clone(&services), options);
        worker.add_chain(plugins, Entrance::default()).unwrap();
        worker.take_trace();
        Self { worker, services, logs, upstream: vec![], client: vec![], callouts: vec![], done: false }
    }

    fn one(script: impl Fn(Callback, &mut Calls<'_>) -> Answer + Send + Sync + 'static) -> Self {
        Self::new(&[Script::new(script).plugin("p")])
    }

    fn open(&mut self) -> ExchangeId {
        self.worker.open(ChainId::FIRST, Connection::default())
    }

    /// Takes the effects; an exchange whose response is whole is finished.
    fn run(&mut self) {
        while let Some(effect) = self.worker.next_effect() {
            match effect {
                Effect::ToUpstream { item, .. } => self.upstream.push(show(&item)),
                Effect::ToDownstream { id, item } => {
                    self.client.push(show(&item));
                    if ends(&item) {
                        self.done = true;
                        self.worker.finished(id);
                    }
                }
                Effect::ResetUpstream { .. } => self.upstream.push("reset".to_owned()),
                Effect::ResetDownstream { .. } => self.client.push("reset".to_owned()),
                Effect::Callout { id, .. } => self.callouts.push(id),
                _ => {}
            }
        }
    }

    fn get(&mut self) -> ExchangeId {
        let id = self.open();
        self.worker.request_headers(id, request(&[]), true);
        self.run();
        id
    }

    fn post(&mut self) -> ExchangeId {
        let id = self.open();
        self.worker.request_headers(id, request(&[]), false);
        self.run();
        id
    }

    fn data(&mut self, id: ExchangeId, data: &'static str, end: bool) {
        self.worker.request_data(id, data.into(), end);
        self.run();
    }

    /// A response of `length` bytes, as an HTTP/1 upstream sends it.
    fn respond(&mut self, id: ExchangeId, length: usize) {
        let headers = [(":status", "200"), ("content-length", &length.to_string())].into_iter().collect();
        self.worker.response_headers(id, headers, false);
        self.worker.response_data(id, vec![b'x'; length].into(), true);
        self.run();
    }

    fn answer(&mut self, at: usize, status: &str) {
        let headers: HeaderMap = [(":status", status)].into_iter().collect();
        let outcome = CalloutOutcome::Response { headers, body: "ok".into(), trailers: HeaderMap::new() };
        self.worker.callout_answered(self.callouts[at], outcome);
        self.run();
    }

    /// The callbacks so far, such as `request_headers(2, 4, 1)=0`.
    fn calls(&mut self) -> Vec<String> {
        let mut calls: Vec<String> = Vec::new();
        let mut open = Vec::new();
        for line in self.worker.take_trace() {
            match line {
                TraceLine::Enter { name, arguments } => {
                    let arguments: Vec<String> = arguments.iter().map(u64::to_string).collect();
                    open.push(calls.len());
                    let name = name.trim_start_matches("proxy_on_");
                    calls.push(format!("{name}({})", arguments.join(", ")));
                }
                TraceLine::Leave { value, .. } => {
                    if let (Some(at), Some(value)) = (open.pop(), value) {
                        calls[at].push_str(&format!("={value}"));
                    }
                }
                TraceLine::Call { .. } | TraceLine::Return { .. } => {}
            }
        }
        calls
    }

    fn findings(&mut self) -> Vec<FindingKind> {
        self.worker.take_findings().into_iter().map(|finding| finding.kind).collect()
    }

    fn logged(&self) -> Vec<String> {
        self.logs.lock().unwrap().clone()
    }
}

fn request(more: &[(&str, &str)]) -> HeaderMap {
    [(":authority", "a"), (":path", "/p?q=1"), (":method", "GET"), (":scheme", "http")]
        .iter()
        .chain(more)
        .copied()
        .collect()
}

fn show(item: &Item) -> String {
    match item {
        Item::Headers(headers, end) => {
            let status = headers.get_str(":status").or_else(|| headers.get_str(":path")).unwrap_or_default();
            format!("{status}{}", if *end { "." } else { "" })
        }
        Item::Data(data, end) => format!("{}{}", data.escape_ascii(), if *end { "." } else { "" }),
        Item::Trailers(trailers) => format!("{trailers:?}."),
    }
}

fn ends(item: &Item) -> bool {
    matches!(item, Item::Headers(_, true) | Item::Data(_, true) | Item::Trailers(_))
}

/// A guest that lets everything pass.
fn pass(callback: Callback, _: &mut Calls<'_>) -> Answer {
    Ok(u32::from(callback.assumed() == 1))
}

const CONTINUE_REQUEST: u64 = 0;
const CONTINUE_RESPONSE: u64 = 1;

/// Pauses requests for a callout, and continues them when its answer comes.
fn ask_first(callback: Callback, calls: &mut Calls<'_>) -> Answer {
    match callback {
        Callback::RequestHeaders { .. } => {
            let token = calls.call_out("auth", 100).unwrap();
            calls.log(&format!("token {token}"));
            Ok(1)
        }
        Callback::HttpCallResponse { body_size, .. } => {
            let status = calls.header(6, ":status");
            let body = calls.body(4).unwrap_or_default();
            let known = calls.effective(2);
            calls.log(&format!("{status:?} {body_size} {body:?} {known}"));
            if known == 0 {
                assert_eq!(calls.change("proxy_add_header_map_value", 0, "x-ok", "1"), 0);
                assert_eq!(calls.raw("proxy_continue_stream", &[CONTINUE_REQUEST]), 0);
                assert_eq!(calls.header(0, "x-ok"), Err(Status::BadArgument), "the map is gone at once");
            }
            Ok(0)
        }
        _ => pass(callback, calls),
    }
}
