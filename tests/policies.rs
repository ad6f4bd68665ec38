//! What a proxy does with requests once a plugin has trapped, and with plugins that share a VM.

use std::time::Duration;

use wasmplugin_host::test::{Answer, Builder, Engine, Failure, Proxy, Request, Response};

use crate::engines::on_every_engine;
use crate::wat_guest::{PAUSE, TRAP, answer, module};

on_every_engine! { probe as "probe";
    fn closed_refuses_everything(proxy) {
        let mut proxy = proxy.start()?;
        assert_eq!(proxy.get("/panic").send()?.status(), 503);
        proxy.advance(Duration::from_secs(2));
        assert_eq!(proxy.get("/reply").send()?.status(), 503);
        assert_eq!(proxy.upstream_requests(), []);
        Ok(())
    }

    fn open_passes_without_the_plugin(proxy) {
        let mut proxy = proxy.fail_open(true).start()?;
        let held = proxy.get("/hold-gate").open()?;
        proxy.advance(Duration::from_millis(100));
        let answer = proxy.get("/panic").send()?;
        assert_eq!(answer.text(), "upstream", "{answer:?} {:?}", proxy.logs());
        // Who waited for the plugin gets its last words.
        assert_eq!(proxy.finish(held)?.status(), 503);
        assert_eq!(proxy.get("/reply").send()?.text(), "upstream");
        assert_eq!(proxy.upstream_requests().len(), 2);
        Ok(())
    }

    fn open_passes_a_response_without_the_plugin(proxy) {
        let mut proxy = proxy.fail_open(true).start()?;
        assert_eq!(proxy.get("/response-panic").send()?.text(), "upstream");
        assert_eq!(proxy.get("/reply").send()?.text(), "upstream");
        Ok(())
    }

    fn reload_gives_later_requests_a_fresh_plugin(proxy) {
        let mut proxy = proxy.fail_reload().start()?;
        for _ in 0..2 {
            assert_eq!(proxy.get("/panic").send()?.status(), 503);
            proxy.advance(Duration::from_secs(2));
            assert_eq!(proxy.get("/reply").send()?.status(), 401);
            assert_eq!(proxy.get("/census").send()?.text(), "0 exchanges, 0 tasks, 0 callouts, 0 timers");
        }
        Ok(())
    }

    fn who_shares_a_vm_shares_its_fate(proxy) {
        let second = proxy.clone().name("second").vm_id("one");
        let mut proxy = proxy.name("first").vm_id("one").fail_open(true).then(second).start()?;
        assert_eq!(proxy.get("/").send()?.status(), 200);
        // The first lets it pass, the second cannot run either and is closed.
        assert_eq!(proxy.get("/panic").send()?.status(), 503);
        assert_eq!(proxy.get("/").send()?.status(), 503);
        Ok(())
    }

    fn a_body_waits_while_only_iteration_stops(proxy) {
        let mut proxy = proxy
            .allow_on_headers_stop_iteration(true)
            .cluster("service", |_: &Request| Answer::new(200).body("fine").after(Duration::from_secs(1)))
            .start()?;
        let upload = proxy.post("/call").header("transfer-encoding", "chunked").open()?;
        proxy.send_data(&upload, "one,", false)?;
        proxy.advance(Duration::from_millis(20));
        assert_eq!(proxy.upstream_requests(), []);
        proxy.send_data(&upload, "two", true)?;
        assert_eq!(proxy.finish(upload)?.status(), 200);
        assert_eq!(proxy.post("/request-body").chunks(["abc", "def"]).send()?.status(), 200);
        let chunked = proxy.post("/request-chunks").body("abc").send()?;
        assert_eq!(chunked.header("x-chunked"), Some("yes"));
        assert_eq!(proxy.get("/response-body").send()?.text(), "8 bytes");
        assert_eq!(proxy.get("/response-hold").send()?.text(), "upstream");
        let texts: Vec<_> = proxy.upstream_requests().iter().map(|request| request.text().into_owned()).collect();
        assert_eq!(texts, ["one,two", "fedcba", "<abc>", "", ""]);
        Ok(())
    }
}

