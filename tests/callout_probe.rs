//! gRPC calls and streams, and what callouts do when an attempt fails or is late.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use wasmplugin_host::test::{Answer, Builder, Engine, GrpcAnswer, Proxy, Request};

use crate::engines::on_every_engine;

/// `Text { text }` of the guest.
pub(crate) fn text(text: &str) -> Vec<u8> {
    [&[0x0a, u8::try_from(text.len()).unwrap()][..], text.as_bytes()].concat()
}

/// A service that tells the number of the call.
fn counting(
    answer: impl Fn(usize) -> GrpcAnswer + Send + Sync + 'static,
) -> impl Fn(&Request) -> GrpcAnswer + Send + Sync {
    let asked = AtomicUsize::new(0);
    move |_| answer(asked.fetch_add(1, Ordering::Relaxed))
}

/// Echoes each message in capitals, and ends when the plugin does.
fn echo(call: &Request) -> GrpcAnswer {
    if call.is_complete() {
        return GrpcAnswer::status(0, "").trailer("x-last", "!");
    }
    let last = call.messages().last().map(|message| message.to_ascii_uppercase()).unwrap_or_default();
    GrpcAnswer::more().metadata("x-first", "hi").and_message(last)
}

fn outcome(proxy: Builder, path: &str) -> Result<(Proxy, String), Box<dyn std::error::Error>> {
    let mut proxy = proxy.start()?;
    proxy.get(path).send()?;
    let last = proxy.upstream_requests().pop().ok_or("nothing reached the upstream")?;
    let outcome = last.header("x-outcome").unwrap_or_default().to_owned();
    Ok((proxy, outcome))
}

/// Nothing waits in the plugin, and nothing is open in the proxy.
fn nothing_is_left(proxy: &mut Proxy) -> Result<(), Box<dyn std::error::Error>> {
    proxy.advance(Duration::from_millis(300));
    assert_eq!(proxy.get("/census").send()?.text(), "0 exchanges, 0 tasks, 0 callouts, 0 timers");
    let leaks = proxy.leaks();
    assert!(leaks.is_empty(), "{leaks}");
    Ok(())
}

