//! Plugins that are configured anew while exchanges are under way.

use std::collections::HashMap;

use super::*;

/// Puts its configuration into responses, and refuses one that is `bad`.
fn named() -> Plugin {
    // What was configured, by root context, and the root context of every other one.
    let known: Mutex<(HashMap<u32, String>, HashMap<u32, u32>)> = Mutex::default();
    let script = Script::new(move |callback, calls| {
        let (configurations, roots) = &mut *known.lock().unwrap();
        match callback {
            Callback::ContextCreate { context, root } => {
                roots.insert(context, root);
                Ok(0)
            }
            Callback::Configure { root, .. } => {
                let configuration = String::from_utf8_lossy(&calls.body(7).unwrap_or_default()).into_owned();
                let right = configuration != "bad";
                configurations.insert(root, configuration);
                Ok(right.into())
            }
            Callback::ResponseHeaders { context, .. } => {
                let by = &configurations[&roots[&context]];
                Ok(calls.change("proxy_add_header_map_value", 2, "x-by", by))
            }
            _ => pass(callback, calls),
        }
    });
    Plugin { configuration: "one".into(), ..script.plugin("p") }
}

fn by(bench: &mut Bench, id: ExchangeId) -> String {
    let headers = [(":status", "200")].into_iter().collect();
    bench.worker.response_headers(id, headers, true);
    let mut by = String::new();
    while let Some(effect) = bench.worker.next_effect() {
        if let Effect::ToDownstream { id, item: Item::Headers(headers, _) } = effect {
            by = headers.get_str("x-by").unwrap_or_default().to_owned();
            bench.worker.finished(id);
        }
    }
    by
}

#[test]
fn exchanges_keep_the_configuration_that_they_have_met() {
    let mut bench = Bench::new(&[named()]);
    let old = bench.get();
    bench.worker.reconfigure(ChainId::FIRST, 0, "two".into()).unwrap();
    let new = bench.get();
    assert_eq!(by(&mut bench, new), "two");
    assert!(bench.calls().iter().all(|call| call != "delete(1)"));
    assert_eq!(by(&mut bench, old), "one");
    assert!(bench.calls().ends_with(&["done(1)=1".to_owned(), "delete(1)".to_owned()]));
}

#[test]
fn a_refused_configuration_changes_nothing() {
    let mut bench = Bench::new(&[named()]);
    let refused = bench.worker.reconfigure(ChainId::FIRST, 0, "bad".into());
    assert!(matches!(refused, Err(StartError::Configure { .. })));
    let id = bench.get();
    assert_eq!(by(&mut bench, id), "one");
}

#[test]
fn a_root_context_takes_its_callouts_along() {
    let mut bench = Bench::one(|callback, calls| {
        if let Callback::Configure { .. } = callback {
            calls.call_out("auth", 1000).unwrap();
        }
        pass(callback, calls)
    });
    assert_eq!(bench.worker.open_callouts(), 1);
    bench.worker.reconfigure(ChainId::FIRST, 0, "two".into()).unwrap();
    assert_eq!(bench.worker.open_callouts(), 1);
}

#[test]
fn a_thousand_configurations_leave_nothing_behind() {
    let mut bench = Bench::new(&[named()]);
    for number in 0..1000 {
        let old = bench.get();
        bench.worker.reconfigure(ChainId::FIRST, 0, number.to_string().into()).unwrap();
        by(&mut bench, old);
    }
    assert!(bench.worker.state.roots.len() <= 3);
    assert_eq!(bench.worker.state.vms[0].contexts.len(), 1);
}
