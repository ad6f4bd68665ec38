//! Plugins that trap, and what becomes of the streams around them.

use super::*;

fn trap_in(name: &'static str) -> Script {
    Script::new(
        move |callback, calls| if callback.name() == name { Err("unreachable".into()) } else { pass(callback, calls) },
    )
}

#[test]
fn t14_a_trap_fails_the_stream_and_those_after_it() {
    let plugins = [Script::new(pass).plugin("outer"), trap_in("proxy_on_request_headers").plugin("inner")];
    let mut bench = Bench::new(&plugins);
    bench.get();
    let expected = [
        "context_create(2, 1)",
        "request_headers(2, 4, 1)=0",
        "context_create(2, 1)",
        "request_headers(2, 4, 1)",
        "response_headers(2, 1, 1)=0",
        "log(2)",
        "done(2)=1",
        "delete(2)",
    ];
    assert_eq!(bench.calls(), expected);
    assert_eq!(bench.client, ["503."]);
    assert!(bench.worker.has_failed(ChainId::FIRST, 1));
    bench.get();
    assert_eq!(bench.client, ["503.", "503."]);
    assert_eq!(bench.worker.counters().traps, 1);
}

#[test]
fn a_failed_plugin_can_be_passed_by() {
    for function in ["proxy_on_request_headers", "proxy_on_response_headers", "proxy_on_response_body"] {
        let mut plugin = trap_in(function).plugin("p");
        plugin.fail = FailPolicy::Open;
        let mut bench = Bench::new(&[plugin]);
        for _ in 0..2 {
            let id = bench.get();
            bench.respond(id, 1);
        }
        assert_eq!(bench.client, ["200", "x", ".", "200", "x", "."], "{function}");
    }
}

#[test]
fn a_trap_in_the_response_body_cuts_it() {
    let mut bench = Bench::new(&[trap_in("proxy_on_response_body").plugin("p")]);
    let id = bench.get();
    bench.respond(id, 1);
    assert_eq!(bench.client, ["200", "reset"]);
}

#[test]
fn a_parked_stream_hangs_when_its_vm_fails() {
    let mut bench = Bench::one(|callback, calls| match callback {
        Callback::HttpCallResponse { .. } => Err("unreachable".into()),
        _ => ask_first(callback, calls),
    });
    bench.get();
    bench.get();
    bench.answer(0, "200");
    assert_eq!((bench.client.len(), bench.worker.open_exchanges()), (0, 2));
    assert_eq!(bench.worker.open_callouts(), 0, "what the VM waited for is forgotten");
}

#[test]
fn a_reloading_plugin_comes_back_after_a_pause() {
    let mut plugin = trap_in("proxy_on_response_headers").plugin("p");
    plugin.fail = FailPolicy::RELOAD;
    let mut bench = Bench::new(&[plugin]);
    let id = bench.get();
    bench.respond(id, 1);
    assert_eq!(bench.client, ["503."]);
    bench.get();
    assert_eq!(bench.client, ["503.", "503."], "too soon");
    bench.services.clock().advance_to(Duration::from_secs(2));
    bench.calls();
    bench.get();
    assert_eq!(bench.upstream.last().unwrap(), "/p?q=1.");
    assert_eq!(bench.calls()[..3], ["context_create(1, 0)", "vm_start(1, 0)=1", "configure(1, 0)=1"]);
}

#[test]
fn faults_and_limits_bite() {
    let script = || {
        Script::new(|callback, calls| {
            if let Callback::RequestHeaders { .. } = callback {
                let first = calls.header(0, ":path");
                let second = calls.header(0, ":path");
                calls.log(&format!("{first:?} {second:?}"));
            }
            pass(callback, calls)
        })
    };
    let faults = Faults::new().call("proxy_get_header_map_value", When::Nth(2), Status::InternalFailure);
    let mut bench = Bench::with(&[script().plugin("p")], Options { faults: Some(faults), ..Options::default() });
    bench.get();
    assert_eq!(bench.logged(), ["wasm log p p: Ok(b\"/p?q=1\") Err(InternalFailure)"]);

    let faults = Faults::new().allocation(When::Always);
    let mut bench = Bench::with(&[script().plugin("p")], Options { faults: Some(faults), ..Options::default() });
    bench.get();
    assert_eq!(bench.logged(), ["wasm log p p: Err(InvalidMemoryAccess) Err(InvalidMemoryAccess)"]);

    let faults = Faults::new().trap("proxy_on_response_headers", When::Always);
    let mut bench = Bench::with(&[script().plugin("p")], Options { faults: Some(faults), ..Options::default() });
    let id = bench.get();
    bench.respond(id, 1);
    assert_eq!(bench.client, ["503."]);
}
