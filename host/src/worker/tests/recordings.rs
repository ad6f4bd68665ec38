//! Recordings: what they tell of exchanges.

use super::*;
use crate::recording::{Content, Decision, Entry, Event, Leg, Point, Recording, What};

impl Bench {
    fn recorded(plugins: &[Plugin]) -> Self {
        let bench = Self::new(plugins);
        bench.services.recorder().switch(true);
        bench
    }

    fn recordings(&self) -> Vec<Recording> {
        self.services.recorder().changed_since(0).0
    }
}

fn legs(recording: &Recording) -> Vec<Leg> {
    let leg = |what: &What| if let What::Message(message) = what { Some(message.leg) } else { None };
    recording.entries.iter().filter_map(|entry| leg(&entry.what)).collect()
}

fn events(recording: &Recording) -> Vec<Event> {
    recording.steps().flat_map(|step| step.events.clone()).collect()
}

#[test]
fn an_exchange_is_told_from_end_to_end() {
    let script = Script::new(|callback, calls| match callback {
        Callback::RequestHeaders { .. } => {
            calls.change("proxy_replace_header_map_value", 0, "x-user", "ada");
            calls.change("proxy_replace_header_map_value", 0, "x-token", "0123456789");
            calls.log("the token is 0123456789");
            Ok(0)
        }
        Callback::ResponseBody { end: true, .. } => {
            calls.set_body(1, 0, 99, "changed");
            Ok(0)
        }
        _ => pass(callback, calls),
    });
    let mut bench = Bench::recorded(&[script.plugin("first"), script.plugin("second")]);
    let id = bench.get();
    bench.respond(id, 1);
    let recordings = bench.recordings();
    let [recording] = recordings.as_slice() else { panic!("{recordings:?}") };
    assert_eq!(legs(recording), [Leg::RequestIn, Leg::RequestOut, Leg::ResponseIn, Leg::ResponseOut]);
    assert_eq!(recording.message(Leg::RequestIn).unwrap().header("x-user"), None);
    assert_eq!(recording.message(Leg::RequestOut).unwrap().header("x-user"), Some("ada"));
    let first = recording.steps().next().unwrap();
    assert_eq!((first.plugin.as_ref(), first.callback.name()), ("first", "proxy_on_request_headers"));
    assert_eq!(first.calls, [("proxy_replace_header_map_value", 2), ("proxy_log", 1)]);
    assert_eq!(first.decision, Decision::Continues);
    let set =
        |name: &str, value: &str| Event::HeaderSet { map: "request header", name: name.into(), value: value.into() };
    let text = "the token is [redacted, 10 bytes]".to_owned();
    assert_eq!(
        first.events,
        [
            set("x-user", "ada"),
            set("x-token", "[redacted, 10 bytes]"),
            Event::Log { level: crate::abi::LogLevel::Info, text }
        ]
    );
    assert!(events(recording).contains(&Event::Body { response: true, before: 0, after: 7 }), "{recording}");
    let end = recording.end.as_ref().unwrap();
    assert_eq!((end.status, end.details.as_str(), end.response_bytes), (Some(200), "", (1, 8)), "{recording}");
}

