//! `metadata-exchange` tells peers which workload is behind the proxy, learns theirs, and believes nothing else.

use istio_core::peer::Peer;
use istio_core::peer::header::{ID, METADATA};
use istio_core::peer::preface::Preface;
use serde_json::{Value, json};
use wasmplugin_host::test::{Answer, Builder, Engine, Node, Proxy, Request, TcpEvent, TcpTurn, TrafficDirection};

use crate::engines::{Outcome, Plugin, on_every_engine};
use crate::keep_alive;
use crate::stats_labels::settled;
use crate::workloads::{self, CLIENT_URI, SERVER_URI, mutual, server};

const PROBE: Plugin = Plugin { package: "attribute-probe", register: attribute_probe::register };

const NATIVE_CLIENT: &str = include_str!("../plugins/core/testdata/metadata_exchange/mx_native_client.b64");
const NATIVE_SERVER: &str = include_str!("../plugins/core/testdata/metadata_exchange/mx_native_server.b64");
const OLD_SERVER: &str = include_str!("../plugins/core/testdata/metadata_exchange/mx_wasm_server.b64");
const PREFACE: &[u8] = include_bytes!("../plugins/core/testdata/metadata_exchange/tcp_native_client.bin");

/// The client, with a label that nobody asks for unless told to.
fn client() -> Node {
    let mut node = workloads::client();
    node.metadata["LABELS"]["role"] = "client".into();
    node
}

fn outbound(proxy: Builder) -> Builder {
    proxy.node(client()).direction(TrafficDirection::Outbound)
}

fn inbound(proxy: Builder) -> Builder {
    proxy.node(server()).direction(TrafficDirection::Inbound)
}

/// Adds a plugin behind that reads these properties.
fn probed(proxy: Builder, paths: &[&str]) -> Result<Builder, Box<dyn std::error::Error>> {
    let engine = proxy.clone().setup()?.engine;
    Ok(proxy.then(PROBE.on(engine).config(json!({"paths": paths}))))
}

/// What the probe has read in that phase, in its order; nothing where there was nothing.
fn seen(proxy: &mut Proxy, phase: &str, path: &str) -> Vec<Option<Vec<u8>>> {
    let prefix = format!("@{phase} {path} ");
    let lines = proxy.logs();
    let answers = lines.iter().filter_map(|line| line.text.strip_prefix(&prefix));
    answers.map(|answer| answer.strip_prefix("0 ").map(bytes).or((answer == "0").then(Vec::new))).collect()
}

fn bytes(digits: &str) -> Vec<u8> {
    (0..digits.len() / 2).filter_map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()).collect()
}

fn text(value: &str) -> Option<Vec<u8>> {
    Some(value.as_bytes().to_vec())
}

/// An upstream that takes part as a native proxy does.
fn takes_part(_: &Request) -> Answer {
    Answer::new(200).header(METADATA, NATIVE_SERVER.trim()).header(ID, "server")
}

fn names(states: Vec<Option<Vec<u8>>>) -> Vec<Option<String>> {
    let workload = |state: Vec<u8>| Peer::from_state(&state).map(|peer| peer.workload);
    states.into_iter().map(|state| state.and_then(workload)).collect()
}

