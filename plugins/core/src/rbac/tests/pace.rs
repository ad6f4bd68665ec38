//! The cost of a decision does not grow with the policies. `cargo test -p istio-core pace -- --nocapture` prints it.

use std::hint::black_box;

use serde_json::{Value, json};

use crate::rbac::Engine;
use crate::rbac::facts::Facts;
use crate::rbac::policy::Set;

const SHAPES: [&str; 5] = ["path prefix and method", "exact principal", "namespace", "path template", "remote block"];

#[test]
fn a_request_meets_few_of_ten_thousand_policies() {
    for shape in SHAPES {
        for count in [1, 1_000, 10_000] {
            let engine = engine(shape, count);
            let identities: [&[u8]; 1] = [b"spiffe://cluster.local/ns/ns-x/sa/a"];
            let facts = Facts {
                method: Some(b"GET"),
                path: Some(b"/none/of/these?x=y"),
                authority: Some(b"app.example.com"),
                identities: &identities,
                remote_ip: "192.168.0.1".parse().ok(),
                ..Facts::default()
            };
            let hits = engine.after.look(&facts);
            assert!(hits.candidates().len() <= 1, "{shape}, {count}: {hits:?}");
            assert!(engine.after.first(&engine.policies, Set::Allow, &hits).is_none());
            let index = nanoseconds(2_000, || engine.decide(&facts));
            let plain = nanoseconds(20, || engine.decide_plainly(&facts));
            println!("{shape:>24} {count:>6} policies: index {index:>6} ns, plain {plain:>8} ns");
        }
    }
}

fn engine(shape: &str, count: usize) -> Engine {
    let rule = |index: usize| -> Value {
        match shape {
            "path prefix and method" => {
                json!({"to": [{"operation": {"paths": [format!("/api/v1/service-{index}/*")], "methods": ["GET"]}}]})
            }
            "exact principal" => {
                json!({"from": [{"source": {"principals": [format!("cluster.local/ns/ns-{index}/sa/a")]}}]})
            }
            "namespace" => json!({"from": [{"source": {"namespaces": [format!("ns-{index}")]}}]}),
            "path template" => {
                json!({"to": [{"operation": {"paths": [format!("/api/{{*}}/service-{index}/{{**}}")]}}]})
            }
            _ => {
                json!({"from": [{"source": {"remoteIpBlocks": [format!("10.{}.{}.0/24", index / 256, index % 256)]}}]})
            }
        }
    };
    let policies: Vec<Value> = (0..count)
        .map(|index| json!({"metadata": {"name": format!("p{index}"), "namespace": "n"}, "spec": {"rules": [rule(index)]}}))
        .collect();
    super::engine(&json!({"policies": policies})).unwrap()
}

/// The least time of one call, of several slices.
fn nanoseconds<T>(calls: u32, mut call: impl FnMut() -> T) -> u128 {
    let slice = |_| {
        let start = std::time::Instant::now();
        for _ in 0..calls / 10 {
            black_box(call());
        }
        start.elapsed().as_nanos() / u128::from(calls / 10)
    };
    (0..10).map(slice).min().unwrap_or_default()
}
