//! `stats` where much happens: peers and hosts without end, listeners of both directions, peers that say what nobody
//! believes, and configurations that change under way.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use istio_core::peer::Peer;
use istio_core::peer::header::{ID, METADATA};
use serde_json::json;
use wasmplugin_host::clock::Clock;
use wasmplugin_host::entrance::Entrance;
use wasmplugin_host::headers::HeaderMap;
use wasmplugin_host::native::Linked;
use wasmplugin_host::services::Services;
use wasmplugin_host::surroundings::{Cluster, Listener, Node, Route, Routing, TrafficDirection, UpstreamHost};
use wasmplugin_host::test::Engine;
use wasmplugin_host::wasm::Module;
use wasmplugin_host::worker::{ChainId, Code, Connection, Effect, ExchangeId, Item, Options, Plugin, Worker};

use crate::engines;
use crate::stats::{PLUGIN, customized, outbound};
use crate::stats_labels::{more_tags, series as lines, total};
use crate::stats_sidecars::{EXCHANGE, STATS};
use crate::workloads;

/// How many sets of labels may be counted one by one.
const BUDGET: usize = 500;

/// What runs the plugins.
type CodeOf = fn(&engines::Plugin) -> Code;

fn native(plugin: &engines::Plugin) -> Code {
    Code::Native(Linked::new(plugin.register))
}

fn in_wasmtime(plugin: &engines::Plugin) -> Code {
    Code::Wasm(Arc::new(Module::read(plugin.module()).unwrap()))
}

fn in_chain(plugin: &engines::Plugin, code: CodeOf, configuration: &serde_json::Value) -> Plugin {
    let name = plugin.package;
    Plugin {
        vm_id: name.to_owned(),
        configuration: Bytes::from(configuration.to_string()),
        ..Plugin::new(name, code(plugin))
    }
}

/// The server's sidecar, before a service that the proxy does not know.
fn sidecar(code: CodeOf) -> (Worker, Arc<Services>) {
    let (worker, services, _) = listening(code, [TrafficDirection::Inbound]);
    (worker, services)
}

/// The server's sidecar with listeners of these directions, and the same plugins in all of their chains.
fn listening<const N: usize>(code: CodeOf, directions: [TrafficDirection; N]) -> (Worker, Arc<Services>, [ChainId; N]) {
    let node = workloads::server();
    let node = Node { id: node.id, metadata: node.metadata, ..Node::default() };
    let cluster = Arc::new(Cluster { name: "upstream".to_owned(), metadata: Default::default(), endpoints: 1 });
    let route = Arc::new(Route { cluster: Some(cluster), ..Route::default() });
    let services = Arc::new(Services::new(Clock::manual(Duration::ZERO), Box::new(|_| {})).with_node(node));
    let plugins = [in_chain(&EXCHANGE, code, &json!({})), in_chain(&STATS, code, &json!({"maxDimensionSets": BUDGET}))];
    let mut worker = Worker::new(Arc::clone(&services), Options::default());
    let chains = directions.map(|direction| {
        let route = Arc::clone(&route);
        let entrance = Entrance::new(Listener { direction, ..Listener::default() })
            .with_router(move |_| Routing { virtual_host: None, route: Some(Arc::clone(&route)) });
        worker.add_chain(&plugins, entrance).unwrap_or_else(|error| panic!("{error}"))
    });
    (worker, services, chains)
}

fn map<'a>(lines: impl IntoIterator<Item = (&'a str, Bytes)>) -> HeaderMap {
    lines.into_iter().map(|(name, value)| (Bytes::copy_from_slice(name.as_bytes()), value)).collect()
}

