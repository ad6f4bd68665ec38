//! The reference traces of Envoy 1.40, and what else the engine promises, with scripted guests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::abi::Status;
use crate::clock::Clock;
use crate::fault::{Faults, When};
use crate::lint::FindingKind;
use crate::scripted::{Calls, OUT, OUT_LEN, Script};
use crate::services::LogRecord;

type Answer = Result<u32, String>;

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
        let mut worker = Worker::start(plugins, Arc::clone(&services), options).unwrap();
        worker.take_trace();
        Self { worker, services, logs, upstream: vec![], client: vec![], callouts: vec![], done: false }
    }

    fn one(script: impl Fn(Callback, &mut Calls<'_>) -> Answer + Send + Sync + 'static) -> Self {
        Self::new(&[Script::new(script).plugin("p")])
    }

    fn open(&mut self) -> ExchangeId {
        self.worker.open(Connection::default())
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

#[test]
fn t1_get() {
    let mut bench = Bench::one(pass);
    let id = bench.get();
    bench.respond(id, 3);
    let expected = [
        "context_create(2, 1)",
        "request_headers(2, 4, 1)=0",
        "response_headers(2, 2, 0)=0",
        "response_body(2, 3, 0)=0",
        "response_body(2, 0, 1)=0",
        "log(2)",
        "done(2)=1",
        "delete(2)",
    ];
    assert_eq!(bench.calls(), expected);
    assert_eq!(bench.upstream, ["/p?q=1."]);
    assert_eq!(bench.client, ["200", "xxx", "."]);
    assert_eq!((bench.worker.open_contexts(), bench.worker.open_exchanges()), (0, 0));
}

#[test]
fn t2_post_ends_apart_in_http1_and_with_the_data_in_http2() {
    let mut bench = Bench::one(pass);
    let id = bench.post();
    bench.data(id, "hello", true);
    assert_eq!(
        bench.calls(),
        ["context_create(2, 1)", "request_headers(2, 4, 0)=0", "request_body(2, 5, 0)=0", "request_body(2, 0, 1)=0"]
    );
    let id = bench.worker.open(Connection { protocol: Protocol::Http2, ..Connection::default() });
    bench.worker.request_headers(id, request(&[]), false);
    bench.data(id, "hello", true);
    assert_eq!(bench.calls()[2..], ["request_body(3, 5, 1)=0"]);
}

#[test]
fn t3_paused_bodies_are_shown_whole() {
    let mut bench = Bench::one(|callback, calls| match callback {
        Callback::RequestBody { end, .. } => Ok(u32::from(!end)),
        _ => pass(callback, calls),
    });
    let id = bench.post();
    bench.data(id, "abc", false);
    bench.data(id, "defg", false);
    assert_eq!(bench.upstream, ["/p?q=1"]);
    bench.data(id, "", true);
    assert_eq!(bench.calls()[2..], ["request_body(2, 3, 0)=1", "request_body(2, 7, 0)=1", "request_body(2, 7, 1)=0"]);
    assert_eq!(bench.upstream, ["/p?q=1", "abc", "defg."]);
}

#[test]
fn t3_trailers_take_the_place_of_the_end() {
    let mut bench = Bench::one(pass);
    let id = bench.post();
    bench.data(id, "abc", false);
    bench.worker.request_trailers(id, [("t", "1")].into_iter().collect());
    bench.run();
    assert_eq!(bench.calls()[2..], ["request_body(2, 3, 0)=0", "request_trailers(2, 1)=0"]);
    assert_eq!(bench.upstream, ["/p?q=1", "abc", "{b\"t\": b\"1\"}."]);
}

#[test]
fn t4_t5_a_local_reply_passes_the_response_callbacks() {
    let mut bench = Bench::one(|callback, calls| match callback {
        Callback::RequestHeaders { .. } => {
            assert_eq!(calls.reply(403, &[("x-a", "1"), ("x-b", "2")], "hello"), 0);
            Ok(0)
        }
        _ => pass(callback, calls),
    });
    bench.get();
    let expected = [
        "context_create(2, 1)",
        "request_headers(2, 4, 1)=0",
        "response_headers(2, 5, 0)=0",
        "response_body(2, 5, 1)=0",
        "log(2)",
        "done(2)=1",
        "delete(2)",
    ];
    assert_eq!(bench.calls(), expected);
    assert_eq!(bench.upstream, [""; 0], "whatever the callback answers");
    assert_eq!(bench.client, ["403", "hello."]);
}

#[test]
fn t4_replies_without_a_body_end_with_their_headers() {
    let mut bench = Bench::one(|callback, calls| match callback {
        Callback::RequestHeaders { .. } => {
            calls.reply(204, &[], "");
            Ok(1)
        }
        _ => pass(callback, calls),
    });
    bench.get();
    assert_eq!(bench.calls()[2], "response_headers(2, 1, 1)=0");
    let id = bench.open();
    bench.worker.request_headers(id, [(":method", "HEAD"), (":path", "/")].into_iter().collect(), true);
    bench.run();
    assert_eq!(bench.client, ["204.", "204."]);
}

#[test]
fn t6_a_reply_from_the_response_is_seen_by_no_filter() {
    let inner = Script::new(|callback, calls| match callback {
        Callback::ResponseHeaders { .. } => {
            calls.reply(418, &[], "tea");
            Ok(1)
        }
        _ => pass(callback, calls),
    });
    let mut bench = Bench::new(&[Script::new(pass).plugin("outer"), inner.plugin("inner")]);
    let id = bench.get();
    bench.respond(id, 8);
    let calls = bench.calls();
    assert_eq!(calls[4], "response_headers(2, 2, 0)=1");
    assert_eq!(calls[5..7], ["log(2)", "log(2)"]);
    assert_eq!(bench.client, ["418", "tea."]);
}

#[test]
fn a_reply_after_the_headers_cuts_the_response() {
    let mut bench = Bench::one(|callback, calls| match callback {
        Callback::ResponseBody { .. } => {
            calls.reply(500, &[], "");
            Ok(0)
        }
        _ => pass(callback, calls),
    });
    let id = bench.get();
    bench.respond(id, 8);
    assert_eq!(bench.client, ["200", "reset"]);
    assert_eq!(bench.worker.open_exchanges(), 0);
}

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

#[test]
fn t7_a_callout_decides() {
    let mut bench = Bench::one(ask_first);
    let id = bench.get();
    assert_eq!(bench.upstream, [""; 0]);
    bench.answer(0, "200");
    bench.respond(id, 1);
    let expected = [
        "context_create(2, 1)",
        "request_headers(2, 4, 1)=1",
        "http_call_response(1, 4, 1, 2, 0)",
        "response_headers(2, 2, 0)=0",
        "response_body(2, 1, 0)=0",
        "response_body(2, 0, 1)=0",
        "log(2)",
        "done(2)=1",
        "delete(2)",
    ];
    assert_eq!(bench.calls(), expected);
    assert_eq!(bench.upstream, ["/p?q=1."]);
    assert_eq!(bench.logged(), ["wasm log p p: token 4", "wasm log p p: Ok(b\"200\") 2 b\"ok\" 0"]);
}

#[test]
fn t8_a_late_answer_finds_no_stream() {
    let mut bench = Bench::one(ask_first);
    let id = bench.get();
    bench.worker.downstream_reset(id);
    bench.answer(0, "200");
    let expected = [
        "context_create(2, 1)",
        "request_headers(2, 4, 1)=1",
        "log(2)",
        "done(2)=1",
        "delete(2)",
        "http_call_response(1, 4, 1, 2, 0)",
    ];
    assert_eq!(bench.calls(), expected);
    assert_eq!(bench.logged()[1], "wasm log p: Ok(b\"200\") 2 b\"ok\" 2");
}

#[test]
fn t9_a_callout_from_the_response() {
    let mut bench = Bench::one(|callback, calls| match callback {
        Callback::ResponseHeaders { .. } => {
            calls.call_out("auth", 0).unwrap();
            Ok(1)
        }
        Callback::HttpCallResponse { .. } => {
            assert_eq!(calls.effective(2), 0);
            assert_eq!(calls.raw("proxy_continue_stream", &[CONTINUE_RESPONSE]), 0);
            Ok(0)
        }
        _ => pass(callback, calls),
    });
    let id = bench.get();
    bench.respond(id, 8);
    assert_eq!(bench.client, [""; 0]);
    bench.answer(0, "200");
    let calls = bench.calls();
    assert_eq!(
        calls[2..5],
        ["response_headers(2, 2, 0)=1", "http_call_response(1, 4, 1, 2, 0)", "response_body(2, 8, 1)=0",]
    );
    assert_eq!(bench.client, ["200", "xxxxxxxx."]);
}

#[test]
fn t10_answers_come_in_their_own_order() {
    let mut bench = Bench::one(|callback, calls| match callback {
        Callback::RequestHeaders { .. } => {
            assert_eq!(calls.call_out("auth", 0), Ok(4));
            assert_eq!(calls.call_out("auth", 0), Ok(8));
            assert_eq!(calls.call_out("nowhere", 0), Err(Status::BadArgument));
            Ok(1)
        }
        _ => pass(callback, calls),
    });
    bench.get();
    bench.answer(1, "200");
    bench.answer(0, "200");
    assert_eq!(bench.calls()[2..], ["http_call_response(1, 8, 1, 2, 0)", "http_call_response(1, 4, 1, 2, 0)"]);
}

#[test]
fn callouts_time_out_and_break() {
    let mut bench = Bench::one(ask_first);
    bench.get();
    assert_eq!(bench.worker.next_deadline(), Some(Duration::from_millis(100)));
    bench.services.clock().advance_to(Duration::from_millis(100));
    bench.worker.advance_to(Duration::from_millis(100));
    bench.run();
    assert_eq!(bench.calls()[2], "http_call_response(1, 4, 3, 24, 0)");
    assert_eq!(bench.logged()[1], "wasm log p p: Ok(b\"504\") 24 b\"upstream request timeout\" 0");

    let mut bench = Bench::one(|callback, calls| match callback {
        Callback::HttpCallResponse { .. } => {
            assert_eq!(calls.raw("proxy_get_status", &[24, OUT, OUT_LEN]), 0);
            let code = calls.heap.number(24);
            calls.log(&format!("{code}"));
            assert_eq!(calls.header(6, ":status"), Err(Status::NotFound));
            Ok(0)
        }
        _ => ask_first(callback, calls),
    });
    bench.get();
    bench.worker.callout_answered(bench.callouts[0], CalloutOutcome::Failed);
    assert_eq!(bench.calls()[2], "http_call_response(1, 4, 0, 0, 0)");
    assert_eq!(bench.logged()[1], "wasm log p: 11");
}

fn trap_in(name: &'static str) -> Script {
    Script::new(
        move |callback, calls| if callback.name() == name { Err("unreachable".into()) } else { pass(callback, calls) },
    )
}

#[test]
fn t14_a_trap_fails_the_stream_and_those_after_it() {
    let plugins = [Script::new(pass).plugin("outer"), trap_in("proxy_on_request_headers").plugin("inner")];
    let mut bench = Bench::new(&plugins);
    bench.get();
    let expected = [
        "context_create(2, 1)",
        "request_headers(2, 4, 1)=0",
        "context_create(2, 1)",
        "request_headers(2, 4, 1)",
        "response_headers(2, 1, 1)=0",
        "log(2)",
        "done(2)=1",
        "delete(2)",
    ];
    assert_eq!(bench.calls(), expected);
    assert_eq!(bench.client, ["503."]);
    assert!(bench.worker.has_failed(1));
    bench.get();
    assert_eq!(bench.client, ["503.", "503."]);
    assert_eq!(bench.worker.counters().traps, 1);
}

#[test]
fn a_failed_plugin_can_be_passed_by() {
    for function in ["proxy_on_request_headers", "proxy_on_response_headers", "proxy_on_response_body"] {
        let mut plugin = trap_in(function).plugin("p");
        plugin.fail = FailPolicy::Open;
        let mut bench = Bench::new(&[plugin]);
        for _ in 0..2 {
            let id = bench.get();
            bench.respond(id, 1);
        }
        assert_eq!(bench.client, ["200", "x", ".", "200", "x", "."], "{function}");
    }
}

#[test]
fn a_trap_in_the_response_body_cuts_it() {
    let mut bench = Bench::new(&[trap_in("proxy_on_response_body").plugin("p")]);
    let id = bench.get();
    bench.respond(id, 1);
    assert_eq!(bench.client, ["200", "reset"]);
}

#[test]
fn a_parked_stream_hangs_when_its_vm_fails() {
    let mut bench = Bench::one(|callback, calls| match callback {
        Callback::HttpCallResponse { .. } => Err("unreachable".into()),
        _ => ask_first(callback, calls),
    });
    bench.get();
    bench.get();
    bench.answer(0, "200");
    assert_eq!((bench.client.len(), bench.worker.open_exchanges()), (0, 2));
    assert_eq!(bench.worker.open_callouts(), 0, "what the VM waited for is forgotten");
}

#[test]
fn a_reloading_plugin_comes_back_after_a_pause() {
    let mut plugin = trap_in("proxy_on_response_headers").plugin("p");
    plugin.fail = FailPolicy::Reload;
    let mut bench = Bench::new(&[plugin]);
    let id = bench.get();
    bench.respond(id, 1);
    assert_eq!(bench.client, ["503."]);
    bench.get();
    assert_eq!(bench.client, ["503.", "503."], "too soon");
    bench.services.clock().advance_to(Duration::from_secs(2));
    bench.calls();
    bench.get();
    assert_eq!(bench.upstream.last().unwrap(), "/p?q=1.");
    assert_eq!(bench.calls()[..3], ["context_create(1, 0)", "vm_start(1, 0)=1", "configure(1, 0)=1"]);
}

#[test]
fn t16_equal_plugins_share_a_vm() {
    let script = Script::new(pass);
    let code = Code::Wasm(Arc::new(script.clone()));
    let plugin = |name: &str| Plugin { vm_id: "v".into(), code: code.clone(), ..script.plugin(name) };
    let mut bench = Bench::new(&[plugin("one"), plugin("two")]);
    bench.get();
    assert_eq!(
        bench.calls(),
        ["context_create(3, 1)", "request_headers(3, 4, 1)=0", "context_create(4, 2)", "request_headers(4, 4, 1)=0"]
    );
}

#[test]
fn a_chain_answers_backwards() {
    let mut bench = Bench::new(&["a", "b", "c"].map(|name| {
        Script::new(move |callback, calls| {
            calls.log(&format!("{} {name}", callback.name().trim_start_matches("proxy_on_")));
            pass(callback, calls)
        })
        .plugin(name)
    }));
    bench.logs.lock().unwrap().clear();
    let id = bench.get();
    let headers = [(":status", "204")].into_iter().collect();
    bench.worker.response_headers(id, headers, true);
    bench.run();
    let order: Vec<String> = bench.logged().iter().map(|line| line.split(": ").nth(1).unwrap().to_owned()).collect();
    let requests = ["a", "b", "c"].iter().flat_map(|p| [format!("context_create {p}"), format!("request_headers {p}")]);
    let responses = ["c", "b", "a"].iter().map(|p| format!("response_headers {p}"));
    let logs = ["a", "b", "c"].iter().map(|p| format!("log {p}"));
    let ends = ["a", "b", "c"].iter().flat_map(|p| [format!("done {p}"), format!("delete {p}")]);
    assert_eq!(order, requests.chain(responses).chain(logs).chain(ends).collect::<Vec<_>>());
}

#[test]
fn a_later_filter_that_was_never_asked_still_logs() {
    let replies = Script::new(|callback, calls| match callback {
        Callback::RequestHeaders { .. } => {
            calls.reply(403, &[], "");
            Ok(1)
        }
        _ => pass(callback, calls),
    });
    let mut bench = Bench::new(&[replies.plugin("first"), Script::new(pass).plugin("second")]);
    bench.get();
    let expected = [
        "context_create(2, 1)",
        "request_headers(2, 4, 1)=1",
        "response_headers(2, 1, 1)=0",
        "log(2)",
        "context_create(2, 1)",
        "log(2)",
        "done(2)=1",
        "delete(2)",
        "done(2)=1",
        "delete(2)",
    ];
    assert_eq!(bench.calls(), expected);
}

#[test]
fn a_body_beyond_the_limit_is_refused() {
    let options = Options { buffer_limit: 4, ..Options::default() };
    let script = Script::new(|callback, calls| match callback {
        Callback::RequestBody { .. } | Callback::ResponseBody { .. } => Ok(1),
        _ => pass(callback, calls),
    });
    let mut bench = Bench::with(&[script.plugin("p")], options.clone());
    let id = bench.post();
    bench.data(id, "abc", false);
    bench.data(id, "def", false);
    assert_eq!(bench.client[0], "413");
    let calls = bench.calls();
    assert_eq!(calls[4], "response_headers(2, 3, 0)=0", "callbacks see it");

    let mut bench = Bench::with(&[script.plugin("p")], options);
    let id = bench.get();
    bench.respond(id, 9);
    assert_eq!(bench.client, ["200", "reset"]);
}

#[test]
fn a_full_stop_holds_the_body_and_shows_it_at_once() {
    let mut bench = Bench::one(ask_first);
    let id = bench.post();
    bench.data(id, "abc", false);
    bench.data(id, "def", true);
    assert_eq!(bench.calls().len(), 2, "no body callback while all is stopped");
    assert_eq!(bench.worker.request_backlog(id), 6);
    bench.answer(0, "200");
    assert_eq!(bench.calls(), ["http_call_response(1, 4, 1, 2, 0)", "request_body(2, 6, 1)=0"]);
    assert_eq!(bench.upstream, ["/p?q=1", "abc", "def."]);
}

#[test]
fn headers_alone_can_be_stopped() {
    let script = Script::new(|callback, calls| match callback {
        Callback::RequestHeaders { .. } => Ok(1),
        Callback::RequestBody { end, .. } => Ok(u32::from(!end)),
        _ => pass(callback, calls),
    });
    let mut plugin = script.plugin("p");
    plugin.allow_on_headers_stop_iteration = true;
    let mut bench = Bench::new(&[plugin]);
    let id = bench.post();
    bench.data(id, "abc", false);
    assert_eq!(bench.upstream, [""; 0]);
    bench.data(id, "", true);
    assert_eq!(
        bench.calls()[1..],
        ["request_headers(2, 4, 0)=1", "request_body(2, 3, 0)=1", "request_body(2, 3, 1)=0"]
    );
    assert_eq!(bench.upstream, ["/p?q=1", "abc."], "the body's Continue lets the headers go too");
}

#[test]
fn a_continue_followed_by_a_pause_holds_what_follows() {
    let mut bench = Bench::one(|callback, calls| match callback {
        Callback::RequestHeaders { .. } => {
            calls.raw("proxy_continue_stream", &[CONTINUE_REQUEST]);
            Ok(1)
        }
        _ => pass(callback, calls),
    });
    let id = bench.post();
    bench.data(id, "abc", true);
    assert_eq!(bench.upstream, ["/p?q=1"], "headers pass, the body does not");
    assert_eq!(bench.findings(), [FindingKind::ContinueThenPause]);
}

#[test]
fn the_paused_body_can_be_changed_from_outside() {
    let mut bench = Bench::one(|callback, calls| match callback {
        Callback::RequestBody { end, .. } => {
            if end {
                calls.call_out("auth", 0).unwrap();
            }
            Ok(1)
        }
        Callback::HttpCallResponse { .. } => {
            assert_eq!(calls.body(0), Ok(Bytes::new()), "there is no stream yet: the root has none");
            Ok(0)
        }
        _ => pass(callback, calls),
    });
    let id = bench.post();
    bench.data(id, "abc", true);
    drop(bench);

    let mut bench = Bench::one(|callback, calls| match callback {
        Callback::RequestBody { end, .. } => {
            if end {
                calls.call_out("auth", 0).unwrap();
            }
            Ok(1)
        }
        Callback::HttpCallResponse { .. } => {
            calls.effective(2);
            assert_eq!(calls.body(0), Ok(Bytes::from("abc")));
            assert_eq!(calls.set_body(0, 0, 100, "changed"), 0);
            calls.raw("proxy_continue_stream", &[CONTINUE_REQUEST]);
            Ok(0)
        }
        _ => pass(callback, calls),
    });
    let id = bench.post();
    bench.data(id, "abc", true);
    bench.answer(0, "200");
    assert_eq!(bench.upstream, ["/p?q=1", "changed."]);
    assert_eq!(bench.calls()[4..], ["http_call_response(1, 4, 1, 2, 0)"], "no callback for what was buffered");
}

#[test]
fn trailers_can_be_made_at_the_end_of_a_body() {
    let mut bench = Bench::one(|callback, calls| match callback {
        Callback::RequestBody { end: true, .. } => {
            assert_eq!(calls.change("proxy_add_header_map_value", 1, "t", "1"), 0);
            Ok(0)
        }
        Callback::RequestBody { .. } => {
            assert_eq!(calls.change("proxy_add_header_map_value", 1, "t", "1"), 2);
            Ok(0)
        }
        _ => pass(callback, calls),
    });
    let id = bench.post();
    bench.data(id, "abc", true);
    assert_eq!(bench.upstream, ["/p?q=1", "abc", "{b\"t\": b\"1\"}."]);
}

#[test]
fn closing_cuts_both_sides() {
    let mut bench = Bench::one(|callback, calls| match callback {
        Callback::ResponseHeaders { .. } => {
            assert_eq!(calls.raw("proxy_close_stream", &[1]), 0);
            Ok(0)
        }
        _ => pass(callback, calls),
    });
    let id = bench.post();
    let headers = [(":status", "200")].into_iter().collect();
    bench.worker.response_headers(id, headers, false);
    bench.run();
    assert_eq!(
        (bench.upstream.as_slice(), bench.client.as_slice()),
        (&["/p?q=1".into(), "reset".into()][..], &["reset".into()][..])
    );
    assert_eq!(bench.calls().last().unwrap(), "delete(2)");
}

#[test]
fn crashes_of_envoy_are_found() {
    for (callback, call, argument) in [
        ("proxy_on_request_headers", "proxy_continue_stream", 1),
        ("proxy_on_log", "proxy_close_stream", 0),
        ("proxy_on_done", "proxy_close_stream", 1),
    ] {
        let mut bench = Bench::one(move |now, calls| {
            if now.name() == callback {
                assert_eq!(calls.raw(call, &[argument]), 0);
            }
            pass(now, calls)
        });
        let id = bench.get();
        bench.respond(id, 1);
        assert_eq!(bench.findings(), [FindingKind::Crash], "{callback} {call}");
        assert_eq!(bench.worker.open_exchanges(), 0);
    }
}

#[test]
fn mistakes_are_found() {
    let mut bench = Bench::one(|callback, calls| match callback {
        Callback::RequestHeaders { .. } => {
            assert_eq!(calls.header(2, "x"), Err(Status::BadArgument));
            assert_eq!(calls.pairs(2), Ok(vec![]));
            calls.reply(403, &[], "");
            calls.reply(404, &[], "");
            Ok(0)
        }
        _ => pass(callback, calls),
    });
    bench.get();
    assert_eq!(bench.findings(), [FindingKind::AbsentMap, FindingKind::AbsentMap, FindingKind::SecondReply]);
    assert_eq!(bench.client, ["403."], "the first reply wins");
}

#[test]
fn statuses_follow_envoy() {
    let mut bench = Bench::one(|callback, calls| {
        if let Callback::RequestHeaders { .. } = callback {
            const BAD: u64 = u32::MAX as u64 - 4;
            assert_eq!(calls.raw("proxy_log", &[6, 0, 0]), 2);
            assert_eq!(calls.raw("proxy_log", &[2, BAD, 9]), 6);
            assert_eq!(calls.raw("proxy_get_header_map_value", &[8, 0, 0, OUT, OUT_LEN]), 2);
            assert_eq!(calls.header(0, "none"), Err(Status::NotFound));
            assert_eq!(calls.header(0, "HOST"), Ok(Bytes::from("a")));
            assert_eq!(calls.raw("proxy_get_header_map_size", &[0, OUT]), 0);
            assert_eq!(calls.heap.number(OUT), 43);
            assert_eq!(calls.raw("proxy_get_header_map_size", &[6, OUT]), 2);
            assert_eq!(calls.raw("proxy_get_header_map_pairs", &[0, BAD, OUT_LEN]), 6);
            assert_eq!(calls.body(0), Ok(Bytes::new()));
            assert_eq!(calls.body(4), Err(Status::NotFound));
            assert_eq!(calls.body(7), Err(Status::NotFound));
            assert_eq!(calls.body(9), Err(Status::BadArgument));
            assert_eq!(calls.set_body(0, 0, 0, "x"), 2);
            assert_eq!(calls.set_body(6, 0, 0, "x"), 2);
            assert_eq!(calls.raw("proxy_continue_stream", &[3]), 12);
            assert_eq!(calls.raw("proxy_continue_stream", &[4]), 2);
            assert_eq!(calls.raw("proxy_close_stream", &[4]), 2);
            assert_eq!(calls.effective(77), 2);
            assert_eq!(calls.raw("proxy_done", &[]), 1);
            assert_eq!(calls.raw("proxy_grpc_send", &[6, 0, 0, 0]), 1);
            assert_eq!(calls.raw("proxy_grpc_send", &[4, 0, 0, 0]), 2);
            assert_eq!(calls.raw("proxy_grpc_cancel", &[0]), 2);
            assert_eq!(calls.raw("proxy_grpc_close", &[5]), 1);
            assert_eq!(calls.raw("proxy_call_foreign_function", &[0, 0, 0, 0, 0, 0]), 1);
            assert_eq!(calls.raw("proxy_define_metric", &[3, 0, 0, OUT]), 2);
            assert_eq!(calls.raw("proxy_define_metric", &[1, 0, 0, OUT]), 0);
            assert_eq!(calls.heap.number(OUT), 5);
            assert_eq!(calls.raw("proxy_increment_metric", &[9, 1]), 1);
            assert_eq!(calls.raw("proxy_increment_metric", &[7, 1]), 2);
            assert_eq!(calls.raw("proxy_record_metric", &[7, 1]), 1);
            assert_eq!(calls.raw("proxy_set_header_map_pairs", &[0, 8, 3]), 0, "malformed: the map is emptied");
            assert_eq!(calls.pairs(0), Ok(vec![]));
        }
        pass(callback, calls)
    });
    bench.get();
    assert_eq!(bench.client, ["404."], "a request without a path is the router's to refuse");
    let kinds = bench.findings();
    assert!(kinds.contains(&FindingKind::MalformedPairs));
}

#[test]
fn properties_have_their_time() {
    let mut bench = Bench::one(|callback, calls| {
        let mut look = |path: &str| calls.property(path);
        match callback {
            Callback::RequestHeaders { .. } => {
                assert_eq!(look("request.path"), Ok(Bytes::from("/p?q=1")));
                assert_eq!(look("request.url_path"), Ok(Bytes::from("/p")));
                assert_eq!(look("request.query"), Ok(Bytes::from("q=1")));
                assert_eq!(look("request.headers.Host"), Ok(Bytes::from("a")));
                assert_eq!(look("request"), Err(Status::SerializationFailure));
                assert_eq!(look(""), Err(Status::SerializationFailure));
                assert_eq!(look("plugin_name"), Ok(Bytes::from("p")));
                assert_eq!(look("node"), Err(Status::NotFound));
                assert_eq!(look("response.code"), Err(Status::NotFound));
                assert_eq!(look("request.duration"), Err(Status::NotFound));
                assert_eq!(look("request.protocol"), Ok(Bytes::from("HTTP/1.1")));
                assert_eq!(look("connection.mtls"), Ok(Bytes::from_static(b"\0")));
            }
            Callback::ResponseHeaders { .. } => {
                assert_eq!(look("request.path"), Err(Status::NotFound));
                assert_eq!(look("response.code"), Ok(Bytes::copy_from_slice(&200u64.to_le_bytes())));
                assert_eq!(look("response.code_details"), Ok(Bytes::from("via_upstream")));
            }
            Callback::Log { .. } => {
                assert_eq!(look("request.path"), Ok(Bytes::from("/p?q=1")));
                assert_eq!(look("request.duration").map(|value| value.len()), Ok(8));
            }
            Callback::Tick { .. } => assert_eq!(look("request.path"), Err(Status::NotFound)),
            _ => {}
        }
        pass(callback, calls)
    });
    let id = bench.get();
    bench.respond(id, 1);
    assert!(bench.done);
}

#[test]
fn timers_belong_to_the_plugin() {
    let mut bench = Bench::one(|callback, calls| {
        if let Callback::RequestHeaders { .. } = callback {
            assert_eq!(calls.raw("proxy_set_tick_period_milliseconds", &[10]), 0);
        }
        pass(callback, calls)
    });
    bench.get();
    bench.calls();
    assert_eq!(bench.worker.next_deadline(), Some(Duration::from_millis(10)));
    for now in [5, 10, 15, 20] {
        bench.services.clock().advance_to(Duration::from_millis(now));
        bench.worker.advance_to(Duration::from_millis(now));
    }
    assert_eq!(bench.calls(), ["tick(1)", "tick(1)"]);
}

#[test]
fn queues_notify_between_callbacks() {
    let mut bench = Bench::one(|callback, calls| {
        match callback {
            Callback::Configure { .. } => assert_eq!(calls.raw("proxy_register_shared_queue", &[0, 0, OUT]), 0),
            Callback::RequestHeaders { .. } => assert_eq!(calls.raw("proxy_enqueue_shared_queue", &[1, 8, 2]), 0),
            Callback::QueueReady { queue, .. } => {
                assert_eq!(calls.raw("proxy_dequeue_shared_queue", &[queue.into(), OUT, OUT_LEN]), 0);
                assert_eq!(calls.raw("proxy_dequeue_shared_queue", &[queue.into(), OUT, OUT_LEN]), 7);
            }
            _ => {}
        }
        pass(callback, calls)
    });
    bench.get();
    bench.calls();
    bench.worker.advance_to(Duration::ZERO);
    assert_eq!(bench.calls(), ["queue_ready(1, 1)"]);
}

#[test]
fn faults_and_limits_bite() {
    let script = || {
        Script::new(|callback, calls| {
            if let Callback::RequestHeaders { .. } = callback {
                let first = calls.header(0, ":path");
                let second = calls.header(0, ":path");
                calls.log(&format!("{first:?} {second:?}"));
            }
            pass(callback, calls)
        })
    };
    let faults = Faults::new().call("proxy_get_header_map_value", When::Nth(2), Status::InternalFailure);
    let mut bench = Bench::with(&[script().plugin("p")], Options { faults: Some(faults), ..Options::default() });
    bench.get();
    assert_eq!(bench.logged(), ["wasm log p p: Ok(b\"/p?q=1\") Err(InternalFailure)"]);

    let faults = Faults::new().allocation(When::Always);
    let mut bench = Bench::with(&[script().plugin("p")], Options { faults: Some(faults), ..Options::default() });
    bench.get();
    assert_eq!(bench.logged(), ["wasm log p p: Err(InvalidMemoryAccess) Err(InvalidMemoryAccess)"]);

    let faults = Faults::new().trap("proxy_on_response_headers", When::Always);
    let mut bench = Bench::with(&[script().plugin("p")], Options { faults: Some(faults), ..Options::default() });
    let id = bench.get();
    bench.respond(id, 1);
    assert_eq!(bench.client, ["503."]);
}

#[test]
fn roots_end_with_the_worker() {
    let mut bench = Bench::one(|callback, calls| match callback {
        Callback::Done { context: 1 } => Ok(0),
        Callback::Tick { .. } => {
            assert_eq!(calls.raw("proxy_done", &[]), 0);
            assert_eq!(calls.raw("proxy_done", &[]), 1);
            Ok(0)
        }
        Callback::Configure { .. } => {
            calls.raw("proxy_set_tick_period_milliseconds", &[1]);
            Ok(1)
        }
        _ => pass(callback, calls),
    });
    bench.get();
    bench.calls();
    bench.worker.stop();
    assert_eq!(bench.calls(), ["log(2)", "done(2)=1", "delete(2)", "done(1)=0"]);
    bench.worker.advance_to(Duration::from_secs(1));
    assert_eq!(bench.calls(), ["tick(1)", "delete(1)"]);
}
