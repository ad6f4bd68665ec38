//! What the model promises about TCP connections beyond the reference traces, with scripted guests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::abi::Status;
use crate::callback::Callback;
use crate::clock::Clock;
use crate::entrance::Entrance;
use crate::lint::FindingKind;
use crate::recording::Leg;
use crate::scripted::{Calls, Script};
use crate::services::Services;
use crate::worker::{ChainId, Connection, Effect, FailPolicy, Options, Plugin, TcpEffect, TcpId, Worker};

const DOWNSTREAM: u64 = 2;
const UPSTREAM: u64 = 3;

fn worker(plugins: &[Plugin], options: Options) -> Worker {
    let services = Services::new(Clock::manual(Duration::ZERO), Box::new(|_| ()));
    started(plugins, Arc::new(services), Options { lint: true, ..options })
}

fn started(plugins: &[Plugin], services: Arc<Services>, options: Options) -> Worker {
    let mut worker = Worker::new(services, options);
    worker.add_chain(plugins, Entrance::default()).unwrap();
    worker
}

fn script(body: impl Fn(Callback, &mut Calls<'_>) -> Result<u32, String> + Send + Sync + 'static) -> Plugin {
    Script::new(body).plugin("p")
}

/// The effects so far: what goes where, in words.
fn effects(worker: &mut Worker) -> Vec<String> {
    let text = |data: Bytes, end| String::from_utf8_lossy(&data).into_owned() + if end { "|" } else { "" };
    std::iter::from_fn(|| worker.next_effect())
        .map(|effect| match effect {
            Effect::Tcp { effect: TcpEffect::Connect, .. } => "connect".to_owned(),
            Effect::Tcp { effect: TcpEffect::Close, .. } => "close".to_owned(),
            Effect::Tcp { effect: TcpEffect::ToUpstream(data, end), .. } => "up ".to_owned() + &text(data, end),
            Effect::Tcp { effect: TcpEffect::ToDownstream(data, end), .. } => "down ".to_owned() + &text(data, end),
            other => format!("{other:?}"),
        })
        .collect()
}

fn connected(worker: &mut Worker) -> TcpId {
    let id = worker
        .open_tcp(ChainId::FIRST, Connection { source: Some(([10, 0, 0, 1], 5000).into()), ..Connection::default() });
    assert_eq!(effects(worker), ["connect"]);
    worker.tcp_connected(id);
    id
}

#[test]
fn nothing_is_read_before_the_upstream_is_there() {
    let plugin = script(|callback, _| match callback {
        Callback::DownstreamData { size: 3, end: true, .. } => Ok(0),
        Callback::DownstreamData { .. } => Err("too early".to_owned()),
        callback => Ok(callback.assumed()),
    });
    let mut worker = worker(&[plugin], Options::default());
    let id = worker.open_tcp(ChainId::FIRST, Connection::default());
    worker.tcp_from_downstream(id, "a".into(), false);
    worker.tcp_from_downstream(id, "bc".into(), true);
    assert_eq!(effects(&mut worker), ["connect"]);
    worker.tcp_connected(id);
    assert_eq!(effects(&mut worker), ["up abc|"]);
}

#[test]
fn buffers_are_writable_and_gone_after_a_continue() {
    let plugin = script(|callback, calls| match callback {
        Callback::DownstreamData { .. } => {
            assert_eq!(calls.body(DOWNSTREAM), Ok("abc".into()));
            assert_eq!(calls.body(UPSTREAM), Ok(Bytes::new()));
            assert_eq!(calls.set_body(DOWNSTREAM, 0, 1, "X"), 0);
            assert_eq!(calls.set_body(DOWNSTREAM, 1, 1, "?"), Status::BadArgument as u32);
            assert_eq!(calls.set_body(DOWNSTREAM, 3, 0, "Y"), 0);
            assert_eq!(calls.set_body(UPSTREAM, 0, 0, "?"), Status::BadArgument as u32);
            Ok(0)
        }
        Callback::UpstreamData { .. } => {
            assert_eq!(calls.set_body(DOWNSTREAM, 0, 0, "?"), Status::BadArgument as u32);
            assert_eq!(calls.set_body(UPSTREAM, 0, 99, "instead"), 0);
            Ok(0)
        }
        callback => Ok(callback.assumed()),
    });
    let mut worker = worker(&[plugin], Options::default());
    let id = connected(&mut worker);
    worker.tcp_from_downstream(id, "abc".into(), false);
    worker.tcp_from_upstream(id, "def".into(), false);
    assert_eq!(effects(&mut worker), ["up XbcY", "down instead"]);
}

#[test]
fn a_full_window_is_not_filled_further() {
    let plugin = script(|callback, _| match callback {
        Callback::DownstreamData { size, .. } => Ok((size < 12).into()),
        callback => Ok(callback.assumed()),
    });
    let mut worker = worker(&[plugin], Options { buffer_limit: 5, ..Options::default() });
    let id = connected(&mut worker);
    worker.tcp_from_downstream(id, "abc".into(), false);
    worker.tcp_from_downstream(id, "defg".into(), false);
    assert_eq!(worker.tcp_backlog(id), 7);
    worker.tcp_from_downstream(id, "hijklmnop".into(), false);
    assert_eq!(worker.tcp_backlog(id), 16, "the last piece waits outside");
    assert!(effects(&mut worker).is_empty(), "the plugin waits for more than there is room for");
}

#[test]
fn a_trap_closes_or_passes_as_the_policy_says() {
    for (fail, after, next) in [
        (FailPolicy::Closed, vec!["close"], vec!["close"]),
        (FailPolicy::Open, vec!["up abc"], vec!["connect"]),
        (FailPolicy::RELOAD, vec!["close"], vec!["close"]),
    ] {
        let plugin = script(|callback, _| match callback {
            Callback::DownstreamData { .. } => Err("trap".to_owned()),
            callback => Ok(callback.assumed()),
        });
        let mut worker = worker(&[Plugin { fail, ..plugin }], Options::default());
        let id = connected(&mut worker);
        worker.tcp_from_downstream(id, "abc".into(), false);
        assert_eq!(effects(&mut worker), after, "{fail:?}");
        worker.open_tcp(ChainId::FIRST, Connection::default());
        assert_eq!(effects(&mut worker), next, "{fail:?}");
        worker.stop();
        assert_eq!((worker.open_exchanges(), worker.open_contexts()), (0, 0));
    }
}

#[test]
fn plugins_of_one_connection_share_its_properties() {
    let first = script(|callback, calls| match callback {
        Callback::NewConnection { .. } => {
            assert_eq!(calls.property("source\0address"), Ok("10.0.0.1:5000".into()));
            assert_eq!(calls.property("request\0path"), Err(Status::NotFound));
            assert_eq!(calls.reply(403, &[], "no"), 0, "a local reply means nothing here");
            Ok(calls.set_property("seen", "yes"))
        }
        callback => Ok(callback.assumed()),
    });
    let second = script(|callback, calls| match callback {
        Callback::NewConnection { .. } => {
            assert_eq!(calls.property("seen"), Ok("yes".into()));
            Ok(0)
        }
        callback => Ok(callback.assumed()),
    });
    connected(&mut worker(&[first, second], Options::default()));
}

#[test]
fn what_is_held_for_good_is_found() {
    let plugin = script(|callback, _| match callback {
        Callback::DownstreamData { .. } | Callback::UpstreamData { .. } => Ok(1),
        callback => Ok(callback.assumed()),
    });
    let mut worker = worker(&[plugin], Options::default());
    let id = connected(&mut worker);
    worker.tcp_from_upstream(id, "bye".into(), true);
    let findings = worker.take_findings();
    assert!(findings.iter().any(|finding| finding.message.contains("never shows it again")), "{findings:?}");
    assert!(findings.iter().all(|finding| finding.kind == FindingKind::LeftWaiting));
}

#[test]
fn a_closed_connection_is_over_once() {
    let plugin = script(|callback, calls| match callback {
        Callback::DownstreamData { .. } | Callback::DownstreamClose { .. } | Callback::Log { .. } => {
            assert_eq!(calls.raw("proxy_close_stream", &[DOWNSTREAM]), 0);
            assert_eq!(calls.raw("proxy_continue_stream", &[DOWNSTREAM]), 0);
            Ok(1)
        }
        callback => Ok(callback.assumed()),
    });
    let mut worker = worker(&[plugin], Options::default());
    let id = connected(&mut worker);
    worker.tcp_from_downstream(id, "abc".into(), false);
    worker.tcp_from_downstream(id, "def".into(), true);
    worker.tcp_from_upstream(id, "ghi".into(), true);
    worker.tcp_upstream_gone(id);
    assert_eq!(effects(&mut worker), ["close"]);
    assert_eq!((worker.open_exchanges(), worker.open_contexts()), (0, 0));
}

#[test]
fn a_connection_is_recorded() {
    let services = Arc::new(Services::new(Clock::manual(Duration::ZERO), Box::new(|_| ())));
    services.recorder().switch(true);
    let plugin = script(|callback, calls| match callback {
        Callback::DownstreamData { size, .. } if size > 5 => {
            calls.log("enough");
            calls.raw("proxy_close_stream", &[DOWNSTREAM]);
            Ok(1)
        }
        Callback::DownstreamData { size: 2, .. } => {
            calls.set_body(DOWNSTREAM, 0, 99, "abc");
            Ok(0)
        }
        callback => Ok(callback.assumed()),
    });
    let mut worker = started(&[plugin], Arc::clone(&services), Options::default());
    let recording = || services.recorder().changed_since(0).0.pop().unwrap();
    let id = connected(&mut worker);
    worker.tcp_from_downstream(id, "ab".into(), false);
    worker.tcp_from_upstream(id, "\u{0}\u{1}".into(), false);
    let open = recording();
    assert_eq!(open.connection().unwrap().source, Some(([10, 0, 0, 1], 5000).into()));
    assert_eq!((open.end.is_none(), open.body(Leg::RequestIn).unwrap().bytes), (true, 2));
    worker.tcp_from_downstream(id, "password=hunter2".into(), false);
    let text = recording().to_string();
    for part in [
        " TCP 10.0.0.1:5000 -> a plugin has cut it off after ",
        "-> a connection from 10.0.0.1:5000\n",
        "-> the server is connected\n",
        "-> from the client: 2 bytes\n",
        "p: downstream data (2 bytes), continues",
        "changes what comes from the client, 2 to 3 bytes\n",
        "-> to the server: 3 bytes\n",
        "<- to the client: 2 bytes\n",
        "p: downstream data (16 bytes), waits",
        "cuts it off\n",
        "logs info: enough\n",
        "from the client, 18 bytes:\n",
        "| abpassword=[redacted",
        "to the server, 3 bytes:\n",
        "| abc\n",
        "| 0001  ",
        "from the client 18 to 3 bytes, from the server 2 bytes\n",
    ] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
}

/// A worker that is recorded, and the services that have the recordings; its plugin fails at nine bytes.
fn recorded() -> (Arc<Services>, Worker) {
    let services = Arc::new(Services::new(Clock::manual(Duration::ZERO), Box::new(|_| ())));
    services.recorder().switch(true);
    let plugin = script(|callback, _| match callback {
        Callback::DownstreamData { size: 9, .. } => Err("out of luck".to_owned()),
        callback => Ok(callback.assumed()),
    });
    let worker = started(&[plugin], Arc::clone(&services), Options::default());
    (services, worker)
}

#[test]
fn a_recording_says_why_a_connection_ended() {
    let (services, mut worker) = recorded();
    let mut why = |end: &dyn Fn(&mut Worker, TcpId)| {
        let id = worker.open_tcp(ChainId::FIRST, Connection::default());
        end(&mut worker, id);
        services.recorder().changed_since(0).0.pop().unwrap().end.unwrap().details
    };
    let reached = |worker: &mut Worker, id| worker.tcp_connected(id);
    assert_eq!(why(&|worker, id| worker.tcp_upstream_gone(id)), "the server could not be reached");
    assert_eq!(why(&|worker, id| (reached(worker, id), worker.tcp_upstream_gone(id)).1), "the server is gone");
    assert_eq!(why(&|worker, id| (reached(worker, id), worker.tcp_downstream_gone(id)).1), "the client is gone");
    assert_eq!(
        why(&|worker, id| (worker.tcp_downstream_gone(id), reached(worker, id)).1),
        "the client was gone before the server was there"
    );
    assert_eq!(why(&|worker, _| worker.stop()), "the proxy stops");
}

#[test]
fn a_connection_whose_plugin_fails_or_that_ends_well_says_so() {
    let (services, mut worker) = recorded();
    let id = connected(&mut worker);
    worker.tcp_from_downstream(id, "a".into(), true);
    worker.tcp_from_upstream(id, "b".into(), true);
    let recording = services.recorder().changed_since(0).0.pop().unwrap();
    assert_eq!(recording.end.unwrap().details, "both sides have ended");
    while worker.next_effect().is_some() {}
    let id = connected(&mut worker);
    worker.tcp_from_downstream(id, "123456789".into(), false);
    let recording = services.recorder().changed_since(0).0.pop().unwrap();
    assert!(recording.to_string().contains("out of luck"), "{recording}");
    assert_eq!(recording.end.unwrap().details, "a plugin has failed");
}
