//! What `stats` asks of the host and of the allocator, once it has seen a stream of each kind: the figures are the same on
//! every machine. `cargo test -p scenarios -- stats_cost --nocapture` prints them.
#![expect(unsafe_code, reason = "an allocator is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wasmplugin_host::clock::Clock;
use wasmplugin_host::entrance::Entrance;
use wasmplugin_host::headers::HeaderMap;
use wasmplugin_host::native::{Linked, is_in_guest};
use wasmplugin_host::services::Services;
use wasmplugin_host::surroundings::{Cluster, Listener, Node, Route, Routing, TrafficDirection, UpstreamHost};
use wasmplugin_host::worker::{ChainId, Code, Connection, Options, Plugin, Worker};

use crate::workloads;

/// The system's allocator; counts what plugins of the current thread take.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static TAKEN: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is the system allocator's; what is counted beside it allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_in_guest() {
            let _ended = TAKEN.try_with(|taken| taken.set(taken.get() + 1));
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Streams that are measured, after as many that are not.
const STREAMS: u64 = 100;

/// The most that a stream may ask: a request, a call with a message each way, a connection.
const HOST_CALLS: f64 = 12.0;

struct Cost {
    host_calls: f64,
    allocations: f64,
}

/// Has a worker see one stream.
type Stream = fn(&mut Worker);

fn cost(direction: TrafficDirection, node: &wasmplugin_host::test::Node, stream: Stream) -> Cost {
    let node = Node { id: node.id.clone(), metadata: node.metadata.clone(), ..Node::default() };
    let service =
        serde_json::json!({"istio": {"services": [{"host": "s.default.svc", "name": "s", "namespace": "default"}]}});
    let serde_json::Value::Object(metadata) = service else { panic!("an object") };
    let cluster = Arc::new(Cluster { name: "upstream".to_owned(), metadata, endpoints: 1 });
    let route = Arc::new(Route { cluster: Some(cluster), ..Route::default() });
    let services = Services::new(Clock::manual(Duration::ZERO), Box::new(|_| {})).with_node(node);
    let entrance = Entrance::new(Listener { direction, ..Listener::default() })
        .with_router(move |_| Routing { virtual_host: None, route: Some(Arc::clone(&route)) });
    let plugin = |register: fn(), name: &str| Plugin::new(name, Code::Native(Linked::new(register)));
    let mut worker = Worker::new(Arc::new(services), Options::default());
    worker.add_chain(&[plugin(stats::register, "stats")], entrance).unwrap_or_else(|error| panic!("{error}"));
    (0..STREAMS).for_each(|_| stream(&mut worker));
    let (calls, taken) = (worker.counters().host_calls, TAKEN.get());
    (0..STREAMS).for_each(|_| stream(&mut worker));
    let each = |count: u64| count as f64 / STREAMS as f64;
    Cost { host_calls: each(worker.counters().host_calls - calls), allocations: each(TAKEN.get() - taken) }
}

fn exchange(worker: &mut Worker, request: &[(&'static str, &'static str)], body: &'static [u8]) {
    let response = [(":status", "200"), ("content-type", "text/plain"), ("content-length", "5")];
    let id = worker.open(ChainId::FIRST, Connection::default());
    worker.request_headers(id, map(request), body.is_empty());
    if !body.is_empty() {
        worker.request_data(id, Bytes::from_static(body), false);
        worker.request_data(id, Bytes::new(), true);
    }
    while worker.next_effect().is_some() {}
    worker.sent_to(id, Arc::new(UpstreamHost::default()));
    worker.response_headers(id, map(&response), false);
    worker.response_data(id, Bytes::from_static(b"\0\0\0\0\0"), false);
    worker.response_data(id, Bytes::new(), true);
    worker.finished(id);
    while worker.next_effect().is_some() {}
}

fn http(worker: &mut Worker) {
    exchange(worker, &[(":authority", "example.com"), (":path", "/"), (":method", "GET"), (":scheme", "http")], b"");
}

fn grpc(worker: &mut Worker) {
    let headers = [
        (":authority", "example.com"),
        (":path", "/s/m"),
        (":method", "POST"),
        (":scheme", "http"),
        ("content-type", "application/grpc"),
    ];
    exchange(worker, &headers, b"\0\0\0\0\x01m");
}

fn tcp(worker: &mut Worker) {
    let id = worker.open_tcp(ChainId::FIRST, Connection::default());
    worker.tcp_connected(id);
    worker.tcp_from_downstream(id, Bytes::from_static(b"hello"), true);
    worker.tcp_from_upstream(id, Bytes::from_static(b"hello"), true);
    while worker.next_effect().is_some() {}
}

fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let line = |(name, value): &(&'static str, &'static str)| {
        (Bytes::from_static(name.as_bytes()), Bytes::from_static(value.as_bytes()))
    };
    lines.iter().map(line).collect()
}

#[test]
fn a_stream_asks_little_of_the_host_and_nothing_of_the_allocator() {
    let (client, server) = (workloads::client(), workloads::server());
    let kinds: [(&str, TrafficDirection, _, Stream); 5] = [
        ("HTTP, client", TrafficDirection::Outbound, &client, http),
        ("HTTP, server", TrafficDirection::Inbound, &server, http),
        ("gRPC, client", TrafficDirection::Outbound, &client, grpc),
        ("gRPC, server", TrafficDirection::Inbound, &server, grpc),
        ("TCP, server", TrafficDirection::Inbound, &server, tcp),
    ];
    println!("{:<16}{:>12}{:>14}", "per stream", "host calls", "allocations");
    for (name, direction, node, stream) in kinds {
        let Cost { host_calls, allocations } = cost(direction, node, stream);
        println!("{name:<16}{host_calls:>12.1}{allocations:>14.1}");
        assert!(host_calls > 1.0, "{name}: nothing was measured");
        assert!(host_calls <= HOST_CALLS, "{name}: {host_calls} host calls");
        assert!(allocations == 0.0, "{name}: {allocations} allocations");
    }
}
