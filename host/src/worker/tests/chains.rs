//! Several plugins in a chain, and in one VM.

use super::*;

#[test]
fn t16_equal_plugins_share_a_vm() {
    let script = Script::new(pass);
    let code = Code::Wasm(Arc::new(script.clone()));
    let plugin = |name: &str| Plugin { vm_id: "v".into(), code: code.clone(), ..script.plugin(name) };
    let mut bench = Bench::new(&[plugin("one"), plugin("two")]);
    bench.get();
    assert_eq!(
        bench.calls(),
        ["context_create(3, 1)", "request_headers(3, 4, 1)=0", "context_create(4, 2)", "request_headers(4, 4, 1)=0"]
    );
}

#[test]
fn a_chain_answers_backwards() {
    let mut bench = Bench::new(&["a", "b", "c"].map(|name| {
        Script::new(move |callback, calls| {
            calls.log(&format!("{} {name}", callback.name().trim_start_matches("proxy_on_")));
            pass(callback, calls)
        })
        .plugin(name)
    }));
    bench.logs.lock().unwrap().clear();
    let id = bench.get();
    let headers = [(":status", "204")].into_iter().collect();
    bench.worker.response_headers(id, headers, true);
    bench.run();
    let order: Vec<String> = bench.logged().iter().map(|line| line.split(": ").nth(1).unwrap().to_owned()).collect();
    let requests = ["a", "b", "c"].iter().flat_map(|p| [format!("context_create {p}"), format!("request_headers {p}")]);
    let responses = ["c", "b", "a"].iter().map(|p| format!("response_headers {p}"));
    let logs = ["a", "b", "c"].iter().map(|p| format!("log {p}"));
    let ends = ["a", "b", "c"].iter().flat_map(|p| [format!("done {p}"), format!("delete {p}")]);
    assert_eq!(order, requests.chain(responses).chain(logs).chain(ends).collect::<Vec<_>>());
}

#[test]
fn a_later_filter_that_was_never_asked_still_logs() {
    let replies = Script::new(|callback, calls| match callback {
        Callback::RequestHeaders { .. } => {
            calls.reply(403, &[], "");
            Ok(1)
        }
        _ => pass(callback, calls),
    });
    let mut bench = Bench::new(&[replies.plugin("first"), Script::new(pass).plugin("second")]);
    bench.get();
    let expected = [
        "context_create(2, 1)",
        "request_headers(2, 4, 1)=1",
        "response_headers(2, 1, 1)=0",
        "log(2)",
        "context_create(2, 1)",
        "log(2)",
        "done(2)=1",
        "delete(2)",
        "done(2)=1",
        "delete(2)",
    ];
    assert_eq!(bench.calls(), expected);
}

#[test]
fn roots_end_with_the_worker() {
    let mut bench = Bench::one(|callback, calls| match callback {
        Callback::Done { context: 1 } => Ok(0),
        Callback::Tick { .. } => {
            assert_eq!(calls.raw("proxy_done", &[]), 0);
            assert_eq!(calls.raw("proxy_done", &[]), 1);
            Ok(0)
        }
        Callback::Configure { .. } => {
            calls.raw("proxy_set_tick_period_milliseconds", &[1]);
            Ok(1)
        }
        _ => pass(callback, calls),
    });
    bench.get();
    bench.calls();
    bench.worker.stop();
    assert_eq!(bench.calls(), ["log(2)", "done(2)=1", "delete(2)", "done(1)=0"]);
    bench.worker.advance_to(Duration::from_secs(1));
    assert_eq!(bench.calls(), ["tick(1)", "delete(1)"]);
}

#[test]
fn what_vms_share_goes_with_the_last_of_their_id() {
    let named = |name: &str| Plugin { vm_id: "shared".to_owned(), ..Script::new(pass).plugin(name) };
    let plugins = [named("p"), named("q")];
    let first = Bench::new(&plugins);
    let services = Arc::clone(&first.services);
    let mut second = Worker::new(Arc::clone(&services), Options::default());
    second.add_chain(&plugins, Entrance::default()).unwrap();
    services.shared().set("shared", b"key", b"value", 0).unwrap();
    services.shared().set("elsewhere", b"key", b"value", 0).unwrap();
    drop(first);
    assert!(services.shared().get("shared", b"key").is_some());
    drop(second);
    assert_eq!(services.shared().get("shared", b"key"), None);
    assert!(services.shared().get("elsewhere", b"key").is_some());
}
