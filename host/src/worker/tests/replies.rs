//! Replies in the place of an upstream, and streams that are cut.

use super::*;

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
fn a_request_that_is_refused_is_told_of_at_its_end() {
    let mut bench = Bench::one(|callback, calls| {
        if let Callback::Log { .. } = callback {
            let told = ["request.path", "response.code_details"].map(|path| calls.property(path));
            let told = told.map(|value| value.map(|value| String::from_utf8_lossy(&value).into_owned()));
            let (path, status) = (calls.header(0, ":path"), calls.header(2, ":status"));
            calls.log(&format!("{told:?} {path:?} {status:?}"));
        }
        pass(callback, calls)
    });
    let id = bench.open();
    let reply = LocalReply { flags: 1 << 18, ..LocalReply::text(400, "Bad Request", "codec_error") };
    bench.worker.refused(id, None, reply);
    bench.run();
    assert_eq!(bench.calls(), ["context_create(2, 1)", "log(2)", "done(2)=1", "delete(2)"]);
    assert_eq!(bench.client, ["400", "Bad Request."]);
    let id = bench.open();
    bench.worker.refused(
        id,
        Some(request(&[("content-type", "application/grpc")])),
        LocalReply::text(400, "", "bad_path"),
    );
    bench.run();
    assert_eq!(bench.client[2..], ["200."], "gRPC clients get it in their way");
    let logged = bench.logged();
    assert!(logged[0].contains("Ok(\"codec_error\")") && logged[0].contains("Ok(b\"400\")"), "{logged:?}");
    assert!(logged[1].contains("Ok(\"/p?q=1\")") && logged[1].contains("Ok(\"bad_path\")"), "{logged:?}");
    assert_eq!(bench.upstream, [""; 0]);
}
