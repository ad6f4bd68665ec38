//! What host calls answer, and what tests are told of mistakes.

use super::*;

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
