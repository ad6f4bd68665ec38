//! The real Envoy as an engine: everything that the facade promises, with modules that are a few lines of text.
#![cfg(feature = "envoy")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

// The native door, where it is compiled in, wants the exports of some plugin.
#[cfg(feature = "native")]
use proxy_wasm as _;
use wasmplugin_host::test::{Answer, Builder, Failure, LogLevel, Proxy, Request, Tls};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// The module of that name, assembled from `tests/guests`.
fn guest(name: &str) -> Result<Builder, Box<dyn std::error::Error>> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join(format!("{name}.wasm"));
    let text = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/guests").join(format!("{name}.wat"));
    let module = wat::parse_file(text)?;
    // Tests run at once: nobody may see half a module.
    let part = folder.join(format!("{name}.{}.{:?}.part", std::process::id(), std::thread::current().id()));
    std::fs::write(&part, module)?;
    std::fs::rename(&part, &path)?;
    Ok(Proxy::envoy(path).name(name))
}

#[test]
fn a_plugin_sees_requests_and_responses() -> Outcome {
    let mut proxy = guest("header")?
        .upstream(|request: &Request| Answer::new(201).header("X-Up", "u").body(request.body()))
        .trace(true)
        .start()?;

    let response = proxy.post("/a?b").header("x-client", "c").body("hello").send()?;
    assert_eq!(response.status(), 201);
    assert_eq!(response.header("x-up"), Some("u"));
    assert_eq!(response.header("x-wat"), Some("1"));
    assert_eq!(response.header("server"), Some("envoy"));
    assert_eq!(response.text(), "hello");

    let seen = proxy.upstream_requests();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].method(), seen[0].path(), seen[0].authority()), ("POST", "/a?b", "example.test"));
    assert_eq!(seen[0].header("x-wat"), Some("1"));
    assert_eq!(seen[0].header("x-client"), Some("c"));
    assert_eq!(seen[0].text(), "hello");
    assert!(seen[0].is_complete());

    assert_eq!(proxy.metric("hits"), Some(1));
    assert_eq!(proxy.metric("misses"), None);
    let logs = proxy.logs();
    assert_eq!(logs.len(), 1);
    assert_eq!((logs[0].level, logs[0].text.as_str()), (LogLevel::Warn, "seen: a request"));
    let trace = proxy.trace();
    let callback = "proxy_on_request_headers";
    assert!(trace.iter().any(|line| line.to_string().contains(callback)), "no `{callback}` in {trace:#?}");
    Ok(())
}

#[test]
fn bodies_and_trailers_go_both_ways() -> Outcome {
    let mut proxy = guest("header")?
        .upstream(|request: &Request| {
            let echoed = request.trailers().get("x-t").unwrap_or("none").to_owned();
            Answer::new(200).chunks(["one", "two"]).trailer("x-echo", echoed)
        })
        .start()?;

    let response = proxy.post("/").chunks(["a", "bc"]).trailer("x-t", "5").send()?;
    assert_eq!(response.text(), "onetwo");
    assert_eq!(response.trailer("x-echo"), Some("5"));
    assert_eq!(proxy.upstream_requests()[0].text(), "abc");

    let head = proxy.request("HEAD", "/").send()?;
    assert_eq!((head.status(), head.text().as_str()), (200, ""));
    Ok(())
}

#[test]
fn the_client_may_speak_http2() -> Outcome {
    let mut proxy = guest("header")?
        .http2(true)
        .trace(true)
        .upstream(|request: &Request| match request.path() {
            "/cut" => Answer::new(200).body("part").cut(),
            _ => Answer::new(200).chunks([request.body()]).trailer("x-t", "5"),
        })
        .start()?;

    let response = proxy.post("/").body("hello").send()?;
    assert_eq!((response.status(), response.text().as_str()), (200, "hello"));
    assert_eq!(response.header("x-wat"), Some("1"));
    assert_eq!(response.trailer("x-t"), Some("5"));

    let large = vec![b'x'; 300_000];
    let response = proxy.post("/").chunks([large.clone()]).trailer("x-c", "1").send()?;
    assert_eq!(response.body(), large);
    assert_eq!(proxy.upstream_requests()[1].trailers().get("x-c"), Some("1"));

    let cut = proxy.get("/cut").send().unwrap_err();
    assert_eq!(cut.arrived().map(|part| part.text()).as_deref(), Some("part"), "{cut:?}");
    Ok(())
}