#[test]
fn messages_of_a_grpc_stream_are_counted_and_not_kept() {
    let script = Script::new(|callback, calls| match callback {
        Callback::RequestHeaders { .. } => {
            let token = calls.stream("auth").unwrap();
            calls.send(token, "the secret is hunter2", false);
            let other = calls.stream("auth").unwrap();
            calls.send(other, "", true);
            calls.raw("proxy_grpc_cancel", &[other.into()]);
            Ok(1)
        }
        Callback::GrpcReceive { token, .. } => {
            calls.effective(2);
            calls.raw("proxy_grpc_close", &[token.into()]);
            calls.raw("proxy_continue_stream", &[CONTINUE_REQUEST]);
            Ok(0)
        }
        _ => pass(callback, calls),
    });
    let mut bench = Bench::recorded(&[script.plugin("p")]);
    let id = bench.open();
    bench.worker.request_headers(id, request(&[]), true);
    let effects = std::iter::from_fn(|| bench.worker.next_effect());
    let asked = effects.filter_map(|effect| if let Effect::Grpc { id, .. } = effect { Some(id) } else { None });
    let call = asked.collect::<Vec<_>>()[0];
    bench.worker.grpc_headers(call, [(":status", "200")].into_iter().collect(), false);
    bench.worker.grpc_data(call, &[&[0, 0, 0, 0, 7], b"hunter2".as_slice()].concat(), false);
    bench.worker.grpc_trailers(call, [("grpc-status", "0")].into_iter().collect());
    let recordings = bench.recordings();
    let [recording] = recordings.as_slice() else { panic!("{recordings:?}") };
    let text = recording.to_string();
    for part in [
        "asks `auth`: POST auth/name/name\n",
        "sends `auth` a message, 21 bytes\n",
        "sends `auth` a message, 0 bytes, the last\n",
        "gives up on `auth`\n",
        "`auth` answers `p` after 0.000 ms: a message, 7 bytes\n",
        "p: grpc receive",
        "sends `auth` no more\n",
        "lets the request go on\n",
        "`auth` answers `p` after 0.000 ms: gRPC status 0\n",
    ] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_callout_and_its_decision_belong_to_the_exchange() {
    let script = Script::new(|callback, calls| match callback {
        Callback::RequestHeaders { .. } => {
            assert!(calls.call_out("nobody", 0).is_err());
            calls.call_out("auth", 0).unwrap();
            Ok(1)
        }
        Callback::HttpCallResponse { .. } => {
            calls.effective(2);
            calls.reply(403, &[], "no");
            Ok(0)
        }
        _ => pass(callback, calls),
    });
    let mut bench = Bench::recorded(&[script.plugin("gate")]);
    bench.get();
    let recording = &bench.recordings()[0];
    assert_eq!(recording.end, None, "it can be seen while it goes on");
    assert!(recording.to_string().contains("gate: request headers, waits"), "{recording}");
    bench.answer(0, "401");
    let recording = &bench.recordings()[0];
    let seen = events(recording);
    let asked = Event::Asked { cluster: "auth".into(), request: "GET x/".into(), body: None };
    let refused = Event::NotAsked { cluster: "nobody".into(), status: Status::BadArgument };
    assert_eq!(seen[..2], [refused, asked], "{recording}");
    assert!(matches!(&seen[2], Event::Reply(reply) if reply.status == 403 && reply.body == 2), "{recording}");
    let answer = recording
        .entries
        .iter()
        .find_map(|entry| if let What::Answer(answer) = &entry.what { Some(answer) } else { None });
    assert_eq!(answer.unwrap().result, "401, 2 bytes");
    assert_eq!(recording.end.as_ref().unwrap().status, Some(403));
    assert_eq!(legs(recording), [Leg::RequestIn, Leg::ResponseOut]);
}

#[test]
fn a_callback_that_acts_for_many_tells_each_of_them() {
    let script = Script::new(|callback, calls| match callback {
        Callback::RequestHeaders { .. } => Ok(1),
        Callback::Tick { .. } => {
            for context in [2, 3] {
                calls.effective(context);
                calls.change("proxy_add_header_map_value", 0, "x-for", &context.to_string());
                calls.raw("proxy_continue_stream", &[0]);
            }
            calls.effective(0);
            calls.log("nobody's");
            Ok(0)
        }
        Callback::Configure { .. } => Ok(1 - calls.raw("proxy_set_tick_period_milliseconds", &[5])),
        _ => pass(callback, calls),
    });
    let mut bench = Bench::recorded(&[script.plugin("p")]);
    bench.get();
    bench.get();
    bench.services.clock().advance_to(Duration::from_millis(5));
    bench.worker.advance_to(Duration::from_millis(5));
    bench.run();
    for (recording, context) in bench.recordings().iter().zip(["2", "3"]) {
        let value = context.to_owned();
        let set = Event::HeaderSet { map: "request header", name: "x-for".into(), value };
        assert_eq!(events(recording), [set, Event::Continued { response: false }], "{recording}");
    }
}

#[test]
fn failures_are_told_too() {
    let script = Script::new(|callback, calls| match callback {
        Callback::RequestHeaders { .. } => Err("out of luck".to_owned()),
        _ => pass(callback, calls),
    });
    let mut bench = Bench::recorded(&[script.plugin("p")]);
    bench.get();
    let recording = &bench.recordings()[0];
    assert_eq!(recording.steps().next().unwrap().decision, Decision::Traps("out of luck".to_owned()), "{recording}");
    let end = recording.end.as_ref().unwrap();
    assert_eq!((end.status, end.details.as_str()), (Some(503), "wasm_fail_stream"));

    let mut bench = Bench::recorded(&[Script::new(pass).plugin("p")]);
    let id = bench.get();
    bench.worker.downstream_reset(id);
    let recording = &bench.recordings()[0];
    assert_eq!(recording.end.as_ref().unwrap().status, None);
    assert_eq!(recording.end.as_ref().unwrap().details, "downstream_remote_disconnect");
}

/// The text that was seen at a point.
fn seen(recording: &Recording, point: Point) -> Option<&str> {
    match &recording.bodies.iter().find(|seen| seen.point == point)?.body.content {
        Content::Text(text) => Some(text),
        other => panic!("{other:?}"),
    }
}

#[test]
fn bodies_are_seen_at_both_ends_and_behind_who_changes_them() {
    let upper = Script::new(|callback, calls| match callback {
        Callback::RequestBody { end, .. } | Callback::ResponseBody { end, .. } => {
            let kind = u64::from(matches!(callback, Callback::ResponseBody { .. }));
            if end {
                let body = calls.body(kind).unwrap();
                calls.set_body(kind, 0, 99, &String::from_utf8(body.to_ascii_uppercase()).unwrap());
            }
            Ok(u32::from(!end))
        }
        _ => pass(callback, calls),
    });
    let idle = Script::new(pass);
    let mut bench = Bench::recorded(&[idle.plugin("idle"), upper.plugin("upper"), idle.plugin("last")]);
    let id = bench.post();
    bench.data(id, "ab", false);
    bench.data(id, "c", true);
    bench.respond(id, 2);
    let recording = &bench.recordings()[0];
    assert_eq!(seen(recording, Point::End(Leg::RequestIn)), Some("abc"), "{recording}");
    assert_eq!(seen(recording, Point::Behind { place: 0, response: false }), None, "it changes nothing");
    assert_eq!(seen(recording, Point::Behind { place: 1, response: false }), Some("ABC"));
    assert_eq!(seen(recording, Point::End(Leg::RequestOut)), Some("ABC"));
    assert_eq!(seen(recording, Point::End(Leg::ResponseIn)), Some("xx"));
    assert_eq!(seen(recording, Point::Behind { place: 1, response: true }), Some("XX"));
    assert_eq!(seen(recording, Point::End(Leg::ResponseOut)), Some("XX"));
    assert!(recording.body(Leg::RequestIn).unwrap().is_whole());
    let order: Vec<_> = recording.bodies.iter().map(|seen| seen.plugin.as_ref()).collect();
    assert_eq!(order, ["", "upper", "", "", "upper", ""]);
    let pieces = |leg| {
        let piece = |entry: &Entry| if let What::Data(data) = entry.what { Some(data) } else { None };
        let pieces = recording.entries.iter().filter_map(piece).filter(|data| data.leg == leg);
        pieces.map(|data| (data.bytes, data.end)).collect::<Vec<_>>()
    };
    assert_eq!(pieces(Leg::RequestIn), [(2, false), (1, true)]);
    assert_eq!(pieces(Leg::RequestOut), [(3, true)]);
    let text = recording.to_string();
    for line in [
        "request body in, 3 bytes:\n",
        "| abc\n",
        "request body behind upper, 3 bytes:\n",
        "| ABC\n",
        "request body out, 3 bytes: as before\n",
    ] {
        assert!(text.contains(line), "no `{line}` in {text}");
    }
}

#[test]
fn a_plugin_that_begins_to_change_a_body_late_is_told_from_its_begin() {
    let script = Script::new(|callback, calls| match callback {
        Callback::RequestBody { size: 2, .. } => {
            calls.set_body(0, 0, 99, "!!");
            Ok(0)
        }
        _ => pass(callback, calls),
    });
    let mut bench = Bench::recorded(&[script.plugin("late"), Script::new(pass).plugin("last")]);
    let id = bench.post();
    bench.data(id, "a", false);
    bench.data(id, "bc", false);
    bench.data(id, "d", true);
    let recording = &bench.recordings()[0];
    assert_eq!(seen(recording, Point::Behind { place: 0, response: false }), Some("a!!d"), "{recording}");
}

#[test]
fn replies_and_callouts_have_bodies_too() {
    let script = Script::new(|callback, calls| match callback {
        Callback::RequestHeaders { .. } => {
            calls.call_out_with("auth", r#"{"password":"hunter2"}"#).unwrap();
            Ok(1)
        }
        Callback::HttpCallResponse { .. } => {
            calls.effective(2);
            calls.reply(403, &[], "no");
            Ok(0)
        }
        _ => pass(callback, calls),
    });
    let mut bench = Bench::recorded(&[script.plugin("gate")]);
    bench.get();
    bench.answer(0, "401");
    let recording = &bench.recordings()[0];
    let text = recording.to_string();
    for line in [
        "asks `auth`: GET x/, 22 bytes\n",
        "| {\"password\":\"[redacted, 7 bytes]\"}\n",
        ": 401, 2 bytes\n",
        "| ok\n",
        "response body out, 2 bytes:\n",
        "| no\n",
    ] {
        assert!(text.contains(line), "no `{line}` in {text}");
    }
}

#[test]
fn trailers_are_the_end_of_a_body() {
    let mut bench = Bench::recorded(&[Script::new(pass).plugin("p")]);
    let id = bench.post();
    bench.data(id, "abc", false);
    assert!(!bench.recordings()[0].body(Leg::RequestIn).unwrap().is_whole());
    bench.worker.request_trailers(id, [("x-end", "1")].into_iter().collect());
    bench.run();
    let recording = &bench.recordings()[0];
    assert!(recording.body(Leg::RequestIn).unwrap().is_whole(), "{recording}");
    assert!(recording.body(Leg::RequestOut).unwrap().is_whole(), "{recording}");
    let text = recording.to_string();
    for line in ["-> request in, trailers: x-end: 1\n", "-> request out, trailers: x-end: 1\n"] {
        assert!(text.contains(line), "no `{line}` in {text}");
    }
}
