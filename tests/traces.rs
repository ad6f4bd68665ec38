//! The calls between proxy and plugin, line by line: as Envoy's documentation of itself, its log, has them.

use std::fmt::Write as _;

use wasmplugin_host::test::{Engine, Proxy, TraceLine};
use wasmplugin_host::trace::comparable;

use crate::drives::{COURSES, Course};

/// Where the engine in memory and Envoy differ, and may.
struct Accepted {
    /// The drive; nothing in it: every one.
    drive: &'static str,
    /// What a line begins with.
    line: &'static str,
    #[expect(dead_code, reason = "it is for the reader")]
    reason: &'static str,
}

const ACCEPTED: &[Accepted] = &[];

/// The trace of each drive, in its order.
fn traces(course: &Course, engine: Engine) -> Vec<Vec<String>> {
    let builder = (course.setup)(course.plugin.on(engine)).trace(true);
    let mut proxy = builder.start().unwrap_or_else(|error| panic!("{}: {error}", course.plugin.package));
    let mut seen = proxy.trace().len();
    let mut traces = Vec::new();
    for drive in course.drives {
        let _ = (drive.run)(&mut proxy);
        traces.push(next(&mut proxy, &mut seen, drive.name));
    }
    traces
}

/// What came since the last time, without what two right hosts need not share.
fn next(proxy: &mut Proxy, seen: &mut usize, drive: &str) -> Vec<String> {
    let lines = proxy.trace();
    let new = lines.get(*seen..).unwrap_or_default().to_vec();
    *seen = lines.len();
    let accepted = |line: &String| {
        ACCEPTED.iter().any(|known| (known.drive.is_empty() || known.drive == drive) && line.starts_with(known.line))
    };
    without_early_ticks(comparable(new)).iter().map(TraceLine::to_string).filter(|line| !accepted(line)).collect()
}

/// Envoy's timers count in whole milliseconds and come a bit too early: then the SDK looks at its watch and asks for
/// the rest. Such ticks are left out. When a tick is asked for depends on them, and so it is left out too; a tick that
/// nobody asked for would leave its drive hanging.
pub(crate) fn without_early_ticks(lines: Vec<TraceLine>) -> Vec<TraceLine> {
    let mut kept = Vec::new();
    let mut tick: Option<Vec<TraceLine>> = None;
    for line in lines {
        let (TraceLine::Call { name, .. }
        | TraceLine::Return { name, .. }
        | TraceLine::Enter { name, .. }
        | TraceLine::Leave { name, .. }) = &line;
        if name == "env.proxy_set_tick_period_milliseconds" {
            continue;
        }
        let is_tick = |name: &String| name == "proxy_on_tick";
        match &line {
            TraceLine::Enter { name, .. } if is_tick(name) => tick = Some(vec![line]),
            TraceLine::Leave { name, .. } if is_tick(name) => {
                let mut tick = tick.take().unwrap_or_default();
                tick.push(line);
                let works = |line: &TraceLine| matches!(line, TraceLine::Call { name, .. } if name == "env.proxy_set_effective_context");
                if tick.iter().any(works) {
                    kept.append(&mut tick);
                }
            }
            _ => tick.as_mut().unwrap_or(&mut kept).push(line),
        }
    }
    kept
}