on_every_engine! { callout_probe as "callout-probe";
    fn a_unary_call_brings_a_message(proxy) {
        let proxy = proxy.grpc_cluster("oracle", |_: &Request| GrpcAnswer::message(text("yes")));
        let (mut proxy, outcome) = outcome(proxy, "/unary")?;
        assert_eq!(outcome, "yes");
        let asked = &proxy.cluster_requests("oracle")[0];
        assert_eq!((asked.method(), asked.path()), ("POST", "/example.Oracle/Ask"));
        assert_eq!(asked.header("x-tenant"), Some("blue"));
        assert_eq!(asked.messages(), [text("question")]);
        nothing_is_left(&mut proxy)
    }

    fn a_status_of_the_peer_is_an_error_in_its_words(proxy) {
        let proxy = proxy.grpc_cluster("oracle", |_: &Request| GrpcAnswer::status(7, "not you"));
        let (_, outcome) = outcome(proxy, "/unary")?;
        assert_eq!(outcome, "permission denied (7) gRPC call `example.Oracle/Ask` to cluster `oracle`: permission denied: not you");
        Ok(())
    }

    fn no_answer_in_time_is_a_deadline(proxy) {
        let (mut proxy, outcome) = outcome(proxy.grpc_cluster("oracle", |_: &Request| GrpcAnswer::never()), "/unary-deadline")?;
        assert!(outcome.starts_with("deadline exceeded (4)"), "{outcome}");
        nothing_is_left(&mut proxy)
    }

    fn nobody_there_is_unavailable(proxy) {
        let (mut proxy, outcome) = outcome(proxy.unreachable_cluster("oracle"), "/unary")?;
        assert!(outcome.starts_with("unavailable (14)"), "{outcome}");
        nothing_is_left(&mut proxy)
    }

    fn a_server_that_knows_no_grpc_is_an_error(proxy) {
        let proxy = proxy.cluster("oracle", |_: &Request| Answer::new(404).body("what?"));
        let (mut proxy, outcome) = outcome(proxy, "/unary")?;
        assert!(outcome.contains("gRPC call"), "{outcome}");
        nothing_is_left(&mut proxy)
    }

    fn an_answer_that_is_no_message_is_an_error(proxy) {
        let (_, outcome) = outcome(proxy.grpc_cluster("oracle", |_: &Request| GrpcAnswer::message("\u{f}")), "/unary")?;
        assert!(outcome.contains("the answer is not the message that was expected"), "{outcome}");
        Ok(())
    }

    fn an_answer_beyond_the_limit_is_not_read(proxy) {
        let proxy = proxy.grpc_cluster("oracle", |_: &Request| GrpcAnswer::message(text("long")));
        let (mut proxy, outcome) = outcome(proxy, "/unary-small")?;
        assert!(outcome.starts_with("resource exhausted (8)"), "{outcome}");
        nothing_is_left(&mut proxy)
    }

    fn a_call_that_is_given_up_is_cancelled_at_the_host(proxy) {
        let (mut proxy, outcome) = outcome(proxy.grpc_cluster("oracle", |_: &Request| GrpcAnswer::never()), "/unary-late")?;
        assert_eq!(outcome, "left");
        nothing_is_left(&mut proxy)
    }

    fn a_client_that_leaves_cancels_the_call(proxy) {
        let mut proxy = proxy.grpc_cluster("oracle", |_: &Request| GrpcAnswer::never()).start()?;
        let exchange = proxy.get("/unary").open()?;
        proxy.advance(Duration::from_millis(50));
        proxy.abort(exchange);
        proxy.advance(Duration::from_millis(50));
        assert_eq!(proxy.leaks().callouts, 0);
        nothing_is_left(&mut proxy)
    }

    /// Envoy reads every service argument as a message first, and this name is a valid one.
    fn an_unknown_cluster_is_an_error_that_says_so(proxy) {
        let mut proxy = proxy.start()?;
        for path in ["/unary-nowhere", "/stream-nowhere"] {
            proxy.get(path).send()?;
            let outcome = proxy.upstream_requests().pop().and_then(|r| r.header("x-outcome").map(str::to_owned)).unwrap_or_default();
            assert!(outcome.contains("the host does not know the cluster"), "{outcome}");
        }
        Ok(())
    }

    /// Its name is a valid `GrpcService` about nothing.
    fn a_cluster_may_have_any_name(proxy) {
        let (_, outcome) = outcome(proxy.grpc_cluster("authority", |_: &Request| GrpcAnswer::message(text("yes"))), "/unary-nowhere")?;
        assert_eq!(outcome, "yes");
        Ok(())
    }

    fn a_method_needs_a_service(proxy) {
        let (_, outcome) = outcome(proxy.grpc_cluster("oracle", |_: &Request| GrpcAnswer::never()), "/unary-no-method")?;
        assert!(outcome.contains("`Ask` is no method, expected `package.Service/Method`"), "{outcome}");
        Ok(())
    }

    fn a_retry_asks_again_where_the_peer_is_unavailable(proxy) {
        let service = counting(|turn| if turn < 2 { GrpcAnswer::status(14, "busy") } else { GrpcAnswer::message(text("yes")) });
        let (mut proxy, outcome) = outcome(proxy.grpc_cluster("oracle", service), "/unary-retry")?;
        assert_eq!((outcome.as_str(), proxy.cluster_requests("oracle").len()), ("yes", 3));
        nothing_is_left(&mut proxy)
    }

    fn a_refusal_is_not_tried_again(proxy) {
        let (proxy, outcome) = outcome(proxy.grpc_cluster("oracle", |_: &Request| GrpcAnswer::status(7, "")), "/unary-retry")?;
        assert!(outcome.starts_with("permission denied"), "{outcome}");
        assert_eq!(proxy.cluster_requests("oracle").len(), 1);
        Ok(())
    }

    fn a_hedged_call_takes_the_first_good_answer_and_cancels_the_other(proxy) {
        let service = counting(|turn| if turn == 0 { GrpcAnswer::never() } else { GrpcAnswer::message(text("second")) });
        let (mut proxy, outcome) = outcome(proxy.grpc_cluster("oracle", service), "/unary-hedge")?;
        assert_eq!((outcome.as_str(), proxy.cluster_requests("oracle").len()), ("second", 2));
        nothing_is_left(&mut proxy)
    }

    fn a_stream_talks(proxy) {
        let (mut proxy, outcome) = outcome(proxy.grpc_stream_cluster("oracle", echo), "/stream")?;
        assert_eq!(outcome, "ONE,TWO,THREE hi!");
        assert_eq!(proxy.cluster_requests("oracle")[0].messages(), ["one", "two", "three"].map(text));
        nothing_is_left(&mut proxy)
    }

    fn a_stream_ends_with_the_peers_status(proxy) {
        let service = |call: &Request| match call.messages().len() {
            1 => GrpcAnswer::more().and_message(text("ONE")),
            _ => GrpcAnswer::status(9, "enough"),
        };
        let (mut proxy, outcome) = outcome(proxy.grpc_stream_cluster("oracle", service), "/stream")?;
        assert!(outcome.starts_with("failed precondition (9)") && outcome.ends_with("enough"), "{outcome}");
        nothing_is_left(&mut proxy)
    }

    fn a_stream_that_breaks_off_is_an_error(proxy) {
        let service = |_: &Request| GrpcAnswer::more().and_message(text("ONE")).cut();
        let (mut proxy, outcome) = outcome(proxy.grpc_stream_cluster("oracle", service), "/stream")?;
        assert!(outcome.starts_with("internal (13)"), "{outcome}");
        nothing_is_left(&mut proxy)
    }

    fn a_stream_without_a_peer_is_an_error(proxy) {
        let (mut proxy, outcome) = outcome(proxy.unreachable_cluster("oracle"), "/stream")?;
        assert!(outcome.starts_with("unavailable (14)"), "{outcome}");
        nothing_is_left(&mut proxy)
    }

    fn messages_that_nobody_takes_end_the_stream(proxy) {
        let service = |_: &Request| GrpcAnswer::more().and_message(text("a")).and_message(text("b"));
        let (mut proxy, outcome) = outcome(proxy.grpc_stream_cluster("oracle", service), "/stream-small")?;
        assert!(outcome.starts_with("resource exhausted (8)"), "{outcome}");
        nothing_is_left(&mut proxy)
    }

    fn a_stream_that_is_given_up_is_cancelled_at_the_host(proxy) {
        let (mut proxy, outcome) = outcome(proxy.grpc_stream_cluster("oracle", |_: &Request| GrpcAnswer::more()), "/stream-left")?;
        assert_eq!(outcome, "left");
        proxy.advance(Duration::from_millis(50));
        assert_eq!(proxy.leaks().callouts, 0);
        nothing_is_left(&mut proxy)
    }

    fn an_answer_of_the_5xx_is_tried_again_where_the_policy_says_so(proxy) {
        for (path, expected, asked) in [("/retry-5xx", "200 fine", 3), ("/retry-not", "503 busy", 1)] {
            let turns = AtomicUsize::new(0);
            let proxy = proxy.clone().cluster("service", move |_: &Request| {
                if turns.fetch_add(1, Ordering::Relaxed) < 2 { Answer::new(503).body("busy") } else { Answer::new(200).body("fine") }
            });
            let (proxy, outcome) = outcome(proxy, path)?;
            assert_eq!((outcome.as_str(), proxy.cluster_requests("service").len()), (expected, asked), "{path}");
        }
        Ok(())
    }

    fn a_hedged_request_takes_the_first_good_answer(proxy) {
        let turns = AtomicUsize::new(0);
        let proxy = proxy.cluster("service", move |_: &Request| {
            if turns.fetch_add(1, Ordering::Relaxed) == 0 { Answer::new(200).body("slow").after(Duration::from_secs(3)) } else { Answer::new(200).body("fast") }
        });
        let (mut proxy, outcome) = outcome(proxy, "/hedge")?;
        assert_eq!((outcome.as_str(), proxy.cluster_requests("service").len()), ("200 fast", 2));
        assert_eq!(proxy.get("/census").send()?.text(), "0 exchanges, 0 tasks, 0 callouts, 0 timers");
        Ok(())
    }

    fn an_early_answer_needs_no_second_request(proxy) {
        let (proxy, outcome) = outcome(proxy.cluster("service", |_: &Request| Answer::new(200)), "/hedge-late")?;
        assert_eq!((outcome.as_str(), proxy.cluster_requests("service").len()), ("200", 1));
        Ok(())
    }

    fn all_attempts_together_have_a_limit(proxy) {
        let (proxy, outcome) = outcome(proxy.cluster("service", |_: &Request| Answer::never()), "/within")?;
        assert_eq!(outcome, "callout to cluster `service`: no answer in time");
        let attempts = proxy.cluster_requests("service").len();
        assert!((2..=3).contains(&attempts), "{attempts}");
        Ok(())
    }

    fn a_good_trace_is_carried_and_a_bad_one_is_not(proxy) {
        let mut proxy = proxy
            .cluster("service", |_: &Request| Answer::new(200))
            .grpc_cluster("oracle", |_: &Request| GrpcAnswer::message(text("yes")))
            .start()?;
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for path in ["/traced", "/unary-traced", "/get"] {
            proxy.get(path).header("traceparent", parent).header("tracestate", "a=1").send()?;
            proxy.get(path).header("traceparent", "00-0-0-0").header("tracestate", "a=1").send()?;
        }
        let seen = |cluster: &str| -> Vec<_> {
            let requests = proxy.cluster_requests(cluster);
            requests.iter().map(|r| [r.header("traceparent"), r.header("tracestate")].map(|v| v.map(str::to_owned))).collect()
        };
        let good = [Some(parent.to_owned()), Some("a=1".to_owned())];
        assert_eq!(seen("service"), [good.clone(), [None, None], [None, None], [None, None]]);
        assert_eq!(seen("oracle"), [good, [None, None]]);
        Ok(())
    }

    fn what_cannot_be_asked_is_said(proxy) {
        let mut proxy = proxy.cluster("service", |_: &Request| Answer::new(200)).start()?;
        for (path, error) in [
            ("/no-path", "callout to cluster `service`: `ask` is no path: it has to begin with `/`"),
            ("/subset", "callout to cluster `outbound|80|v1|a.b`: the host does not know the cluster; check its name against the proxy's clusters"),
        ] {
            proxy.get(path).send()?;
            assert_eq!(proxy.upstream_requests().pop().unwrap().header("x-outcome"), Some(error));
        }
        assert_eq!(proxy.cluster_requests("service"), []);
        // Neither is known to be wrong by the engine: nothing was noticed.
        assert!(proxy.engine() == Engine::Envoy || proxy.findings().is_empty());
        Ok(())
    }
}
