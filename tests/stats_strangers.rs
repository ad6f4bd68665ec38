//! `stats` in a real Envoy before peers without end and peers that lie: what it counts is bounded and whole, and so is the memory.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use istio_core::peer::Peer;
use istio_core::peer::header::{ID, METADATA};
use istio_core::peer::preface::Preface;
use serde_json::{Value, json};
use wasmplugin_host::envoy::binary;
use wasmplugin_host::envoy::process::{Options, Process};
use wasmplugin_host::test::{Builder, Engine, TrafficDirection};

use crate::engines::Outcome;
use crate::keep_alive;
use crate::stats_labels::{around, series, series_in, settled, total};
use crate::stats_live::inner;
use crate::stats_sidecars::{EXCHANGE, STATS};
use crate::workloads::server;

/// How many sets of labels a worker may count one by one.
const BUDGET: usize = 100;

/// How many requests there are, unless `STRANGERS` says so.
const STRANGERS: u64 = 3_000;

/// What Envoy's memory may grow by while half of the strangers pass, in KiB: allocators give back late. A series of each of five
/// metrics for each of them would take several times as much.
const GROWTH: u64 = 8 * 1024;

/// The server's sidecar, which answers everything itself.
fn sidecar(stats: &Value, workers: usize) -> Result<Process, Box<dyn std::error::Error>> {
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let peers = json!({"max_peer_cache_size": 100});
    let mut bootstrap = inner(&[(&EXCHANGE, &peers), (&STATS, stats)], nobody, &[]);
    bootstrap.answers_itself = true;
    Ok(Process::start(&binary::find()?.path, &bootstrap, Options { workers, trace: false })?)
}

/// The request of somebody who has never been here, for a host that nobody has asked for.
fn stranger(number: u64) -> Vec<u8> {
    let peer = Peer { workload: format!("w{number}"), namespace: "n".to_owned(), ..Peer::default() };
    let host = format!("host-{number}.test");
    keep_alive::get([("host", host), (METADATA, peer.to_header()), (ID, format!("id-{number}"))])
}

/// What a process has in memory, in KiB.
fn memory(of: &Process) -> Result<u64, Box<dyn std::error::Error>> {
    let status = fs::read_to_string(format!("/proc/{}/status", of.id()?))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("the kernel does not tell memory")?;
    Ok(line.split_whitespace().next().unwrap_or_default().parse()?)
}

/// Peers and hosts that nobody has seen before, all the time: the first have series of their own, the others one together, and all
/// are counted. `STRANGERS=100000 cargo test -p scenarios -- strangers_in_a_real_envoy --nocapture` sends more of them and prints
/// what Envoy's memory does.
#[test]
fn strangers_in_a_real_envoy_are_counted_within_the_budget() -> Outcome {
    let strangers = std::env::var("STRANGERS").map_or(Ok(STRANGERS), |number| number.parse())?;
    for workers in [1, 4] {
        let envoy = sidecar(&json!({"maxDimensionSets": BUDGET}), workers)?;
        let mut memories = vec![memory(&envoy)?];
        // On as many connections at once as there are workers, in two halves.
        for half in [0..strangers / 2, strangers / 2..strangers] {
            let share = |client: u64| half.clone().filter(move |number| number % 4 == client);
            let address = envoy.listener();
            std::thread::scope(|scope| -> Outcome {
                let ask = |client| scope.spawn(move || keep_alive::ask(address, share(client).map(stranger)));
                let clients: Vec<_> = (0..4).map(ask).collect();
                for client in clients {
                    let heads = client.join().map_err(|_| "a client has panicked")??;
                    assert!(heads.iter().all(|head| head.starts_with("HTTP/1.1 200 ") && head.contains(METADATA)));
                }
                Ok(())
            })?;
            memories.push(memory(&envoy)?);
        }
        let page = settled(|| envoy.prometheus(), |page| total(&series_in(page, "istio_requests_total")) == strangers);
        let all = series_in(&page, "istio_requests_total");
        assert_eq!(total(&all), strangers, "nothing is lost");
        let (others, own): (Vec<_>, Vec<_>) =
            all.iter().partition(|series| series.contains("source_workload=\"other\""));
        assert!(own.iter().all(|series| series.ends_with(" 1")), "each stranger came once");
        assert!(own.len() <= workers * BUDGET && own.len() >= BUDGET, "{} of their own", own.len());
        let [others] = others[..] else { panic!("{} sets of others", others.len()) };
        assert!(others.ends_with(&format!(" {}", strangers - own.len() as u64)), "{others}");
        assert!(others.contains("destination_workload=\"ratings-v1\""), "{others}");
        let counted = |metric: &str| series_in(&page, metric).len();
        assert_eq!(counted("istio_response_bytes_count"), all.len(), "no other metric grows either");
        let [first, half, whole] = memories[..] else { panic!("three looks") };
        println!("{strangers} strangers, {workers} workers: {first}, {half}, {whole} KiB; {} series", all.len());
        assert!(whole <= half + GROWTH, "memory goes on growing: {first}, {half}, {whole} KiB");
    }
    Ok(())
}