/// Runs a check of a guest without an SDK on both engines that run modules; natively there is none to link.
fn on_modules(bodies: &[(&str, &str)], check: impl Fn(Builder)) {
    let module = module(bodies);
    for engine in [Engine::Wasm, Engine::Envoy] {
        check(Proxy::on(engine).module(&module).name("guest"));
    }
}

/// A trap while the plugin's own answer passes it takes that answer's place.
#[test]
fn a_trap_behind_a_plugins_own_answer_refuses() {
    let replies = format!("{} (i32.const 0)", answer(5));
    on_modules(&[("request_headers", &replies), ("response_headers", TRAP)], |builder| {
        let mut proxy = builder.start().unwrap_or_else(|error| panic!("{error}"));
        let engine = proxy.engine();
        let ended = proxy.get("/").send();
        assert!(ended.as_ref().is_ok_and(|response| response.status() == 503), "{engine}: {ended:?}");
    });
}

/// With the flag, a body callback that continues releases the headers too.
#[test]
fn a_body_callback_releases_the_headers_where_only_iteration_stops() {
    for allow in [false, true] {
        on_modules(&[("request_headers", PAUSE)], |builder| {
            let patience = if allow { Duration::from_secs(5) } else { Duration::from_millis(700) };
            let builder = builder.allow_on_headers_stop_iteration(allow).patience(patience);
            let mut proxy = builder.start().unwrap_or_else(|error| panic!("{error}"));
            let engine = proxy.engine();
            let ended = proxy.post("/").body("hello").send();
            if allow {
                assert!(ended.is_ok_and(|response| response.status() == 200), "{engine}");
                assert_eq!(
                    proxy.upstream_requests().first().map(|request| request.text().into_owned()).as_deref(),
                    Some("hello")
                );
            } else {
                assert!(matches!(ended, Err(Failure::Hung(_))), "{engine}: {ended:?}");
                assert_eq!(proxy.upstream_requests(), []);
            }
        });
    }
}

/// What passes without a plugin that has trapped and is open: the exchange itself, and those after it.
#[test]
fn open_passes_where_a_guest_traps() {
    for callback in ["request_headers", "response_headers"] {
        on_modules(&[(callback, TRAP)], |builder| {
            let mut proxy = builder.fail_open(true).start().unwrap_or_else(|error| panic!("{error}"));
            let engine = proxy.engine();
            for _ in 0..2 {
                let ended = proxy.get("/").send();
                let passed = ended.as_ref().is_ok_and(|response| response.text() == "upstream");
                assert!(passed, "{engine} {callback}: {ended:?}");
            }
        });
    }
}

/// What a plugin that is open has held back passes whole once it has failed over another exchange and more comes.
#[test]
fn open_passes_what_was_held_where_a_guest_traps() {
    for post in ["(i32.const 0)", PAUSE] {
        // What ends with its headers is its end.
        let headers = format!("(if (local.get $end) (then {TRAP})) {post}");
        for trailers in [false, true] {
            on_modules(&[("request_headers", &headers), ("request_body", PAUSE)], |builder| {
                let builder = builder.fail_open(true).allow_on_headers_stop_iteration(true);
                let mut proxy = builder.start().unwrap_or_else(|error| panic!("{error}"));
                let case = format!("{} {post} {trailers}", proxy.engine());
                let ended = held(&mut proxy, trailers);
                assert!(ended.as_ref().is_ok_and(|response| response.status() == 200), "{case}: {ended:?}");
                let mut texts: Vec<_> =
                    proxy.upstream_requests().iter().map(|request| request.text().into_owned()).collect();
                texts.sort();
                assert_eq!(texts, ["", "one,two"], "{case}");
            });
        }
    }
}

/// An upload of which a part is held while another exchange comes and goes.
fn held(proxy: &mut Proxy, trailers: bool) -> Result<Response, Failure> {
    let upload = proxy.post("/").header("transfer-encoding", "chunked").open()?;
    proxy.send_data(&upload, if trailers { "one,two" } else { "one," }, false)?;
    proxy.advance(Duration::from_millis(20));
    assert_eq!(proxy.get("/").send()?.status(), 200);
    if trailers {
        proxy.send_trailers(&upload, [("x-last", "1")])?;
    } else {
        proxy.send_data(&upload, "two", true)?;
    }
    proxy.finish(upload)
}
