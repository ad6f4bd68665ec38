//! Several chains in one worker, and what they share.

use super::*;
use crate::surroundings::{Listener, TrafficDirection};

/// Says on each request which way the listener's traffic goes, and traps on `/trap`.
fn told() -> Plugin {
    let script = Script::new(|callback, calls| match callback {
        Callback::RequestHeaders { .. } => {
            if calls.header(0, ":path").is_ok_and(|path| path == "/trap") {
                return Err("unreachable".into());
            }
            let direction = calls.property("xds.listener_direction").unwrap();
            calls.log(&format!("direction {}", direction.first().copied().unwrap_or_default()));
            Ok(0)
        }
        Callback::Done { .. } => {
            calls.log("done");
            Ok(1)
        }
        Callback::Configure { .. } => {
            let configuration = calls.body(7).unwrap_or_default();
            calls.log(&format!("configuration {}", configuration.escape_ascii()));
            Ok(1)
        }
        _ => pass(callback, calls),
    });
    Plugin { configuration: "one".into(), ..script.plugin("p") }
}

fn other(plugin: &Plugin) -> Plugin {
    Plugin { configuration: "two".into(), ..plugin.clone() }
}

fn through(direction: TrafficDirection) -> Entrance {
    Entrance::new(Listener { direction, ..Listener::default() })
}

fn ask(bench: &mut Bench, chain: ChainId, path: &str) -> ExchangeId {
    let id = bench.worker.open(chain, Connection::default());
    let headers = [(":authority", "a"), (":path", path), (":method", "GET")].into_iter().collect();
    bench.worker.request_headers(id, headers, true);
    bench.run();
    id
}

#[test]
fn an_equal_plugin_has_one_root_context_and_knows_each_listener() {
    let plugin = told();
    let mut bench = Bench::new(&[]);
    let plugins = [plugin.clone()];
    let inbound = bench.worker.add_chain(&plugins, through(TrafficDirection::Inbound)).unwrap();
    let outbound = bench.worker.add_chain(&[plugin.clone(), plugin], through(TrafficDirection::Outbound)).unwrap();
    ask(&mut bench, inbound, "/");
    ask(&mut bench, outbound, "/");
    assert_eq!(bench.worker.started_vms(), 1);
    let said: Vec<_> = bench.logged().iter().map(|line| line.rsplit(": ").next().unwrap().to_owned()).collect();
    assert_eq!(said, ["configuration one", "direction 1", "direction 2", "direction 2"]);
    let contexts = bench.calls().into_iter().filter(|call| call.starts_with("context_create")).collect::<Vec<_>>();
    let expected = ["(1, 0)", "(2, 1)", "(3, 1)", "(4, 1)"].map(|context| format!("context_create{context}"));
    assert_eq!(contexts, expected);
}

#[test]
fn another_configuration_is_another_root_context_in_the_same_vm() {
    let plugin = told();
    let mut bench = Bench::new(std::slice::from_ref(&plugin));
    let second = bench.worker.add_chain(&[other(&plugin)], Entrance::default()).unwrap();
    ask(&mut bench, second, "/");
    assert_eq!(bench.worker.started_vms(), 1);
    assert!(bench.calls().contains(&"context_create(3, 2)".to_owned()));
}

#[test]
fn a_trap_takes_along_what_shares_the_vm_until_a_chain_is_changed() {
    let plugin = told();
    let mut bench = Bench::new(std::slice::from_ref(&plugin));
    let second = bench.worker.add_chain(&[other(&plugin)], Entrance::default()).unwrap();
    ask(&mut bench, second, "/trap");
    ask(&mut bench, ChainId::FIRST, "/");
    assert_eq!(bench.client, ["503.", "503."]);
    assert!(bench.worker.has_failed(ChainId::FIRST, 0) && bench.worker.has_failed(second, 0));
    let renewed = bench.worker.add_chain(&[other(&plugin)], Entrance::default()).unwrap();
    bench.worker.remove_chain(second);
    let id = ask(&mut bench, renewed, "/");
    bench.respond(id, 1);
    assert_eq!(bench.client[2..], ["200", "x", "."]);
    assert!(!bench.worker.has_failed(renewed, 0) && bench.worker.has_failed(ChainId::FIRST, 0));
    assert_eq!((bench.worker.running_vms(), bench.worker.started_vms()), (1, 2));
}

#[test]
fn a_plugin_ends_with_the_last_exchange_of_its_last_chain() {
    let plugin = told();
    let mut bench = Bench::new(std::slice::from_ref(&plugin));
    let second = bench.worker.add_chain(&[plugin], Entrance::default()).unwrap();
    let (one, two) = (ask(&mut bench, ChainId::FIRST, "/"), ask(&mut bench, second, "/"));
    bench.worker.remove_chain(ChainId::FIRST);
    bench.worker.remove_chain(second);
    bench.worker.finished(one);
    assert_eq!((bench.worker.running_vms(), bench.worker.open_contexts()), (1, 1));
    assert!(!bench.calls().contains(&"done(1)=1".to_owned()));
    bench.worker.finished(two);
    assert!(bench.calls().ends_with(&["done(1)=1".to_owned(), "delete(1)".to_owned()]));
    assert_eq!((bench.worker.running_vms(), bench.worker.open_contexts()), (0, 0));
}

