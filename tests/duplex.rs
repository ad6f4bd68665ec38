//! Streams in both directions at once: the upstream answers before the request has ended.
//!
//! The proxies of the other scenarios answer whole requests only, so here the test is the upstream itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wasmplugin_host::clock::Clock;
use wasmplugin_host::entrance::Entrance;
use wasmplugin_host::headers::HeaderMap;
use wasmplugin_host::native::Linked;
use wasmplugin_host::services::Services;
use wasmplugin_host::worker::{ChainId, Code, Connection, Effect, ExchangeId, Item, Options, Plugin, Worker};

fn worker() -> Worker {
    let services = Arc::new(Services::new(Clock::manual(Duration::ZERO), Box::new(|_| {})));
    let plugin = Plugin::new("probe", Code::Native(Linked::new(probe::register)));
    let mut worker = Worker::new(services, Options { lint: true, ..Options::default() });
    worker.add_chain(&[plugin], Entrance::default()).unwrap();
    worker
}

fn map(pairs: &[(&str, &str)]) -> HeaderMap {
    HeaderMap::from_pairs(
        pairs.iter().map(|(n, v)| (Bytes::from((*n).to_owned()), Bytes::from((*v).to_owned()))).collect(),
    )
}

fn open(worker: &mut Worker, path: &str) -> ExchangeId {
    let id = worker.open(ChainId::FIRST, Connection::default());
    worker.request_headers(id, map(&[(":authority", "a"), (":path", path), (":method", "POST")]), false);
    id
}

/// What has left since the last time: `>` to the upstream, `<` to the client, `|` where a message ends.
fn sent(worker: &mut Worker) -> String {
    let mut text = String::new();
    while let Some(effect) = worker.next_effect() {
        let (arrow, item) = match effect {
            Effect::ToUpstream { item, .. } => ('>', item),
            Effect::ToDownstream { item, .. } => ('<', item),
            other => panic!("{other:?}"),
        };
        let (what, end) = match item {
            Item::Headers(headers, end) => (headers.get_str(":status").unwrap_or("headers").to_owned(), end),
            Item::Data(data, end) => (String::from_utf8_lossy(&data).into_owned(), end),
            Item::Trailers(_) => ("trailers".to_owned(), true),
        };
        text += &format!("{arrow}{what}{} ", if end { "|" } else { "" });
    }
    text.trim_end().to_owned()
}

#[test]
fn both_directions_stream_at_once() {
    let mut worker = worker();
    let id = open(&mut worker, "/duplex");
    assert_eq!(sent(&mut worker), ">headers");
    worker.request_data(id, "one".into(), false);
    assert_eq!(sent(&mut worker), ">ONE");
    worker.response_headers(id, map(&[(":status", "200")]), false);
    assert_eq!(sent(&mut worker), "<201");
    worker.response_data(id, "first".into(), false);
    assert_eq!(sent(&mut worker), "<first");
    worker.request_data(id, "two".into(), false);
    assert_eq!(sent(&mut worker), ">TWO");
    worker.request_data(id, Bytes::new(), true);
    assert_eq!(sent(&mut worker), ">|");
    worker.response_data(id, "last".into(), true);
    assert_eq!(sent(&mut worker), "<last <|");
    worker.finished(id);
    assert_eq!(worker.take_findings(), []);
    assert_eq!(wasmplugin::__private::census(), "0 exchanges, 0 tasks, 0 callouts, 0 timers");
}

#[test]
fn a_response_that_nobody_waits_for_any_more_passes() {
    let mut worker = worker();
    let id = open(&mut worker, "/duplex-dropped");
    worker.request_data(id, "one".into(), true);
    assert_eq!(sent(&mut worker), ">headers >one >|");
    worker.response_headers(id, map(&[(":status", "200")]), true);
    assert_eq!(sent(&mut worker), "<200|");
    worker.finished(id);
    assert_eq!(wasmplugin::__private::census(), "0 exchanges, 0 tasks, 0 callouts, 0 timers");
}