#[test]
fn an_upstream_may_fail() -> Outcome {
    let mut proxy = guest("header")?
        .patience(Duration::from_millis(500))
        .upstream(|request: &Request| match request.path() {
            "/reset" => Answer::reset(),
            "/cut" => Answer::new(200).body("part").cut(),
            "/malformed" => Answer::malformed(),
            "/late" => Answer::new(204).after(Duration::from_millis(50)),
            _ => Answer::never(),
        })
        .start()?;

    assert_eq!(proxy.get("/reset").send()?.status(), 503);
    assert_eq!(proxy.get("/malformed").send()?.status(), 502);
    assert_eq!(proxy.get("/late").send()?.status(), 204);
    let cut = proxy.get("/cut").send().unwrap_err();
    assert_eq!(cut.arrived().map(|part| part.text()).as_deref(), Some("part"), "{cut:?}");
    assert_eq!(proxy.get("/never").send(), Err(Failure::Hung(Duration::from_millis(500))));

    let mut proxy = guest("header")?.unreachable_upstream().start()?;
    let response = proxy.get("/").send()?;
    assert_eq!(response.status(), 503);
    assert!(response.text().ends_with("remote connection failure"), "{}", response.text());
    Ok(())
}

#[test]
fn callouts_are_answered_by_the_test() -> Outcome {
    let mut proxy = guest("asks")?.cluster("auth", |_| Answer::new(200).after(Duration::from_millis(50))).start()?;
    let exchange = proxy.get("/").open()?;
    assert_eq!(proxy.finish(exchange)?.status(), 200);
    let asked = proxy.cluster_requests("auth");
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].path(), "/check");

    for script in [Answer::reset, Answer::unreachable, Answer::malformed, Answer::reset_after_headers] {
        let mut proxy = guest("asks")?.cluster("auth", move |_| script()).start()?;
        assert_eq!(proxy.get("/").send()?.status(), 200);
    }
    let mut proxy = guest("asks")?.unreachable_cluster("auth").start()?;
    assert_eq!(proxy.get("/").send()?.status(), 200);
    Ok(())
}

#[test]
fn many_exchanges_are_open_at_once() -> Outcome {
    const MANY: usize = 1000;
    let mut proxy = guest("asks")?
        .workers(2)
        .patience(Duration::from_secs(60))
        .cluster("auth", |_| Answer::new(200).after(Duration::from_millis(20)))
        .upstream(|request: &Request| Answer::new(200).body(request.path().to_owned()))
        .start()?;

    let exchanges = (0..MANY).map(|n| proxy.get(&format!("/{n}")).open()).collect::<Result<Vec<_>, _>>()?;
    for (number, response) in proxy.finish_all(exchanges).into_iter().enumerate() {
        assert_eq!(response?.text(), format!("/{number}"));
    }
    assert_eq!(proxy.cluster_requests("auth").len(), MANY);
    Ok(())
}

#[test]
fn a_client_may_take_its_time_or_leave() -> Outcome {
    let mut proxy = guest("header")?.upstream(|request: &Request| Answer::new(200).body(request.body())).start()?;

    let slow = proxy.post("/slow").open()?;
    let gone = proxy.post("/gone").open()?;
    proxy.send_data(&slow, "a", false)?;
    proxy.send_data(&gone, "x", false)?;
    assert!(proxy.waiting(&slow));
    proxy.abort(gone);
    assert_eq!(proxy.get("/other").send()?.status(), 200);
    proxy.send_data(&slow, "b", true)?;
    assert_eq!(proxy.finish(slow)?.text(), "ab");

    let seen = proxy.upstream_requests();
    let whole: Vec<_> = seen.iter().filter(|request| request.is_complete()).map(Request::path).collect();
    assert_eq!(whole, ["/slow", "/other"]);
    assert!(proxy.leaks().is_empty(), "{}", proxy.leaks());
    Ok(())
}

#[test]
fn plugins_are_chained() -> Outcome {
    let mut proxy = guest("header")?.then(guest("header")?.name("again")).start()?;
    let response = proxy.get("/").send()?;
    assert_eq!(response.headers().all("x-wat"), ["1", "1"]);
    Ok(())
}

const ADA: &str = "spiffe://cluster.local/ns/default/sa/ada";
const BOB: &str = "spiffe://cluster.local/ns/default/sa/bob";

