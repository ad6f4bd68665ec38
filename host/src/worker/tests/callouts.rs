//! Callouts: their answers, in whatever order and however late.

use super::*;

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