fn ask(worker: &mut Worker, host: &str, metadata: impl IntoIterator<Item = (&'static str, Bytes)>) {
    let id = begin(worker, ChainId::FIRST, host, metadata);
    while worker.next_effect().is_some() {}
    answer(worker, id, []);
    while worker.next_effect().is_some() {}
}

fn begin(
    worker: &mut Worker,
    chain: ChainId,
    host: &str,
    metadata: impl IntoIterator<Item = (&'static str, Bytes)>,
) -> ExchangeId {
    let request = [
        (":authority", Bytes::copy_from_slice(host.as_bytes())),
        (":path", Bytes::from_static(b"/")),
        (":method", Bytes::from_static(b"GET")),
        (":scheme", Bytes::from_static(b"http")),
    ];
    let id = worker.open(chain, Connection::default());
    worker.request_headers(id, map(request.into_iter().chain(metadata)), true);
    id
}

fn answer(worker: &mut Worker, id: ExchangeId, metadata: impl IntoIterator<Item = (&'static str, Bytes)>) {
    worker.sent_to(id, Arc::new(UpstreamHost::default()));
    worker.response_headers(id, map([(":status", Bytes::from_static(b"200"))].into_iter().chain(metadata)), true);
    worker.finished(id);
}

/// The series of `istio_requests_total` by their whole names, and what they count.
fn series(services: &Services) -> Vec<(String, u64)> {
    let samples = services.metrics().snapshot().into_iter();
    let requests = samples.filter(|sample| sample.name.ends_with("istio_requests_total"));
    requests.map(|sample| (sample.name.clone(), sample.value)).collect()
}

/// Peers and hosts that nobody has seen before, all the time: the first have series of their own, the others one together,
/// and all are counted. `STRANGERS=100000 cargo test -p scenarios -- strangers` sends more of them.
fn strangers(code: CodeOf, by_default: u64) {
    let strangers = std::env::var("STRANGERS").map_or(by_default, |number| number.parse().unwrap());
    let (mut worker, services) = sidecar(code);
    for number in 0..strangers {
        let peer = Peer { workload: format!("w{number}"), namespace: "n".to_owned(), ..Peer::default() };
        let id = (ID, Bytes::from(format!("id-{number}")));
        ask(&mut worker, &format!("host-{number}.test"), [(METADATA, Bytes::from(peer.to_header())), id]);
    }
    let series = series(&services);
    assert_eq!(series.iter().map(|(_, count)| count).sum::<u64>(), strangers, "nothing is lost");
    assert_eq!(series.len(), BUDGET + 1);
    let (others, own): (Vec<_>, Vec<_>) =
        series.iter().partition(|(name, _)| name.contains("source_workload=.=other;"));
    assert!(own.iter().all(|(_, count)| *count == 1));
    let [(name, count)] = others[..] else { panic!("{} sets of others", others.len()) };
    assert_eq!(*count, strangers - BUDGET as u64);
    assert!(name.contains("destination_workload=.=ratings-v1;") && name.contains("response_code=.=200;"), "{name}");
    assert!(services.metrics().snapshot().len() < 5 * (BUDGET + 2), "no other metric grows either");
}

#[test]
fn strangers_without_end_are_counted_within_the_budget() {
    strangers(native, 20_000);
}

/// The same in the module, whose memory has a limit.
#[test]
fn strangers_without_end_fit_into_the_module() {
    strangers(in_wasmtime, 10_000);
}

/// As in Envoy, listeners of both directions share one root context where they have equal plugins: what a request is to it
/// is asked of each request, and what is remembered of the one direction is not believed of the other.
fn both_directions_at_once(code: CodeOf) {
    const ROUNDS: u64 = 50;
    let (mut worker, services, [inbound, outbound]) =
        listening(code, [TrafficDirection::Inbound, TrafficDirection::Outbound]);
    assert_eq!(worker.started_vms(), 2, "one for each plugin");
    let peer = |workload: &str| Peer { workload: workload.to_owned(), ..Peer::default() }.to_header();
    let said = |workload: &str| [(METADATA, Bytes::from(peer(workload))), (ID, Bytes::from(workload.to_owned()))];
    for _ in 0..ROUNDS {
        let calls = begin(&mut worker, outbound, "shop.test", []);
        let called = begin(&mut worker, inbound, "ratings.test", said("caller"));
        let sent: HashMap<_, _> = std::iter::from_fn(|| worker.next_effect())
            .filter_map(|effect| match effect {
                Effect::ToUpstream { id, item: Item::Headers(headers, _) } => Some((id, headers)),
                _ => None,
            })
            .collect();
        assert!(sent[&calls].get_str(METADATA).is_some_and(|own| own != peer("caller")), "it says who it is");
        assert_eq!(sent[&called].get_str(METADATA), None, "its application is not told");
        answer(&mut worker, called, []);
        answer(&mut worker, calls, said("callee"));
        let answers: Vec<_> = std::iter::from_fn(|| worker.next_effect())
            .filter_map(|effect| match effect {
                Effect::ToDownstream { item: Item::Headers(headers, _), .. } => Some(headers),
                _ => None,
            })
            .collect();
        let [to_caller, to_application] = &answers[..] else { panic!("{} answers", answers.len()) };
        assert!(to_caller.get_str(METADATA).is_some_and(|own| own != peer("callee")));
        assert_eq!(to_application.get_str(METADATA), None);
    }
    let mut series = series(&services);
    series.sort();
    let labels = [
        ["reporter=.=destination;", "source_workload=.=caller;", "destination_workload=.=ratings-v1;"],
        ["reporter=.=source;", "source_workload=.=ratings-v1;", "destination_workload=.=callee;"],
    ];
    assert_eq!(series.len(), labels.len(), "{series:#?}");
    for ((name, count), labels) in series.iter().zip(labels) {
        assert_eq!(*count, ROUNDS, "{name}");
        assert!(labels.iter().all(|label| name.contains(label)), "{name}: {labels:?}");
    }
}

#[test]
fn one_root_context_counts_for_both_directions() {
    both_directions_at_once(native);
}

#[test]
fn one_root_context_of_the_module_counts_for_both_directions() {
    both_directions_at_once(in_wasmtime);
}

/// What hostile peers send is counted as a request of somebody unknown, and has no label.
#[test]
fn what_nobody_believes_has_no_label() {
    let (mut worker, services) = sidecar(native);
    let named = |workload: &str| Peer { workload: workload.to_owned(), ..Peer::default() }.to_header();
    let good = named("good");
    let lines = |lines: &[(&'static str, &str)]| -> Vec<(&'static str, Bytes)> {
        lines.iter().map(|(name, value)| (*name, Bytes::copy_from_slice(value.as_bytes()))).collect()
    };
    let (long, huge) = ("A".repeat(20_000), named(&"w".repeat(30_000)));
    let hostile = [
        lines(&[(METADATA, &good[..good.len() - 5])]),
        lines(&[(METADATA, "garbage!")]),
        lines(&[(METADATA, &long), (ID, &long)]),
        lines(&[(METADATA, &huge)]),
        lines(&[(METADATA, &good), (METADATA, &named("other"))]),
        lines(&[(METADATA, "")]),
        vec![(METADATA, Bytes::from_static(b"\xff\xfe")), (ID, Bytes::from_static(b"\xff"))],
    ];
    for metadata in hostile.clone() {
        ask(&mut worker, "shop.test", metadata);
    }
    let unknown = series(&services);
    assert_eq!(unknown.len(), 1, "{unknown:?}");
    assert!(unknown[0].0.contains("source_workload=.=unknown;") && unknown[0].1 == hostile.len() as u64, "{unknown:?}");

    // What would break the name of a metric, or make another label of it.
    ask(
        &mut worker,
        "a;.;reporter=.=source;.;\n.test",
        lines(&[(METADATA, &named("x;.;istio_requests_total")), (ID, "1")]),
    );
    // An id that was seen with other metadata is not taken for whom it was.
    ask(&mut worker, "shop.test", lines(&[(METADATA, &good), (ID, "1")]));
    let mut names: Vec<_> = series(&services).into_iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    assert_eq!(names.len(), 3, "{names:#?}");
    for name in &names {
        assert_eq!(name.matches("reporter=.=").count(), 1, "{name}");
        assert_eq!(name.matches(";.;").count(), 25, "{name}");
        assert!(!name.contains('\n'));
    }
    assert!(names.iter().any(|name| name.contains("source_workload=.=good;")), "{names:#?}");
}

/// Nothing is counted twice or not at all, on four workers, not even a request that one configuration sees the beginning of
/// and another the end.
#[test]
fn configurations_come_and_go_and_every_request_is_counted() {
    const TURNS: usize = 30;
    let configurations = [customized(), json!({"profile": "minimal"}), json!({"maxDimensionSets": 1}), json!({})];
    for engine in [Engine::Native, Engine::Wasm] {
        let proxy = outbound(PLUGIN.on(engine)).workers(4);
        let labels = ["configurable_metric_a", "configurable_metric_b", "route_name"];
        let mut proxy = proxy.stats_tags(more_tags(&labels)).start().unwrap();
        for configuration in configurations.iter().cycle().take(TURNS) {
            let open = proxy.post("/").header("transfer-encoding", "chunked").open().unwrap();
            proxy.reconfigure(1, configuration.to_string()).unwrap();
            proxy.get("/").send().unwrap();
            proxy.send_data(&open, "end", true).unwrap();
            proxy.finish(open).unwrap();
        }
        let lines = lines(&mut proxy, "istio_requests_total");
        assert_eq!(total(&lines), 2 * TURNS as u64, "{lines:#?}");
    }
}