/// What one end of mutual TLS sees.
fn mutual(local: &str, peer: &str) -> Tls {
    Tls { mutual: true, local_uris: vec![local.to_owned()], peer_uris: vec![peer.to_owned()], ..Tls::default() }
}

#[test]
fn the_client_may_show_a_certificate() -> Outcome {
    for http2 in [false, true] {
        let mut proxy = guest("peers")?.http2(http2).tls(mutual(BOB, ADA)).start()?;
        assert_eq!(proxy.post("/").body("hello").send()?.text(), "upstream");
        let seen = proxy.upstream_requests();
        assert_eq!((seen[0].header("x-client"), &*seen[0].text()), (Some(ADA), "hello"));
    }
    Ok(())
}

#[test]
fn a_client_without_a_certificate_has_no_name() -> Outcome {
    let mut proxy = guest("peers")?.tls(Tls::default()).start()?;
    assert_eq!(proxy.get("/").send()?.status(), 200);
    assert_eq!(proxy.upstream_requests()[0].header("x-client"), None);
    Ok(())
}

#[test]
fn two_proxies_talk_to_each_other() -> Outcome {
    let mut server = guest("peers")?.tls(mutual(BOB, ADA)).upstream(|_| Answer::new(201)).start()?;
    let address = server.address().ok_or("no address")?;
    let mut client = guest("peers")?.upstream_at(address).upstream_tls(mutual(ADA, BOB)).start()?;
    let response = client.get("/a").send()?;
    assert_eq!((response.status(), response.header("x-server")), (201, Some(BOB)));
    assert_eq!(server.upstream_requests()[0].header("x-client"), Some(ADA));
    for proxy in [&mut client, &mut server] {
        assert!(proxy.prometheus().contains("envoy_http_downstream_rq_total"));
    }

    // A server that is somebody else is not spoken to.
    let mut client = guest("peers")?.upstream_at(address).upstream_tls(mutual(ADA, ADA)).start()?;
    assert_eq!(client.get("/").send()?.status(), 503);
    assert_eq!(server.upstream_requests().len(), 1);
    Ok(())
}

#[test]
fn two_proxies_talk_over_tcp() -> Outcome {
    let server = guest("peers")?.tls(mutual(BOB, ADA)).tcp_echo().start()?;
    let address = server.address().ok_or("no address")?;
    let mut proxy = guest("peers")?.tcp_upstream_at(address).upstream_tls(mutual(ADA, BOB)).start()?;
    let mut client = proxy.connect()?;
    client.send("hello")?;
    assert_eq!(client.read_exact(5)?, b"hello");
    client.finish()?;
    assert_eq!(client.read_to_end()?, b"");
    Ok(())
}

#[test]
fn a_refused_configuration_is_told_in_the_plugins_words() -> Outcome {
    let error = guest("refuses")?.config(serde_json::json!({"a": {"b": "x"}})).start().unwrap_err();
    let said = error.to_string();
    assert!(said.starts_with("envoy did not start: `a.b`: expected a number, found `x`; "), "{said}");
    assert_eq!(error.logs()[0].level, LogLevel::Error);
    Ok(())
}

#[test]
fn a_file_that_is_no_module_is_refused() -> Outcome {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("no-module.wasm");
    std::fs::write(&path, "no module").unwrap();
    let said = Proxy::envoy(&path).start().unwrap_err().to_string();
    assert!(said.starts_with("envoy did not start: "), "{said}");

    let said = Proxy::envoy("no-such-file.wasm").start().unwrap_err().to_string();
    assert!(said.contains("`no-such-file.wasm`"), "{said}");
    Ok(())
}

#[test]
fn a_crash_of_envoy_is_told() -> Outcome {
    let mut proxy = guest("crashes")?.start()?;
    let said = proxy.get("/").send().unwrap_err().to_string();
    assert!(said.starts_with("the exchange was refused: envoy has ended by itself: Caught Segmentation"), "{said}");
    Ok(())
}

#[test]
fn a_proxy_that_is_dropped_leaves_nothing_behind() -> Outcome {
    let mut proxy = guest("header")?.upstream(|_| Answer::never()).start()?;
    let exchange = proxy.get("/").open()?;
    assert!(proxy.waiting(&exchange));
    assert_eq!(proxy.leaks().exchanges, 1);
    let before = Instant::now();
    drop(proxy);
    assert!(before.elapsed() < Duration::from_secs(2), "it took {:?}", before.elapsed());
    Ok(())
}