/// What hostile peers send is counted as a request of somebody unknown, and has no label; nobody is taken for another, and the
/// next honest peer is known.
#[test]
fn what_nobody_believes_has_no_label_in_a_real_envoy() -> Outcome {
    const TIMES: u64 = 20;
    let envoy = sidecar(&json!({}), 1)?;
    let named = |workload: &str| Peer { workload: workload.to_owned(), ..Peer::default() }.to_header().into_bytes();
    let good = named("good");
    let (long, huge) = ("A".repeat(15_000).into_bytes(), named(&"w".repeat(30_000)));
    let [m, i] = [METADATA, ID];
    let hostile: Vec<Vec<(&str, Vec<u8>)>> = vec![
        vec![(m, good[..good.len() - 5].to_vec())],
        vec![(m, b"garbage!".to_vec()), (i, b"1".to_vec())],
        vec![(m, long.clone()), (i, long.clone())],
        vec![(m, huge), (i, b"1".to_vec())],
        vec![(m, good.clone()), (m, named("other")), (i, b"1".to_vec())],
        vec![(m, named("other")), (m, good.clone()), (i, b"1".to_vec()), (i, b"2".to_vec())],
        vec![(m, Vec::new()), (i, b"1".to_vec())],
        vec![(m, b"\xff\xfe".to_vec()), (i, b"\xff".to_vec())],
    ];
    let request = |metadata: &[(&str, Vec<u8>)]| {
        keep_alive::get([("host", &b"shop.test"[..])].into_iter().chain(metadata.iter().map(|(n, v)| (*n, &v[..]))))
    };
    let all = (0..TIMES).flat_map(|_| hostile.iter().map(|metadata| request(metadata)));
    let heads = keep_alive::ask(envoy.listener(), all)?;
    assert!(heads.iter().all(|head| head.starts_with("HTTP/1.1 200 ")), "a lie is no reason to refuse");
    let requests = || series_in(&envoy.prometheus(), "istio_requests_total");
    let unknown = settled(requests, |seen| total(seen) == TIMES * hostile.len() as u64);
    assert_eq!((unknown.len(), total(&unknown)), (1, TIMES * hostile.len() as u64), "{unknown:#?}");
    assert!(unknown[0].contains("source_workload=\"unknown\""), "{unknown:#?}");

    // An id that was seen with other metadata is not taken for whom it was; a name that would break a metric's has no effect.
    let honest = [
        vec![(m, good.clone()), (i, b"1".to_vec())],
        vec![(m, named("second")), (i, b"1".to_vec())],
        vec![(m, good), (i, b"1".to_vec())],
        vec![(m, named("x;.;reporter=.=source;.;istio_requests_total")), (i, b"1".to_vec())],
    ];
    keep_alive::ask(envoy.listener(), honest.iter().map(|metadata| request(metadata)))?;
    let seen = settled(requests, |seen| total(seen) == TIMES * hostile.len() as u64 + honest.len() as u64);
    let of = |workload: &str| {
        let label = format!("source_workload=\"{workload}\"");
        total(&seen.iter().filter(|series| series.contains(&label)).cloned().collect::<Vec<_>>())
    };
    assert_eq!((of("good"), of("second"), seen.len()), (2, 1, 4), "{seen:#?}");
    assert!(
        seen.iter()
            .all(|series| series.contains("reporter=\"destination\"") && series.matches("reporter=").count() == 1)
    );
    assert!(!envoy.prometheus().contains("reporter___"), "a label was left in a name");
    Ok(())
}

/// Connections whose prefaces claim 4 GiB, end early or are none: counted as somebody unknown's, and the next honest peer is known.
#[test]
fn prefaces_that_lie_have_no_label_in_a_real_envoy() -> Outcome {
    let plugins: Builder = EXCHANGE.on(Engine::Envoy).root_id("tcp").config(json!({}));
    let plugins = plugins.then(STATS.on(Engine::Envoy).config(json!({})));
    let mut envoy = around(plugins, server(), TrafficDirection::Inbound).tcp_echo().start()?;
    let client = Peer { workload: "good".to_owned(), namespace: "n".to_owned(), ..Peer::default() };
    let good = Preface { id: "1".to_owned(), peer: client }.encode();
    let lies = [
        [&good[..4], b"\xff\xff\xff\xff", b"hello"].concat(),
        [&good[..4], b"\0\0\0\x03abc", b"hello"].concat(),
        [&good[..4], b"\0\0\0\0"].concat(),
        good[..good.len() - 1].to_vec(),
        good[..2].to_vec(),
    ];
    const TIMES: usize = 4;
    for lie in lies.iter().cycle().take(TIMES * lies.len()) {
        let mut client = envoy.connect()?;
        client.send(lie.clone())?;
        client.finish()?;
        client.read_to_end()?;
    }
    let mut client = envoy.connect()?;
    client.send([&good[..], b"hello"].concat())?;
    client.finish()?;
    assert!(client.read_to_end()?.ends_with(b"hello"));
    let metric = "istio_tcp_connections_opened_total";
    let seen = settled(|| series(&mut envoy, metric), |seen| total(seen) == (TIMES * lies.len()) as u64 + 1);
    let of = |workload: &str| {
        let label = format!("source_workload=\"{workload}\"");
        total(&seen.iter().filter(|series| series.contains(&label)).cloned().collect::<Vec<_>>())
    };
    assert_eq!((of("unknown"), of("good"), seen.len()), ((TIMES * lies.len()) as u64, 1, 2), "{seen:#?}");
    Ok(())
}
