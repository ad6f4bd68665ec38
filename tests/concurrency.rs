//! Many exchanges at once, none of them stuck or mixed up with another, and nothing left when they are over.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use wasmplugin_host::test::{Answer, Builder, Engine, Exchange, Failure, Proxy, Request};

use crate::engines::{Outcome, Plugin};

const TWO_CALLOUTS: Plugin = Plugin { package: "two-callouts", register: two_callouts::register };
const REWRITE_JSON: Plugin = Plugin { package: "rewrite-json", register: rewrite_json::register };
const PROBE: Plugin = Plugin { package: "probe", register: probe::register };

/// Scattered, and the same each time.
fn delay(number: u64) -> Duration {
    let mut number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    Duration::from_millis((number >> 32) % 100)
}

/// A cluster whose n-th answer says so, and comes out of order.
fn counting(name: &'static str) -> impl Fn(&Request) -> Answer + Send + Sync + 'static {
    let asked = AtomicU64::new(0);
    move |_| {
        let number = asked.fetch_add(1, Ordering::Relaxed);
        Answer::new(200).body(format!("{name}{number}")).after(delay(number ^ name.len() as u64))
    }
}

fn open(proxy: &mut Proxy, count: usize, path: impl Fn(usize) -> String) -> Result<Vec<Exchange>, Failure> {
    (0..count).map(|number| proxy.get(&path(number)).open()).collect()
}

/// Each exchange asks two services and has its response rewritten.
fn a_thousand_at_once(engine: Engine) -> Outcome {
    const COUNT: usize = 1_000;
    let mut proxy = TWO_CALLOUTS
        .on(engine)
        .config(json!({"user": "user", "quota": "quota", "deadline": "60s"}))
        .cluster("user", counting("user"))
        .cluster("quota", counting("quota"))
        .upstream(|request: &Request| {
            let seen = |name: &str| request.header(name).map(str::to_owned);
            let body = json!({"path": request.path(), "user": seen("x-user"), "quota": seen("x-quota")});
            Answer::new(200).body(body.to_string())
        })
        .patience(Duration::from_secs(60))
        .then(REWRITE_JSON.on(engine))
        .start()?;
    let exchanges = open(&mut proxy, COUNT, |number| format!("/{number}"))?;
    let mut users = BTreeSet::new();
    let mut quotas = BTreeSet::new();
    for (number, answer) in proxy.finish_all(exchanges).into_iter().enumerate() {
        let answer = answer?.json();
        assert_eq!(answer["path"], format!("/{number}"));
        assert_eq!(answer["seen"], true);
        users.extend(answer["user"].as_str().map(str::to_owned));
        quotas.extend(answer["quota"].as_str().map(str::to_owned));
    }
    // Everybody has got an answer of its own.
    assert_eq!((users.len(), quotas.len()), (COUNT, COUNT));
    assert_eq!(proxy.upstream_requests().len(), COUNT);
    let leaks = proxy.leaks();
    assert!(leaks.is_empty(), "{leaks}");
    assert_eq!(proxy.findings(), []);
    Ok(())
}

/// A third of the clients leave, a third of the upstreams break off, a third are lucky.
fn some_leave_and_some_are_left(engine: Engine) -> Outcome {
    const COUNT: usize = 300;
    let answers = AtomicU64::new(0);
    let builder: Builder = PROBE.on(engine).patience(Duration::from_secs(60));
    let mut proxy = builder
        .upstream(|request: &Request| {
            if request.header("x-unlucky").is_some() {
                Answer::reset_after_headers()
            } else {
                Answer::new(200).body("upstream")
            }
        })
        .cluster("service", move |_: &Request| {
            let number = answers.fetch_add(1, Ordering::Relaxed);
            Answer::new(200).body("service").after(Duration::from_millis(50) + delay(number))
        })
        .start()?;
    let mut exchanges = Vec::new();
    for number in 0..COUNT {
        exchanges.push(match number % 3 {
            0 => proxy.get("/call").open()?,
            1 => proxy.get("/response-body-call").header("x-unlucky", "1").open()?,
            _ => proxy.get("/response-body-call").open()?,
        });
    }
    let mut kept = Vec::new();
    for (number, exchange) in exchanges.into_iter().enumerate() {
        if number % 3 == 0 { proxy.abort(exchange) } else { kept.push((number % 3, exchange)) }
    }
    for (kind, exchange) in kept {
        match (kind, proxy.finish(exchange)) {
            (1, Err(Failure::Reset(_))) => {}
            (2, Ok(answer)) if answer.text() == "upstream and service" => {}
            (_, other) => return Err(format!("an exchange of kind {kind} ended so: {other:?}").into()),
        }
    }
    // Until the last answer has come for those who have left.
    proxy.advance(Duration::from_millis(500));
    assert_eq!(proxy.get("/census").send()?.text(), "0 exchanges, 0 tasks, 0 callouts, 0 timers");
    let leaks = proxy.leaks();
    assert!(leaks.is_empty(), "{leaks}");
    Ok(())
}

macro_rules! on_each {
    ($($scenario:ident)*) => {$(
        mod $scenario {
            use wasmplugin_host::test::Engine;

            #[test]
            fn native() {
                super::$scenario(Engine::Native).unwrap_or_else(|error| panic!("{error}"));
            }

            #[test]
            fn wasm() {
                super::$scenario(Engine::Wasm).unwrap_or_else(|error| panic!("{error}"));
            }

            #[test]
            fn envoy() {
                super::$scenario(Engine::Envoy).unwrap_or_else(|error| panic!("{error}"));
            }
        }
    )*};
}

on_each! { a_thousand_at_once some_leave_and_some_are_left }
