//! Whatever comes, in whatever order: no exchange hangs, none is answered twice, nothing is left behind.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use wasmplugin_host::callback::Callback;
use wasmplugin_host::test::{Answer, Builder, Exchange, Failure, Proxy, Request};

/// What the plugin is asked to do: every shape of handler, but for those that hang or panic on purpose.
const PATHS: &[&str] = &[
    "/",
    "/reply",
    "/error",
    "/bad-reply-header",
    "/hook-reply",
    "/hook-error",
    "/headers",
    "/sleep",
    "/call",
    "/call-deadline",
    "/call-retry",
    "/call-late",
    "/call-unknown",
    "/join",
    "/hold-gate",
    "/open-gate",
    "/request-body",
    "/request-body-small",
    "/request-chunks",
    "/request-chunks-slow",
    "/bounded",
    "/duplex",
    "/duplex-dropped",
    "/trailers",
    "/buffered",
    "/buffered-late",
    "/response-head",
    "/response-reply",
    "/response-hold",
    "/response-body",
    "/response-body-small",
    "/response-body-call",
    "/response-chunks-slow",
    "/response-buffered",
];

/// How the upstream answers.
const UPSTREAMS: &[&str] = &["plain", "slow", "empty", "trailers", "fail-hook", "reset", "cut", "large"];

/// Something that happens outside of the plugin. An exchange is named by its turn among those that are open.
#[derive(Debug, Clone)]
enum Event {
    Open {
        path: usize,
        upstream: usize,
        body: bool,
    },
    Data {
        turn: usize,
        size: usize,
        end: bool,
    },
    Trailers {
        turn: usize,
    },
    Abort {
        turn: usize,
    },
    Finish {
        turn: usize,
    },
    Wait {
        milliseconds: u64,
    },
    /// A plugin is configured anew, in a way that it takes or refuses.
    Reconfigure {
        second: bool,
        right: bool,
    },
    /// The proxy calls the plugins for what they do not know, or not any more.
    Stray {
        kind: u8,
        number: u32,
    },
}

#[derive(Debug, Clone)]
struct Course {
    allow_on_headers_stop_iteration: bool,
    http2: bool,
    /// Two plugins that share a VM.
    two: bool,
    small_buffers: bool,
    /// What every callout's answer takes, and how it ends.
    callout: (u64, u8),
    events: Vec<Event>,
}

fn courses() -> impl Strategy<Value = Course> {
    let turn = || 0..4usize;
    let event = prop_oneof![
        4 => (0..PATHS.len(), 0..UPSTREAMS.len(), any::<bool>())
            .prop_map(|(path, upstream, body)| Event::Open { path, upstream, body }),
        4 => (turn(), prop_oneof![0..9usize, Just(3000)], any::<bool>())
            .prop_map(|(turn, size, end)| Event::Data { turn, size, end }),
        1 => turn().prop_map(|turn| Event::Trailers { turn }),
        1 => turn().prop_map(|turn| Event::Abort { turn }),
        1 => turn().prop_map(|turn| Event::Finish { turn }),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(second, right)| Event::Reconfigure { second, right }),
        1 => (any::<u8>(), prop_oneof![0..12u32, any::<u32>()])
            .prop_map(|(kind, number)| Event::Stray { kind, number }),
        3 => prop_oneof![0..4u64, Just(25), Just(60), Just(6000)].prop_map(|milliseconds| Event::Wait { milliseconds }),
    ];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (flags, (0..40u64, 0..6u8), vec(event, 1..25)).prop_map(|(flags, callout, events)| Course {
        allow_on_headers_stop_iteration: flags.0,
        http2: flags.1,
        two: flags.2,
        small_buffers: flags.3,
        callout,
        events,
    })
}

fn builder(course: &Course) -> Builder {
    let (delay, kind) = course.callout;
    let mut builder = Proxy::native(probe::register)
        .vm_id("one")
        .allow_on_headers_stop_iteration(course.allow_on_headers_stop_iteration)
        .http2(course.http2)
        .upstream(|request| match request.header("x-up") {
            Some("slow") => Answer::new(200).chunks(["sec", "ret"]).after(Duration::from_millis(30)),
            Some("empty") => Answer::new(204),
            Some("trailers") => Answer::new(200).body("secret").trailer("x-sum", "6"),
            Some("fail-hook") => Answer::new(200).header("x-fail-response", "1").body("secret"),
            Some("reset") => Answer::reset(),
            Some("cut") => Answer::reset_after_headers(),
            Some("large") => Answer::new(200).chunks(vec!["x".repeat(1500); 4]),
            _ => Answer::new(200).body("secret"),
        })
        .cluster("service", move |request: &Request| {
            let answer = match kind {
                0 => Answer::never(),
                1 => Answer::reset(),
                2 => Answer::reset_after_headers(),
                _ => Answer::new(200).body(request.path()[1..].to_owned()),
            };
            answer.after(Duration::from_millis(delay))
        });
    if course.small_buffers {
        builder = builder.buffer_limit(4000);
    }
    if course.two { builder.then(Proxy::native(probe::register).vm_id("one").name("second")) } else { builder }
}

