//! Order and matching, over the tables `ordering` and `traffic_match`.

use proptest::prelude::*;
use serde_json::{Value, json};
use wasmplugin_deploy::attach::{Listener, Proxy};
use wasmplugin_deploy::order;
use wasmplugin_deploy::resource::{Extension, TRANSLATED, TrafficSelector};

use crate::cases;

#[test]
fn plugins_stand_in_the_order_of_the_table() {
    for case in cases::table("ordering") {
        let plugins: Vec<_> = case["items"].as_array().unwrap().iter().map(plugin).collect();
        let mut proxy = Proxy::sidecar(case["proxy_ns"].as_str().unwrap());
        proxy.root_namespace = "root".to_owned();
        let names: Vec<_> =
            order::plugins_for(&proxy, &plugins).iter().map(|plugin| plugin.metadata.name.as_str()).collect();
        assert_eq!(json!(names), case["order"], "{}", case["id"]);
        let reversed = order::plugins_for(&proxy, plugins.iter().rev());
        assert_eq!(
            json!(reversed.iter().map(|plugin| plugin.metadata.name.as_str()).collect::<Vec<_>>()),
            case["order"]
        );
    }
}

fn plugin(item: &Value) -> Extension {
    let case = json!({
        "kind": "WasmPlugin",
        "metadata": { "namespace": item[0], "name": item[1], "creationTimestamp": item[3] },
        "spec": { "url": "oci://r/a:1", "priority": item[2] },
    });
    cases::document(&case).extension().unwrap().unwrap()
}

#[test]
fn listeners_match_as_the_table_says() {
    for case in cases::table("traffic_match") {
        let mut selector = json!({});
        if let Some(mode) = case.get("mode") {
            selector["mode"] = mode.clone();
        }
        if let Some(ports) = case.get("ports") {
            selector["ports"] = ports.as_array().unwrap().iter().map(|port| json!({ "number": port })).collect();
        }
        let traffic: TrafficSelector = serde_json::from_value(selector).unwrap();
        for listener in listeners(case["listener"].as_str().unwrap()) {
            let seen = listener.is_seen(std::slice::from_ref(&traffic));
            assert_eq!(seen, case["match"].as_bool().unwrap(), "{case} {listener:?}");
        }
    }
}

/// The listeners that a row is about.
fn listeners(text: &str) -> Vec<Listener> {
    let (kind, port) = match text.split_once(" port ") {
        Some((kind, port)) => (kind, port.parse().unwrap()),
        None => (text, 80),
    };
    match kind {
        "sidecar inbound" => vec![Listener::Inbound(port)],
        "sidecar outbound" => vec![Listener::Outbound(port)],
        "gateway" => vec![Listener::Gateway(port)],
        kind if kind.starts_with("waypoint") => vec![Listener::Waypoint],
        "any" => vec![Listener::Inbound(port), Listener::Outbound(port), Listener::Gateway(port), Listener::Waypoint],
        other => panic!("the table has a new listener: {other}"),
    }
}

proptest! {
    /// However the API server lists them, plugins stand in one order, and each pair of neighbours as istiod's rules say.
    #[test]
    fn the_order_does_not_hang_on_the_list(
        items in prop::collection::btree_map(
            (prop::sample::select(&["root", "ns1", "other"][..]), "[a-c]{1,2}"),
            (prop::option::of(-2..2_i32), 0..3_u8),
            0..12,
        ),
        seed in any::<prop::sample::Index>(),
    ) {
        let plugins: Vec<_> = items
            .iter()
            .map(|((namespace, name), (priority, time))| plugin(&json!([namespace, name, priority, format!("t{time}")])))
            .collect();
        let mut rotated: Vec<_> = plugins.iter().collect();
        if !rotated.is_empty() {
            let middle = seed.index(rotated.len());
            rotated.rotate_left(middle);
        }
        let mut proxy = Proxy::sidecar("ns1");
        proxy.root_namespace = "root".to_owned();
        let order = order::plugins_for(&proxy, &plugins);
        prop_assert_eq!(&order, &order::plugins_for(&proxy, rotated));
        prop_assert_eq!(order.len(), items.keys().filter(|(namespace, _)| *namespace != "other").count());
        for pair in order.windows(2) {
            let rank = |plugin: &Extension| plugin.spec.priority.map_or(i64::from(i32::MIN), i64::from);
            let own = |plugin: &Extension| plugin.metadata.namespace() == "ns1";
            let (first, second) = (pair[0], pair[1]);
            prop_assert!(rank(first) >= rank(second));
            if rank(first) == rank(second) {
                prop_assert!(own(first) >= own(second));
                if own(first) == own(second) {
                    // Names count with the tail that istiod puts behind those of WasmPlugins.
                    let age = |plugin: &Extension| {
                        (plugin.metadata.creation_timestamp.clone(), format!("{}{TRANSLATED}", plugin.metadata.name))
                    };
                    prop_assert!(age(first) < age(second));
                }
            }
        }
    }
}