#[test]
fn nothing_passes_through_a_chain_that_is_gone() {
    let mut bench = Bench::new(&[told()]);
    bench.worker.remove_chain(ChainId::FIRST);
    bench.calls();
    ask(&mut bench, ChainId::FIRST, "/");
    assert_eq!((bench.client.as_slice(), bench.upstream.len()), (&["404.".to_owned()][..], 0));
    let id = bench.worker.open_tcp(ChainId::FIRST, Connection::default());
    bench.worker.tcp_connected(id);
    bench.worker.tcp_from_downstream(id, "secret".into(), true);
    let effects: Vec<_> = std::iter::from_fn(|| bench.worker.next_effect()).collect();
    assert!(matches!(effects[..], [Effect::Tcp { effect: TcpEffect::Close, .. }]), "{effects:?}");
    assert_eq!((bench.worker.open_exchanges(), bench.calls()), (0, vec![]));
}

#[test]
fn a_chain_that_is_wanted_again_finds_its_plugin_still_there() {
    let plugin = told();
    let mut bench = Bench::new(std::slice::from_ref(&plugin));
    let under_way = ask(&mut bench, ChainId::FIRST, "/");
    bench.worker.remove_chain(ChainId::FIRST);
    let again = bench.worker.add_chain(&[plugin], Entrance::default()).unwrap();
    bench.worker.finished(under_way);
    let id = ask(&mut bench, again, "/");
    bench.respond(id, 1);
    assert_eq!(bench.client, ["200", "x", "."]);
    assert_eq!(bench.worker.started_vms(), 1);
}

#[test]
fn a_refused_chain_leaves_nothing_behind() {
    let refuses = Script::new(|callback, calls| match callback {
        Callback::Configure { .. } => Ok(0),
        _ => pass(callback, calls),
    });
    let mut bench = Bench::new(&[]);
    let refused = bench.worker.add_chain(&[told(), refuses.plugin("refuses")], Entrance::default());
    assert!(matches!(refused, Err(StartError::Configure { plugin }) if plugin == "refuses"));
    assert_eq!(bench.worker.running_vms(), 0);
    assert!(bench.logged().last().unwrap().ends_with("done"));
}

#[test]
fn a_thousand_changes_leave_nothing_behind() {
    let plugin = told();
    let mut bench = Bench::new(std::slice::from_ref(&plugin));
    let mut current = ChainId::FIRST;
    for number in 0..1000 {
        let under_way = ask(&mut bench, current, "/");
        // Each has code and a VM of its own, beside one that is the same all the time.
        let fresh = Plugin { configuration: number.to_string().into(), ..told() };
        let next = bench.worker.add_chain(&[fresh, plugin.clone()], Entrance::default()).unwrap();
        bench.worker.remove_chain(current);
        bench.worker.finished(under_way);
        current = next;
    }
    let (state, worker) = (&bench.worker.state, &bench.worker);
    assert!(state.roots.len() <= 3 && state.vms.len() <= 3, "{} {}", state.roots.len(), state.vms.len());
    assert_eq!((worker.running_vms(), worker.started_vms(), worker.chains.len()), (2, 1001, 1));
}

#[test]
fn a_plugin_that_owes_its_end_keeps_its_vm_until_the_next_change() {
    let slow = |says_so: bool| {
        Script::new(move |callback, calls| match callback {
            Callback::Done { context: 1 } => Ok(0),
            Callback::Configure { .. } => {
                calls.raw("proxy_set_tick_period_milliseconds", &[1]);
                Ok(1)
            }
            Callback::Tick { .. } => {
                if says_so {
                    calls.raw("proxy_done", &[]);
                }
                Ok(0)
            }
            _ => pass(callback, calls),
        })
        .plugin("slow")
    };
    for says_so in [true, false] {
        let mut bench = Bench::new(&[slow(says_so)]);
        bench.worker.remove_chain(ChainId::FIRST);
        assert_eq!(bench.worker.running_vms(), 1);
        bench.worker.advance_to(Duration::from_secs(1));
        assert_eq!(bench.worker.running_vms(), usize::from(!says_so));
        bench.worker.add_chain(&[], Entrance::default()).unwrap();
        assert_eq!(bench.worker.running_vms(), 0);
    }
}

#[test]
fn a_notice_for_a_plugin_that_is_gone_reaches_no_other() {
    let reader = |name: &'static str| {
        Script::new(move |callback, calls| {
            if let Callback::Configure { .. } = callback {
                calls.register_queue(name);
            }
            calls.log(callback.name());
            pass(callback, calls)
        })
        .plugin(name)
    };
    let mut bench = Bench::new(&[reader("first")]);
    let queue = bench.services.queues().resolve("first", b"first").unwrap();
    bench.services.queues().enqueue(queue, b"item").unwrap();
    bench.worker.remove_chain(ChainId::FIRST);
    bench.worker.add_chain(&[reader("second")], Entrance::default()).unwrap();
    bench.worker.advance_to(Duration::from_secs(1));
    assert!(!bench.logged().iter().any(|line| line.contains("queue_ready")), "{:?}", bench.logged());
}
