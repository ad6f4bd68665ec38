//! Headers, bodies and trailers: when they pass, when they are shown, when they are refused.

use super::*;

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
    let id = bench.worker.open(ChainId::FIRST, Connection { protocol: Protocol::Http2, ..Connection::default() });
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
