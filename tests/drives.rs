//! Requests that reach every corner of the SDK, for the tests that run all of them: the fault sweep and the traces.

use std::time::Duration;

use serde_json::json;
use wasmplugin_host::test::{Answer, Builder, Failure, GrpcAnswer, Proxy, Request, Response};

use crate::engines::Plugin;

/// How an exchange ended.
pub(crate) type Ended = Result<Response, Failure>;

/// A proxy in which several drives run, one after the other.
pub(crate) struct Course {
    pub(crate) plugin: Plugin,
    pub(crate) setup: fn(Builder) -> Builder,
    pub(crate) drives: &'static [Drive],
}

/// One exchange, or a few that belong together.
pub(crate) struct Drive {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&mut Proxy) -> Ended,
    /// Whether nothing has happened that the plugin would not have allowed, whatever failed on the way.
    pub(crate) harmless: fn(&Proxy, &Ended) -> bool,
}

macro_rules! drive {
    ($name:literal, $run:expr, $harmless:expr) => {
        Drive { name: $name, run: $run, harmless: $harmless }
    };
}

/// All of them.
pub(crate) const COURSES: &[Course] = &[
    Course { plugin: Plugin { package: "probe", register: probe::register }, setup: with_service, drives: PROBE },
    Course {
        plugin: Plugin { package: "probe", register: probe::register },
        setup: |proxy| with_service(proxy.allow_on_headers_stop_iteration(true)),
        drives: BUFFERED,
    },
    Course {
        plugin: Plugin { package: "external-auth", register: external_auth::register },
        setup: with_auth,
        drives: EXTERNAL_AUTH,
    },
    Course {
        plugin: Plugin { package: "two-callouts", register: two_callouts::register },
        setup: with_two_clusters,
        drives: TWO_CALLOUTS,
    },
    Course {
        plugin: Plugin { package: "callout-probe", register: callout_probe::register },
        setup: with_oracle,
        drives: CALLOUT_PROBE,
    },
    Course {
        plugin: Plugin { package: "grpc-auth", register: grpc_auth::register },
        setup: with_grpc_auth,
        drives: GRPC_AUTH,
    },
    Course { plugin: Plugin { package: "hello", register: hello::register }, setup: |proxy| proxy, drives: HELLO },
    Course {
        plugin: Plugin { package: "rewrite-json", register: rewrite_json::register },
        setup: |proxy| proxy.upstream(|_| Answer::new(200).body(r#"{"a":1}"#)),
        drives: REWRITE_JSON,
    },
    Course {
        plugin: Plugin { package: "sse-filter", register: sse_filter::register },
        setup: |proxy| {
            proxy.config(json!({"drop": ["secret"]})).upstream(|_| {
                let events = "data: a@b.secret\n\nevent: secret\ndata: x\n\ndata: end\n\n";
                Answer::new(200).header("content-type", "text/event-stream").body(events)
            })
        },
        drives: SSE_FILTER,
    },
    Course {
        plugin: Plugin { package: "stream-upper", register: stream_upper::register },
        setup: with_service,
        drives: STREAM_UPPER,
    },
];

/// What callouts take, so that the plugin really waits.
const DELAY: Duration = Duration::from_millis(30);
/// Between two pieces of a body, so that no network makes one of them.
const PAUSE: Duration = Duration::from_millis(20);

/// The upstream answers what the header `x-up` asks for.
fn with_service(proxy: Builder) -> Builder {
    proxy
        .upstream(|request: &Request| match request.header("x-up") {
            Some("empty") => Answer::new(204),
            Some("trailers") => Answer::new(200).body("secret").trailer("x-sum", "6"),
            Some("fail-hook") => Answer::new(200).header("x-fail-response", "1").body("secret"),
            Some("reset") => Answer::reset(),
            Some("cut") => Answer::reset_after_headers(),
            _ => Answer::new(200).body("secret"),
        })
        .cluster("service", |request: &Request| {
            let answer = Answer::new(200).body(request.path().get(1..).unwrap_or_default().to_owned());
            // What is asked together is answered in another order, and never at the same time.
            let place = ["/b", "/d", "/c", "/e", "/a"].iter().position(|path| *path == request.path());
            let turns = place.and_then(|place| u32::try_from(place).ok()).unwrap_or_default() + 1;
            answer.trailer("x-trailer", "end").after(DELAY * turns)
        })
}

fn with_auth(proxy: Builder) -> Builder {
    proxy.config(json!({"cluster": "auth", "timeout": "250ms"})).cluster("auth", |request: &Request| {
        match request.header("authorization") {
            Some("Bearer good") => Answer::new(200).header("x-user", "ada").after(DELAY),
            Some("Bearer down") => Answer::reset(),
            Some("Bearer cut") => Answer::reset_after_headers(),
            Some("Bearer hang") => Answer::never(),
            _ => Answer::new(401),
        }
    })
}

fn with_two_clusters(proxy: Builder) -> Builder {
    proxy
        .config(json!({"user": "user", "quota": "quota", "deadline": "200ms"}))
        .cluster("user", |_: &Request| Answer::new(200).body("ada").after(DELAY * 2))
        .cluster("quota", |_: &Request| Answer::new(200).body("7").after(DELAY))
}

/// A service that repeats each message of a stream, and answers a call as the header `x-tenant` and the path ask.
fn with_oracle(proxy: Builder) -> Builder {
    proxy
        .grpc_stream_cluster("oracle", |call: &Request| match (call.path(), call.is_complete()) {
            ("/example.Oracle/Ask", false) => GrpcAnswer::more(),
            ("/example.Oracle/Ask", true) => GrpcAnswer::message("\n\u{3}yes").after(DELAY),
            (_, true) => GrpcAnswer::status(0, "").trailer("x-last", "!").after(DELAY * 2),
            (_, false) => {
                let last = call.messages().pop().unwrap_or_default();
                GrpcAnswer::more().metadata("x-first", "hi").and_message(last).after(DELAY)
            }
        })
        .cluster("service", |_: &Request| Answer::new(200).body("fine").after(DELAY))
}

fn with_grpc_auth(proxy: Builder) -> Builder {
    proxy.config(json!({"cluster": "auth", "timeout": "250ms"})).grpc_cluster("auth", |call: &Request| {
        let says = |token: &[u8]| call.messages().iter().any(|m| m.windows(token.len()).any(|bytes| bytes == token));
        match () {
            () if says(b"Bearer good") => {
                GrpcAnswer::message(&b"\x1a\x11\x12\x0f\x0a\x0d\x0a\x06X-User\x12\x03ada"[..]).after(DELAY)
            }
            () if says(b"Bearer hang") => GrpcAnswer::never(),
            () if says(b"Bearer error") => GrpcAnswer::status(13, "no database"),
            () => GrpcAnswer::message(&b"\x0a\x02\x08\x07"[..]),
        }
    })
}

/// Sends a request in pieces that arrive one by one.
fn pieces(proxy: &mut Proxy, path: &str, pieces: &[&'static str], trailer: bool) -> Ended {
    let exchange = proxy.post(path).header("transfer-encoding", "chunked").open()?;
    proxy.advance(PAUSE);
    for (at, piece) in pieces.iter().enumerate() {
        // A cut exchange takes no more; how it ended is what matters.
        let end = at + 1 == pieces.len() && !trailer;
        if proxy.send_data(&exchange, *piece, end).is_err() {
            break;
        }
        proxy.advance(PAUSE);
    }
    if trailer {
        let _ = proxy.send_trailers(&exchange, [("x-sum", "6")]);
    }
    proxy.finish(exchange)
}

/// What of a response has reached the client.
fn arrived(ended: &Ended) -> Option<&Response> {
    match ended {
        Ok(response) => Some(response),
        Err(failure) => failure.arrived(),
    }
}

fn nothing_reached_the_upstream(proxy: &Proxy, _: &Ended) -> bool {
    proxy.upstream_requests().is_empty()
}

fn anything_may_pass(_: &Proxy, _: &Ended) -> bool {
    true
}

/// No request reached the upstream without this header.
fn marked(proxy: &Proxy, name: &str, value: &str) -> bool {
    proxy.upstream_requests().iter().all(|request| request.header(name) == Some(value))
}

/// No request that the upstream took for whole has another body.
fn whole(proxy: &Proxy, right: fn(&str) -> bool) -> bool {
    proxy.upstream_requests().iter().filter(|request| request.is_complete()).all(|request| right(&request.text()))
}

/// Of the upstream's body, not a byte has reached the client.
fn kept_secret(_: &Proxy, ended: &Ended) -> bool {
    arrived(ended).is_none_or(|response| !response.text().contains("secret"))
}

/// As [`kept_secret`], for the plugins that change every byte.
fn in_capitals(_: &Proxy, ended: &Ended) -> bool {
    arrived(ended).is_none_or(|response| !response.body().iter().any(u8::is_ascii_lowercase))
}

const PROBE: &[Drive] = &[
    drive!("pass", |proxy| proxy.get("/").send(), anything_may_pass),
    drive!("pass a body", |proxy| proxy.post("/").body("hello").send(), anything_may_pass),
    drive!("pass an empty body", |proxy| proxy.post("/").body("").send(), anything_may_pass),
    drive!("pass trailers", |proxy| pieces(proxy, "/", &["abc"], true), anything_may_pass),
    drive!("upstream resets", |proxy| proxy.get("/").header("x-up", "reset").send(), anything_may_pass),
    drive!(
        "headers",
        |proxy| proxy.get("/headers").header("x-many", "1").header("x-many", "2").header("x-empty", "").send(),
        |proxy, _| marked(proxy, "x-after", "2") && marked(proxy, "x-all", "1|2")
    ),
    drive!("reply", |proxy| proxy.get("/reply").send(), nothing_reached_the_upstream),
    drive!("reply to a body", |proxy| proxy.post("/reply").body("hello").send(), nothing_reached_the_upstream),
    drive!(
        "gRPC reply",
        |proxy| proxy.post("/grpc-reply").header("content-type", "application/grpc").send(),
        nothing_reached_the_upstream
    ),
    drive!("bad reply", |proxy| proxy.get("/bad-reply-header").send(), nothing_reached_the_upstream),
    drive!("error", |proxy| proxy.get("/error").send(), nothing_reached_the_upstream),
    drive!("hook replies", |proxy| proxy.get("/hook-reply").send(), nothing_reached_the_upstream),
    drive!("hook fails", |proxy| proxy.get("/hook-error").send(), nothing_reached_the_upstream),
    drive!("response hook fails", |proxy| proxy.get("/").header("x-up", "fail-hook").send(), kept_secret),
    drive!("call", |proxy| proxy.get("/call").send(), |proxy, _| {
        proxy.upstream_requests().iter().all(|request| request.header("x-outcome").is_some())
    }),
    drive!("call for a body", |proxy| proxy.post("/call").body("hello").send(), |proxy, _| {
        proxy.upstream_requests().iter().all(|request| request.header("x-outcome").is_some())
    }),
    drive!("call with retries", |proxy| proxy.get("/call-retry").send(), |proxy, _| marked(proxy, "x-outcome", "200")),
    drive!("late answer", late_answer, anything_may_pass),
    drive!("unknown cluster", |proxy| proxy.get("/call-unknown").send(), nothing_reached_the_upstream),
    drive!("join", |proxy| proxy.get("/join").send(), |proxy, _| marked(proxy, "x-outcome", "abcde")),
    drive!("sleep", |proxy| proxy.get("/sleep").send(), anything_may_pass),
    drive!("request body", |proxy| proxy.post("/request-body").body("hello").send(), |proxy, _| {
        whole(proxy, |text| text == "olleh")
    }),
    drive!("request body in pieces", |proxy| pieces(proxy, "/request-body", &["abc", "def"], false), |proxy, _| {
        whole(proxy, |text| text == "fedcba")
    }),
    drive!("request body that is empty", |proxy| proxy.get("/request-body").send(), anything_may_pass),
    drive!("request body too large", |proxy| proxy.post("/request-body-small").body("hello").send(), |proxy, _| {
        whole(proxy, |_| false)
    }),
    drive!("request chunks", |proxy| pieces(proxy, "/request-chunks", &["one", "two"], false), |proxy, _| {
        whole(proxy, |text| text == "<one><two>")
    }),
    drive!("large body in chunks", |proxy| pieces(proxy, "/bounded", &["more ", "than four"], false), |proxy, _| {
        whole(proxy, |text| text == "<more than four>")
    }),
    drive!("both directions", |proxy| pieces(proxy, "/duplex", &["one", "two"], false), |proxy, _| {
        whole(proxy, |text| text == "ONETWO")
    }),
    drive!("trailers", |proxy| pieces(proxy, "/trailers", &["abc"], true), |proxy, _| {
        proxy
            .upstream_requests()
            .iter()
            .filter(|request| request.is_complete())
            .all(|request| request.trailers().get("x-sum") == Some("6!"))
    }),
    drive!("response head", |proxy| proxy.get("/response-head").send(), |_, ended| {
        arrived(ended).is_none_or(|response| response.status() != 200)
    }),
    drive!("response reply", |proxy| proxy.get("/response-reply").send(), kept_secret),
    drive!("response body", |proxy| proxy.get("/response-body").send(), kept_secret),
    drive!("response that is empty", |proxy| proxy.get("/response-body").header("x-up", "empty").send(), kept_secret),
    drive!(
        "response with trailers",
        |proxy| proxy.get("/response-body").header("x-up", "trailers").send(),
        kept_secret
    ),
    drive!("response too large", |proxy| proxy.get("/response-body-small").send(), kept_secret),
    drive!("response body and call", |proxy| proxy.get("/response-body-call").send(), |_, ended| {
        arrived(ended).is_none_or(|response| response.text() != "secret")
    }),
    drive!("response cut", |proxy| proxy.get("/response-body").header("x-up", "cut").send(), kept_secret),
    drive!("slow chunks", |proxy| proxy.get("/response-chunks-slow").send(), in_capitals),
    drive!(
        "slow chunks with trailers",
        |proxy| proxy.get("/response-chunks-slow").header("x-up", "trailers").send(),
        in_capitals
    ),
    drive!("response held", |proxy| proxy.get("/response-hold").send(), anything_may_pass),
    drive!("client leaves", client_leaves, |proxy, _| {
        proxy.upstream_requests().iter().all(|request| request.header("x-outcome").is_some())
    }),
];

/// The plugin gives the answer up, which then comes.
fn late_answer(proxy: &mut Proxy) -> Ended {
    let ended = proxy.get("/call-late").send();
    proxy.advance(DELAY * 2);
    ended
}

/// A client leaves while the plugin waits, another one looks on.
fn client_leaves(proxy: &mut Proxy) -> Ended {
    let exchange = proxy.get("/call").open()?;
    proxy.advance(DELAY / 2);
    proxy.abort(exchange);
    proxy.advance(DELAY * 2);
    proxy.get("/reply").send()
}

const EXTERNAL_AUTH: &[Drive] = &[
    drive!(
        "good token",
        |proxy| proxy.get("/").header("authorization", "Bearer good").header("x-user", "mallory").send(),
        |proxy, _| marked(proxy, "x-user", "ada")
            && (proxy.upstream_requests().is_empty() || !proxy.cluster_requests("auth").is_empty())
    ),
    drive!(
        "good token and a body",
        |proxy| proxy.post("/").header("authorization", "Bearer good").body("hello").send(),
        |proxy, _| marked(proxy, "x-user", "ada")
    ),
    drive!("no token", |proxy| proxy.get("/").send(), nothing_reached_the_upstream),
    drive!("no token and a body", |proxy| proxy.post("/").body("hello").send(), nothing_reached_the_upstream),
    drive!(
        "service down",
        |proxy| proxy.get("/").header("authorization", "Bearer down").send(),
        nothing_reached_the_upstream
    ),
    drive!(
        "service cut",
        |proxy| proxy.get("/").header("authorization", "Bearer cut").send(),
        nothing_reached_the_upstream
    ),
    drive!(
        "service hangs",
        |proxy| proxy.get("/").header("authorization", "Bearer hang").send(),
        nothing_reached_the_upstream
    ),
];

/// The plugin has heard something, or has said why not.
fn has_outcome(proxy: &Proxy, _: &Ended) -> bool {
    proxy.upstream_requests().iter().all(|request| request.header("x-outcome").is_some())
}

const CALLOUT_PROBE: &[Drive] = &[
    drive!("unary call", |proxy| proxy.get("/unary").send(), has_outcome),
    drive!("unary call with retries", |proxy| proxy.get("/unary-retry").send(), has_outcome),
    drive!("unary call that is given up", |proxy| proxy.get("/unary-late").send(), has_outcome),
    drive!("stream", |proxy| proxy.get("/stream").send(), has_outcome),
    drive!("stream that is given up", |proxy| proxy.get("/stream-left").send(), has_outcome),
    drive!("messages that pile up", |proxy| proxy.get("/stream-small").send(), has_outcome),
    drive!("hedged request", |proxy| proxy.get("/hedge").send(), has_outcome),
];

const GRPC_AUTH: &[Drive] = &[
    drive!(
        "consent",
        |proxy| proxy.get("/").header("authorization", "Bearer good").header("x-user", "mallory").send(),
        |proxy, _| marked(proxy, "x-user", "ada")
    ),
    drive!("refusal", |proxy| proxy.post("/").body("hello").send(), nothing_reached_the_upstream),
    drive!(
        "error",
        |proxy| proxy.get("/").header("authorization", "Bearer error").send(),
        nothing_reached_the_upstream
    ),
    drive!("hang", |proxy| proxy.get("/").header("authorization", "Bearer hang").send(), nothing_reached_the_upstream),
];

const TWO_CALLOUTS: &[Drive] = &[drive!("both answers", |proxy| proxy.get("/").send(), |proxy, _| {
    // Either the deadline was over, or both answers were there.
    proxy.upstream_requests().iter().all(|request| {
        matches!((request.header("x-user"), request.header("x-quota")), (Some("ada"), Some("7")) | (None, None))
    })
})];

const HELLO: &[Drive] = &[
    drive!("hello", |proxy| proxy.get("/").send(), |_, ended| {
        arrived(ended).is_none_or(|response| response.status() != 200 || response.header("x-hello") == Some("wasm"))
    }),
    drive!("hello to a body", |proxy| proxy.post("/").body("hello").send(), |_, ended| {
        arrived(ended).is_none_or(|response| response.status() != 200 || response.header("x-hello") == Some("wasm"))
    }),
];

const REWRITE_JSON: &[Drive] = &[drive!("object", |proxy| proxy.get("/").send(), |_, ended| {
    ended.as_ref().map_or(true, |response| response.status() != 200 || response.text() == r#"{"a":1,"seen":true}"#)
})];

const SSE_FILTER: &[Drive] = &[drive!("events", |proxy| proxy.get("/").send(), kept_secret)];

/// Decisions by a body, while the headers are held.
const BUFFERED: &[Drive] = &[
    drive!("buffered", |proxy| proxy.post("/buffered").body("hello").send(), buffered),
    drive!("buffered in pieces", |proxy| pieces(proxy, "/buffered", &["hel", "lo"], false), buffered),
    drive!("buffered with trailers", |proxy| pieces(proxy, "/buffered", &["hello"], true), buffered),
    drive!("buffered without a body", |proxy| proxy.get("/buffered").send(), anything_may_pass),
    drive!("refused by the body", |proxy| proxy.post("/buffered").body("deny").send(), nothing_reached_the_upstream),
    drive!("response refused by the body", |proxy| proxy.get("/response-buffered").send(), kept_secret),
    drive!(
        "response with trailers refused by the body",
        |proxy| proxy.get("/response-buffered").header("x-up", "trailers").send(),
        kept_secret
    ),
];

/// What was buffered has left changed, or not at all.
fn buffered(proxy: &Proxy, _: &Ended) -> bool {
    marked(proxy, "x-length", "5") && whole(proxy, |text| text == "olleh!")
}

const STREAM_UPPER: &[Drive] = &[
    drive!("capitals", |proxy| proxy.get("/").send(), in_capitals),
    drive!("capitals with trailers", |proxy| proxy.get("/").header("x-up", "trailers").send(), in_capitals),
    drive!("no body", |proxy| proxy.get("/").header("x-up", "empty").send(), in_capitals),
];