on_every_engine! { metadata_exchange as "metadata-exchange";
    /// The bytes are those of the native filter.
    fn who_asks_tells_and_learns_who_answers(proxy) {
        let paths = ["upstream_peer", "upstream_peer_id", "upstream_peer|workload", "downstream_peer"];
        let mut proxy = probed(outbound(proxy).config(json!({})).upstream(takes_part), &paths)?.start()?;
        let response = proxy.get("/").header(ID, "forged").header("x-app", "kept").send()?;
        assert_eq!((response.header(METADATA), response.header(ID)), (None, None), "the client is told nothing");
        let asked = proxy.upstream_requests();
        assert_eq!(asked[0].headers().all(METADATA), [NATIVE_CLIENT.trim()]);
        assert_eq!((asked[0].headers().all(ID), asked[0].header("x-app")), (vec!["client"], Some("kept")));
        let state = seen(&mut proxy, "log", "upstream_peer").pop().flatten().unwrap_or_default();
        let peer = Peer::from_state(&state).unwrap_or_default();
        assert_eq!((peer.workload.as_str(), peer.canonical_service.as_str()), ("ratings-v1", "ratings"));
        assert_eq!(seen(&mut proxy, "log", "upstream_peer_id"), [text("server")]);
        assert_eq!(seen(&mut proxy, "log", "downstream_peer"), [None]);
        Ok(())
    }

    fn who_answers_learns_and_tells_in_its_turn(proxy) {
        let paths = ["downstream_peer", "downstream_peer_id", "filter_state|wasm.downstream_peer|workload"];
        let mut proxy = probed(inbound(proxy).config(json!({})), &paths)?.start()?;
        let response = proxy.get("/").header(METADATA, NATIVE_CLIENT.trim()).header(ID, "client").send()?;
        assert_eq!((response.header(METADATA), response.header(ID)), (Some(NATIVE_SERVER.trim()), Some("server")));
        let asked = proxy.upstream_requests();
        assert_eq!((asked[0].header(METADATA), asked[0].header(ID)), (None, None), "the workload sees nothing of it");
        assert_eq!(names(seen(&mut proxy, "request", "downstream_peer")), [Some("productpage-v1".to_owned())]);
        assert_eq!(seen(&mut proxy, "request", "downstream_peer_id"), [text("client")]);
        assert_eq!(seen(&mut proxy, "log", "filter_state|wasm.downstream_peer|workload"), [text("productpage-v1")]);
        Ok(())
    }

    /// Istio's table: nothing for nothing, the id for the id, both for both; and what was never asked for stays inside.
    fn who_says_nothing_is_told_nothing(proxy) {
        let app = |_: &Request| Answer::new(200).header(METADATA, "from the app").header(ID, "app");
        let mut proxy = inbound(proxy).config(json!({})).upstream(app).start()?;
        let mut ask = |lines: &[(&str, &str)]| {
            let request = lines.iter().fold(proxy.get("/"), |request, (name, value)| request.header(name, value.to_string()));
            request.send().map(|response| (response.header(METADATA).is_some(), response.header(ID).map(str::to_owned)))
        };
        let id = || Some("server".to_owned());
        assert_eq!(ask(&[])?, (false, None));
        assert_eq!(ask(&[(ID, "client")])?, (false, id()));
        assert_eq!(ask(&[(METADATA, NATIVE_CLIENT.trim())])?, (true, None));
        assert_eq!(ask(&[(METADATA, NATIVE_CLIENT.trim()), (ID, "client")])?, (true, id()));
        Ok(())
    }

    fn a_gateway_without_a_direction_does_both(proxy) {
        let mut proxy = proxy.node(client()).config(json!({})).upstream(takes_part).start()?;
        let response = proxy.get("/").header(ID, "outer").send()?;
        assert_eq!((response.header(METADATA), response.header(ID)), (None, Some("client")));
        assert_eq!(proxy.upstream_requests()[0].headers().all(ID), ["client"]);
        Ok(())
    }

    fn old_proxies_and_additional_labels_are_understood(proxy) {
        let sent = Peer { workload: "w".to_owned(), labels: [("role".to_owned(), "db".to_owned())].into(), ..Peer::default() };
        let sent = sent.to_header();
        let answer = move |request: &Request| {
            let value = if request.path() == "/old" { OLD_SERVER.trim().to_owned() } else { sent.clone() };
            Answer::new(200).header(METADATA, value)
        };
        let config = json!({"additional_labels": ["role"]});
        let paths = ["upstream_peer|workload", "upstream_peer|labels|role"];
        let mut proxy = probed(outbound(proxy).config(config).upstream(answer), &paths)?.start()?;
        proxy.get("/old").send()?;
        proxy.get("/new").send()?;
        assert_eq!(seen(&mut proxy, "log", "upstream_peer|labels|role"), [None, text("db")]);
        let told = Peer::from_header(
            proxy.upstream_requests()[0].header(METADATA).unwrap_or_default().as_bytes(),
            &["role".to_owned()].into(),
        );
        assert_eq!(told.map(|peer| peer.labels["role"].clone()).as_deref(), Some("client"));
        Ok(())
    }

    fn who_is_outside_of_the_mesh_is_told_nothing(proxy) {
        let inherited = |request: &Request| {
            assert_eq!((request.header(METADATA), request.header(ID)), (None, None));
            Answer::new(200)
        };
        for istio in [json!({"disable_mx": true}), json!({"external": true})] {
            let metadata = json!({"istio": istio});
            let mut proxy = outbound(proxy.clone())
                .config(json!({}))
                .cluster_metadata("upstream", metadata)
                .upstream(inherited)
                .start()?;
            assert_eq!(proxy.get("/").header(ID, "inherited").header(METADATA, "x").send()?.status(), 200);
        }
        let mut proxy = outbound(proxy)
            .config(json!({"skip_external_clusters": false}))
            .cluster_metadata("upstream", json!({"istio": {"external": true}}))
            .start()?;
        proxy.get("/").send()?;
        assert_eq!(proxy.upstream_requests()[0].header(ID), Some("client"));
        Ok(())
    }

    fn the_lists_of_the_native_filter_decide_where_they_are_given(proxy) {
        let config = json!({"downstreamDiscovery": [{"istioHeaders": {}}], "upstream_propagation": []});
        let mut proxy = proxy.node(client()).config(config).upstream(takes_part).start()?;
        let response = proxy.get("/").header(ID, "outer").send()?;
        assert_eq!(response.header(ID), Some("server"), "nobody reads the response");
        assert_eq!(proxy.upstream_requests()[0].header(ID), None);
        Ok(())
    }

    fn nobody_is_taken_for_another(proxy) {
        let mut proxy = probed(inbound(proxy).config(json!({})), &["downstream_peer", "downstream_peer_id"])?.start()?;
        let named = |workload: &str| Peer { workload: workload.to_owned(), ..Peer::default() }.to_header();
        let (first, second) = (named("first"), named("second"));
        let long = "A".repeat(20_000);
        let lines: [&[(&str, &str)]; 8] = [
            &[(ID, "a"), (METADATA, &first)],
            // The same id with other metadata, and again.
            &[(ID, "a"), (METADATA, &second)],
            &[(ID, "a"), (METADATA, &first)],
            &[(ID, "a"), (METADATA, &first[..first.len() - 5])],
            &[(ID, "a"), (METADATA, "garbage!")],
            &[(ID, "a"), (METADATA, &long)],
            &[(ID, "a"), (METADATA, &first), (METADATA, &second)],
            &[(ID, &long), (ID, "b"), (METADATA, "")],
        ];
        for lines in lines {
            let request = lines.iter().fold(proxy.get("/"), |request, (name, value)| request.header(name, value.to_string()));
            assert_eq!(request.send()?.status(), 200);
        }
        let known = |name: &str| Some(name.to_owned());
        let peers = names(seen(&mut proxy, "request", "downstream_peer"));
        assert_eq!(peers, [known("first"), known("second"), known("first"), None, None, None, None, None]);
        let ids = seen(&mut proxy, "request", "downstream_peer_id");
        assert_eq!((&ids[0], &ids[7]), (&text("a"), &None));
        assert!(proxy.upstream_requests().iter().all(|asked| asked.header(ID).or(asked.header(METADATA)).is_none()));
        Ok(())
    }

    fn a_thousand_peers_come_and_go(proxy) {
        let mut proxy = probed(inbound(proxy).config(json!({"max_peer_cache_size": 10})), &["downstream_peer"])?.start()?;
        // Each comes back when it has long been forgotten; in memory once is enough.
        let rounds = if proxy.address().is_some() { 2 } else { 1 };
        let order: Vec<_> = (0..rounds).flat_map(|_| 0..1000).map(|number| format!("w{number}")).collect();
        let header = |workload: &String| Peer { workload: workload.clone(), ..Peer::default() }.to_header();
        match proxy.address() {
            // A connection for each would take its time.
            Some(address) => {
                let requests = order.iter().map(|workload| keep_alive::get([("host", "a".to_owned()), (METADATA, header(workload))]));
                let heads = keep_alive::ask(address, requests)?;
                assert!(heads.iter().all(|head| head.starts_with("HTTP/1.1 200 ") && head.contains(METADATA)));
            }
            None => for workload in &order {
                assert!(proxy.get("/").header(METADATA, header(workload)).send()?.header(METADATA).is_some());
            },
        }
        let expected: Vec<_> = order.into_iter().map(Some).collect();
        let known = settled(|| names(seen(&mut proxy, "request", "downstream_peer")), |known| known.len() == expected.len());
        assert_eq!(known, expected);
        Ok(())
    }

    fn a_tcp_client_says_who_it_is_and_is_told(proxy) {
        let mut proxy = inbound(proxy).root_id("tcp").config(json!({})).tcp_echo().start()?;
        let mut client = proxy.connect()?;
        // In pieces, and with the client's first bytes right behind.
        client.send(PREFACE[..3].to_vec())?;
        client.send(PREFACE[3..20].to_vec())?;
        client.send([&PREFACE[20..], b"hello"].concat())?;
        let peer = Peer::from_header(NATIVE_SERVER.trim().as_bytes(), &[].into()).unwrap_or_default();
        let told = Preface { id: "server".to_owned(), peer }.encode();
        assert_eq!(client.read_exact(told.len() + 5)?, [&told[..], b"hello"].concat());
        client.finish()?;
        assert_eq!(client.read_to_end()?, b"");
        Ok(())
    }

    fn a_tcp_client_that_says_nothing_is_left_alone(proxy) {
        let mut proxy = inbound(proxy).root_id("tcp").config(json!({})).tcp_echo().start()?;
        let oversized = [&PREFACE[..4], b"\xff\xff\xff\xff", b"hello"].concat();
        for sent in [b"=".to_vec(), b"GET / HTTP/1.1".to_vec(), oversized] {
            let mut client = proxy.connect()?;
            client.send(sent.clone())?;
            client.finish()?;
            assert_eq!(client.read_to_end()?, sent);
        }
        Ok(())
    }

    fn a_preface_that_is_none_harms_nobody(proxy) {
        let mut proxy = inbound(proxy).root_id("tcp").config(json!({})).tcp_echo().start()?;
        let malformed = [&PREFACE[..4], b"\0\0\0\x03abc", b"hello"].concat();
        for (sent, passed) in [(malformed, &b"hello"[..]), (PREFACE[..100].to_vec(), &PREFACE[..100])] {
            let mut client = proxy.connect()?;
            client.send(sent)?;
            client.finish()?;
            assert!(client.read_to_end()?.ends_with(passed));
            assert_eq!(proxy.upstream_connections().pop().map(|seen| seen.received).as_deref(), Some(passed));
        }
        Ok(())
    }

    fn a_tcp_server_that_speaks_first_is_heard(proxy) {
        let greeting = |event: TcpEvent<'_>, turn: &mut TcpTurn| if let TcpEvent::Connected = event { turn.send("welcome") };
        let mut proxy = inbound(proxy).root_id("tcp").config(json!({})).tcp(greeting).start()?;
        let mut client = proxy.connect()?;
        assert_eq!(client.read_exact(7)?, b"welcome");
        Ok(())
    }

    fn a_tcp_proxy_tells_the_upstream_where_it_may(proxy) {
        let proxy = outbound(proxy).root_id("tcp").tcp_echo();
        let preface = |config: Value| -> Result<Vec<u8>, Box<dyn std::error::Error>> {
            let mut proxy = proxy.clone().config(config).start()?;
            let mut client = proxy.connect()?;
            client.send("hello")?;
            client.finish()?;
            // The echo's preface is taken out again.
            assert_eq!(client.read_to_end()?, b"hello");
            Ok(proxy.upstream_connections().pop().map(|seen| seen.received).unwrap_or_default())
        };
        assert_eq!(preface(json!({}))?, b"hello");
        assert_eq!(preface(json!({"tell_upstream": true}))?, [PREFACE, b"hello"].concat());
        Ok(())
    }
}

/// Two real Envoys, plain and with mutual TLS: each knows the other.
#[test]
fn two_sidecars_know_each_other() -> Outcome {
    for tls in [false, true] {
        let mut inner = probed(inbound(PLUGIN.on(Engine::Envoy)).config(json!({})), &["downstream_peer"])?;
        let mut outer = probed(outbound(PLUGIN.on(Engine::Envoy)).config(json!({})), &["upstream_peer"])?;
        if tls {
            (inner, outer) =
                (inner.tls(mutual(SERVER_URI, CLIENT_URI)), outer.upstream_tls(mutual(CLIENT_URI, SERVER_URI)));
        }
        let mut inner = inner.start()?;
        let mut outer = outer.upstream_at(inner.address().ok_or("no address")?).start()?;
        let response = outer.get("/").send()?;
        assert_eq!((response.status(), response.header(METADATA)), (200, None));
        assert_eq!(inner.upstream_requests()[0].header(METADATA), None);
        assert_eq!(names(seen(&mut inner, "request", "downstream_peer")), [Some("productpage-v1".to_owned())]);
        assert_eq!(names(seen(&mut outer, "log", "upstream_peer")), [Some("ratings-v1".to_owned())]);
    }
    Ok(())
}