/// Plays a course to its end; what is wrong, if anything.
fn play(course: &Course) -> Result<(), String> {
    let mut proxy = builder(course).start().map_err(|error| error.to_string())?;
    let mut open: Vec<Exchange> = Vec::new();
    for event in &course.events {
        match event {
            Event::Open { path, upstream, body } => {
                let request = proxy.request(if *body { "POST" } else { "GET" }, PATHS[*path]);
                open.extend(request.header("x-up", UPSTREAMS[*upstream]).open().ok());
            }
            Event::Data { turn, size, end } => {
                if let Some(exchange) = open.get(*turn) {
                    // An exchange that is over takes no more.
                    let _ = proxy.send_data(exchange, "d".repeat(*size), *end);
                }
            }
            Event::Trailers { turn } => {
                if let Some(exchange) = open.get(*turn) {
                    let _ = proxy.send_trailers(exchange, [("x-sum", "1")]);
                }
            }
            Event::Abort { turn } if *turn < open.len() => proxy.abort(open.remove(*turn)),
            Event::Finish { turn } if *turn < open.len() => {
                // Who waits at the gate needs somebody to open it.
                let gate = proxy.get("/open-gate").send();
                ended(&gate)?;
                let exchange = open.remove(*turn);
                ended(&proxy.finish(exchange))?;
            }
            Event::Abort { .. } | Event::Finish { .. } => {}
            Event::Reconfigure { second, right } => {
                // Who waits at a gate waits at that of the plugin as it was configured then.
                let gate = proxy.get("/open-gate").send();
                ended(&gate)?;
                reconfigure(&mut proxy, usize::from(*second && course.two), *right)?;
            }
            Event::Stray { kind, number } => {
                proxy.stray(|root| stray(*kind, root, *number)).map_err(|failure| failure.to_string())?;
            }
            Event::Wait { milliseconds } => proxy.advance(Duration::from_millis(*milliseconds)),
        }
    }
    let gate = proxy.get("/open-gate").send();
    ended(&gate)?;
    for exchange in open {
        ended(&proxy.finish(exchange))?;
    }
    early(&proxy)?;
    // Every callout has an answer or a time-out by then.
    proxy.advance(Duration::from_secs(60));
    let census = proxy.get("/census").send().map_err(|failure| failure.to_string())?;
    if census.text() != "0 exchanges, 0 tasks, 0 callouts, 0 timers" {
        return Err(format!("left behind: {}", census.text()));
    }
    let leaks = proxy.leaks();
    if !leaks.is_empty() {
        return Err(format!("left open: {leaks}"));
    }
    let findings: Vec<_> = proxy.findings().iter().map(ToString::to_string).collect();
    if findings.is_empty() { Ok(()) } else { Err(findings.join("; ")) }
}

/// A plugin takes what is right and refuses what is not.
fn reconfigure(proxy: &mut Proxy, place: usize, right: bool) -> Result<(), String> {
    let backoff = if right { "5s" } else { "soon" };
    let configuration = format!(r#"{{"routes":[{{"retry":{{"backoff":"{backoff}"}}}}]}}"#);
    match proxy.reconfigure(place, configuration) {
        Ok(()) if right => Ok(()),
        Err(Failure::Refused(_)) if !right => Ok(()),
        other => Err(format!("configured with `{backoff}`: {other:?}")),
    }
}

/// A callback that nothing has led to. Small numbers are tokens that plugins have been given, or may be.
fn stray(kind: u8, root: u32, number: u32) -> Callback {
    // No proxy counts contexts that far.
    let context = number | 1 << 31;
    match kind % 16 {
        0 => Callback::HttpCallResponse { root, token: number, headers: 0, body_size: 0, trailers: 0 },
        1 => Callback::HttpCallResponse { root, token: number, headers: 3, body_size: 40, trailers: 1 },
        2 => Callback::HttpCallResponse { root: context, token: number, headers: 1, body_size: 1, trailers: 0 },
        3 => Callback::QueueReady { root, queue: number },
        4 => Callback::Tick { root },
        5 => Callback::Tick { root: context },
        6 => Callback::RequestHeaders { context, count: 3, end: true },
        7 => Callback::RequestBody { context, size: number, end: false },
        8 => Callback::RequestTrailers { context, count: 1 },
        9 => Callback::ResponseHeaders { context, count: 3, end: false },
        10 => Callback::ResponseBody { context, size: number, end: true },
        11 => Callback::ResponseTrailers { context, count: 1 },
        12 => Callback::Log { context },
        13 => Callback::Done { context },
        14 => Callback::Delete { context },
        _ => Callback::GrpcClose { root, token: number, status: 14 },
    }
}

/// An exchange ends with an answer or a cut.
fn ended(result: &Result<wasmplugin_host::test::Response, Failure>) -> Result<(), String> {
    match result {
        Ok(response) if (200..600).contains(&response.status()) => Ok(()),
        Err(Failure::Reset(_)) => Ok(()),
        other => Err(format!("no answer: {other:?}")),
    }
}

/// Nothing has reached the upstream before the plugin decided.
fn early(proxy: &Proxy) -> Result<(), String> {
    for request in proxy.upstream_requests() {
        let early = match request.path() {
            "/call" | "/call-deadline" | "/call-retry" | "/join" => request.header("x-outcome").is_none(),
            "/reply" | "/error" | "/bad-reply-header" | "/hook-reply" | "/hook-error" | "/buffered"
            | "/buffered-late" => true,
            "/request-chunks" => request.is_complete() && request.text().starts_with('d'),
            _ => false,
        };
        if early {
            return Err(format!("undecided at the upstream: {request:?}"));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn no_exchange_hangs_and_nothing_is_left(course in courses()) {
        let outcome = play(&course);
        prop_assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
    }
}