#[test]
fn every_drive_has_the_trace_that_envoy_has() {
    let mut wrong = String::new();
    for course in COURSES {
        let (ours, envoys) = (traces(course, Engine::Wasm), traces(course, Engine::Envoy));
        for ((drive, ours), envoys) in course.drives.iter().zip(ours).zip(envoys) {
            if ours != envoys {
                let _ = writeln!(wrong, "\n{}: {}\n{}", course.plugin.package, drive.name, difference(&ours, &envoys));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The lines around the first difference; `<` is ours, `>` is Envoy's.
pub(crate) fn difference(ours: &[String], envoys: &[String]) -> String {
    let same = ours.iter().zip(envoys).take_while(|(one, other)| one == other).count();
    let mut text = String::new();
    for line in ours.get(same.saturating_sub(6)..same).unwrap_or_default() {
        let _ = writeln!(text, "  {line}");
    }
    for (mark, lines) in [("<", ours), (">", envoys)] {
        for line in lines.get(same..).unwrap_or_default().iter().take(12) {
            let _ = writeln!(text, "{mark} {line}");
        }
    }
    text
}

/// The reference traces of Envoy 1.40, on both engines that run modules: `callback(arguments)=answer`, where an
/// answer of 0 is left out; a callback without an end is marked with `!`.
///
/// T13 (TCP) is in `tcp_traces.rs`.
pub(crate) mod reference {
    use std::time::Duration;

    use wasmplugin_host::test::{Answer, Builder, Engine, GrpcAnswer, Proxy, Request, TraceLine};
    use wasmplugin_host::trace::comparable;

    use crate::wat_guest::{
        CALL, GET_STATUS, OPEN, PAUSE, TRAP, answer, ask, ask_another, close_and_cancel, go_on, module, send,
    };

    /// A moment in which everything that is on its way arrives.
    pub(crate) const MOMENT: Duration = Duration::from_millis(50);

    pub(crate) fn guest(bodies: &[(&str, &str)]) -> impl Fn(Engine) -> Builder + use<> {
        let module = module(bodies);
        move |engine| Proxy::on(engine).module(&module).name("guest").trace(true)
    }

    /// Runs a drive on both engines and compares what is called after the start.
    pub(crate) fn check(build: impl Fn(Engine) -> Builder, drive: impl Fn(&mut Proxy), expected: &str) {
        for engine in [Engine::Wasm, Engine::Envoy] {
            let mut proxy = build(engine).start().unwrap_or_else(|error| panic!("{error}"));
            let start = proxy.trace().len();
            drive(&mut proxy);
            let lines = proxy.trace().split_off(start);
            assert_eq!(compact(lines), expected.split_whitespace().collect::<Vec<_>>().join(" "), "{engine}");
        }
    }

    fn compact(lines: Vec<TraceLine>) -> String {
        let mut words: Vec<String> = Vec::new();
        let mut running: Vec<usize> = Vec::new();
        for line in comparable(lines) {
            match line {
                TraceLine::Enter { name, arguments } => {
                    running.push(words.len());
                    words.push(word(name.trim_start_matches("proxy_on_"), &arguments) + "!");
                }
                TraceLine::Call { name, arguments } => {
                    running.push(words.len());
                    words.push(word(name.trim_start_matches("env.proxy_"), &arguments) + "!");
                }
                TraceLine::Leave { value, .. } | TraceLine::Return { value, .. } => {
                    if let Some(word) = running.pop().and_then(|at| words.get_mut(at)) {
                        word.pop();
                        if let Some(value) = value.filter(|value| *value != 0) {
                            *word += &format!("={value}");
                        }
                    }
                }
            }
        }
        words.join(" ")
    }

    fn word(name: &str, arguments: &[u64]) -> String {
        // What a reply and a callout consist of is not what these traces are about.
        if matches!(name, "http_call" | "send_local_response" | "grpc_call" | "grpc_stream") {
            return name.to_owned();
        }
        let arguments: Vec<_> = arguments.iter().map(u64::to_string).collect();
        format!("{name}({})", arguments.join(","))
    }

    fn get(proxy: &mut Proxy) {
        let _ = proxy.get("/").send();
    }

    #[test]
    fn t1_a_request_and_its_response() {
        let build = |engine| guest(&[])(engine).upstream(|_| Answer::new(200).body("x".repeat(196)));
        check(
            build,
            get,
            "context_create(2,1) request_headers(2,6,1) response_headers(2,3,0)
            response_body(2,196,0) response_body(2,0,1) log(2) done(2)=1 delete(2)",
        );
    }

    #[test]
    fn t2_a_body_with_a_length() {
        let post = |body: &'static str| move |proxy: &mut Proxy| drop(proxy.post("/").body(body).send());
        let empty = |_: &Request| Answer::new(204);
        let end = "response_headers(2,2,1) log(2) done(2)=1 delete(2)";
        check(
            |engine| guest(&[])(engine).upstream(empty),
            post("hello"),
            &format!("context_create(2,1) request_headers(2,7,0) request_body(2,5,0) request_body(2,0,1) {end}"),
        );
        // The client's own frames decide: this one ends a stream with the frame that has the last data.
        check(
            |engine| guest(&[])(engine).upstream(empty).http2(true),
            post("hello"),
            &format!("context_create(2,1) request_headers(2,7,0) request_body(2,5,1) {end}"),
        );
        check(
            |engine| guest(&[])(engine).upstream(empty),
            post(""),
            &format!("context_create(2,1) request_headers(2,7,1) {end}"),
        );
    }

    fn chunks(proxy: &mut Proxy, chunks: &[&'static str], trailer: bool) {
        let Ok(exchange) = proxy.post("/").header("transfer-encoding", "chunked").open() else { return };
        for chunk in chunks {
            proxy.advance(MOMENT);
            let _ = proxy.send_data(&exchange, *chunk, false);
        }
        proxy.advance(MOMENT);
        if trailer {
            let _ = proxy.send_trailers(&exchange, [("x-sum", "1")]);
        } else {
            let _ = proxy.send_data(&exchange, "", true);
        }
        let _ = proxy.finish(exchange);
    }

    #[test]
    fn t3_a_body_in_pieces() {
        let until_the_end = "(i32.xor (local.get $end) (i32.const 1))";
        let empty = |_: &Request| Answer::new(204);
        check(
            |engine| guest(&[("request_body", until_the_end)])(engine).upstream(empty),
            |proxy| chunks(proxy, &["abc", "defg"], false),
            "context_create(2,1) request_headers(2,6,0) request_body(2,3,0)=1 request_body(2,7,0)=1 request_body(2,7,1)
             response_headers(2,2,1) log(2) done(2)=1 delete(2)",
        );
        check(
            |engine| guest(&[])(engine).upstream(empty),
            |proxy| chunks(proxy, &["abc"], true),
            "context_create(2,1) request_headers(2,6,0) request_body(2,3,0) request_trailers(2,1)
             response_headers(2,2,1) log(2) done(2)=1 delete(2)",
        );
    }

    #[test]
    fn t4_an_answer_of_the_next_plugin() {
        let both = "response_headers(2,3,0) response_headers(2,3,0) response_body(2,7,1) response_body(2,7,1)";
        for (length, response) in [(7, both), (0, "response_headers(2,1,1) response_headers(2,1,1)")] {
            let replies = format!("{} (i32.const 0)", answer(length));
            check(
                |engine| guest(&[])(engine).then(guest(&[("request_headers", &replies)])(engine).name("next")),
                get,
                &format!(
                    "context_create(2,1) request_headers(2,6,1) context_create(2,1) request_headers(2,6,1)
                     send_local_response {response} log(2) log(2) done(2)=1 delete(2) done(2)=1 delete(2)"
                ),
            );
        }
    }

    #[test]
    fn t5_an_answer_to_a_request() {
        let replies = format!("{} (i32.const 0)", answer(5));
        check(
            guest(&[("request_headers", &replies)]),
            get,
            "context_create(2,1) request_headers(2,6,1) send_local_response
             response_headers(2,3,0) response_body(2,5,1) log(2) done(2)=1 delete(2)",
        );
    }

    #[test]
    fn t6_an_answer_in_the_place_of_the_response() {
        let replies = format!("{} (i32.const 0)", answer(5));
        check(
            guest(&[("response_headers", &replies)]),
            get,
            "context_create(2,1) request_headers(2,6,1) response_headers(2,3,0) send_local_response
             log(2) done(2)=1 delete(2)",
        );
    }

    fn pauses_for_a_callout(half: &str, direction: u32) -> impl Fn(Engine) -> Builder + use<> {
        let asks = format!("{} {PAUSE}", ask());
        let guest = guest(&[(half, &asks), ("http_call_response", &go_on(2, direction))]);
        move |engine| guest(engine).cluster("service", |_| Answer::new(200).body("fine").after(MOMENT * 2))
    }

    #[test]
    fn t7_a_callout_for_a_request() {
        check(
            pauses_for_a_callout("request_headers", 0),
            get,
            "context_create(2,1) request_headers(2,6,1)=1 http_call
             http_call_response(1,4,3,4,0) set_effective_context(2) continue_stream(0)
             response_headers(2,3,0) response_body(2,8,0) response_body(2,0,1) log(2) done(2)=1 delete(2)",
        );
    }

    #[test]
    fn t8_a_callout_for_a_client_that_is_gone() {
        check(
            pauses_for_a_callout("request_headers", 0),
            |proxy| {
                if let Ok(exchange) = proxy.get("/").open() {
                    proxy.advance(MOMENT);
                    proxy.abort(exchange);
                    proxy.advance(MOMENT * 4);
                }
            },
            "context_create(2,1) request_headers(2,6,1)=1 http_call log(2) done(2)=1 delete(2)
             http_call_response(1,4,3,4,0) set_effective_context(2)=2",
        );
    }

    #[test]
    fn t9_a_callout_for_a_response() {
        check(
            pauses_for_a_callout("response_headers", 1),
            get,
            "context_create(2,1) request_headers(2,6,1) response_headers(2,3,0)=1 http_call
             http_call_response(1,4,3,4,0) set_effective_context(2) continue_stream(1)
             response_body(2,8,1) log(2) done(2)=1 delete(2)",
        );
    }

    #[test]
    fn t10_two_callouts_in_the_order_of_their_answers() {
        let asks = format!("{} {} {PAUSE}", ask(), ask_another());
        let last = format!("(if (i32.eq (local.get $count) (i32.const 4)) (then {}))", go_on(2, 0));
        let guest = guest(&[("request_headers", &asks), ("http_call_response", &last)]);
        check(
            |engine| {
                guest(engine)
                    .upstream(|_| Answer::new(204))
                    .cluster("service", |_| Answer::new(200).body("fine").after(MOMENT * 3))
                    .cluster("another", |_| Answer::new(200).body("fine").after(MOMENT))
            },
            get,
            "context_create(2,1) request_headers(2,6,1)=1 http_call http_call
             http_call_response(1,8,3,4,0) http_call_response(1,4,3,4,0) set_effective_context(2) continue_stream(0)
             response_headers(2,2,1) log(2) done(2)=1 delete(2)",
        );
    }

    /// A guest that begins so, and lets the request go on when the call ends.
    fn calls(begins: &str, ends: &str) -> impl Fn(Engine) -> Builder + use<> {
        let begins = format!("{begins} {PAUSE}");
        let (received, closed) = (go_on(2, 0), format!("{GET_STATUS} {ends} {}", go_on(2, 0)));
        let unary = begins.contains("$grpc_call");
        let received = if unary { received.as_str() } else { "" };
        let guest = guest(&[("request_headers", &begins), ("grpc_receive", received), ("grpc_close", &closed)]);
        move |engine| guest(engine).upstream(|_| Answer::new(204))
    }

    const GOES_ON: &str =
        "set_effective_context(2) continue_stream(0) response_headers(2,2,1) log(2) done(2)=1 delete(2)";

    #[test]
    fn t11_a_unary_call() {
        let calls = calls(CALL, "");
        let begin = "context_create(2,1) request_headers(2,6,1)=1 grpc_call";
        check(
            |engine| calls(engine).grpc_cluster("service", |_| GrpcAnswer::message(vec![0; 70]).metadata("x", "1")),
            get,
            &format!("{begin} grpc_receive(1,5,70) {GOES_ON}"),
        );
        for (answer, status) in [
            (GrpcAnswer::status(7, "nope msg").trailer("x", "1"), 7),
            (GrpcAnswer::status(0, ""), 13),
            (GrpcAnswer::never(), 14),
            (GrpcAnswer::reset(), 14),
            (GrpcAnswer::more().and_message("part").cut(), 13),
        ] {
            check(
                |engine| {
                    let answer = answer.clone();
                    calls(engine).grpc_cluster("service", move |_| answer.clone())
                },
                get,
                &format!("{begin} grpc_close(1,5,{status}) get_status(0,0,0) {GOES_ON}"),
            );
        }
        check(
            |engine| calls(engine).unreachable_cluster("service"),
            get,
            &format!("{begin} grpc_close(1,5,14) get_status(0,0,0) {GOES_ON}"),
        );
    }

    #[test]
    fn t12_a_stream() {
        let begins = format!("{OPEN} {} {}", send(6, 0), send(6, 1));
        let calls = calls(&begins, &format!("{} {}", send(6, 0), close_and_cancel(6)));
        let begin = "context_create(2,1) request_headers(2,6,1)=1 grpc_stream grpc_send(6,0,5,0) grpc_send(6,0,5,1)";
        let end = format!("get_status(0,0,0) grpc_send(6,0,5,0) grpc_close(6) grpc_cancel(6)=1 {GOES_ON}");
        check(
            |engine| {
                calls(engine).grpc_stream_cluster("service", |call| match call.is_complete() {
                    false => GrpcAnswer::more().metadata("x", "1").and_message("message"),
                    true => GrpcAnswer::status(0, "").trailer("x", "1"),
                })
            },
            get,
            &format!(
                "{begin} grpc_receive_initial_metadata(1,6,4) grpc_receive(1,6,7) grpc_receive(1,6,7)
                 grpc_receive_trailing_metadata(1,6,2) grpc_close(1,6,0) {end}"
            ),
        );
        check(
            |engine| calls(engine).grpc_cluster("service", |_| GrpcAnswer::status(7, "nope")),
            get,
            &format!(
                "{begin} grpc_receive_initial_metadata(1,6,3) grpc_receive_trailing_metadata(1,6,2) grpc_close(1,6,7) {end}"
            ),
        );
        check(
            |engine| calls(engine).grpc_cluster("service", |_| GrpcAnswer::more().and_message("part").cut()),
            get,
            &format!(
                "{begin} grpc_receive_initial_metadata(1,6,3) grpc_receive(1,6,4) grpc_receive_trailing_metadata(1,6,0)
                 grpc_close(1,6,13) {end}"
            ),
        );
        check(
            |engine| calls(engine).unreachable_cluster("service"),
            get,
            &format!(
                "{begin} grpc_receive_initial_metadata(1,6,0) grpc_receive_trailing_metadata(1,6,4) grpc_close(1,6,14) {end}"
            ),
        );
    }

    #[test]
    fn t14_a_trap() {
        check(
            |engine| guest(&[])(engine).then(guest(&[("request_headers", TRAP)])(engine).name("next")),
            |proxy| {
                assert!(proxy.get("/").send().is_ok_and(|response| response.status() == 503));
            },
            "context_create(2,1) request_headers(2,6,1) context_create(2,1) request_headers(2,6,1)!
             response_headers(2,1,1) log(2) done(2)=1 delete(2)",
        );
    }

    #[test]
    fn t15_and_t16_the_start_of_plugins_that_share_a_vm() {
        for engine in [Engine::Wasm, Engine::Envoy] {
            let guest = guest(&[]);
            let first = guest(engine).name("first").vm_id("one").vm_config("config").config("four");
            let second = guest(engine).name("second").vm_id("one").vm_config("config").config("sixteen");
            let mut proxy = first.then(second).start().unwrap_or_else(|error| panic!("{error}"));
            let start = "context_create(1,0) vm_start(1,6)=1 configure(1,6)=1
                         context_create(2,0) vm_start(2,6)=1 configure(2,9)=1";
            assert_eq!(compact(proxy.trace()), start.split_whitespace().collect::<Vec<_>>().join(" "), "{engine}");
            let seen = proxy.trace().len();
            get(&mut proxy);
            let stream = "context_create(3,1) request_headers(3,6,1) context_create(4,2) request_headers(4,6,1)
                          response_headers(4,3,0) response_headers(3,3,0) response_body(4,8,0) response_body(3,8,0)
                          response_body(4,0,1) response_body(3,0,1)
                          log(3) log(4) done(3)=1 delete(3) done(4)=1 delete(4)";
            let lines = proxy.trace().split_off(seen);
            assert_eq!(compact(lines), stream.split_whitespace().collect::<Vec<_>>().join(" "), "{engine}");
        }
    }
}
