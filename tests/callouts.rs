//! Requests of plugins to clusters: answers, failures, retries, several at once, answers that come too late.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use wasmplugin_host::test::{Answer, Engine, Request};

use crate::engines::on_every_engine;

on_every_engine! { probe as "probe";
    fn an_answer_arrives_with_everything(proxy) {
        let mut proxy = proxy
            .cluster("service", |_: &Request| Answer::new(202).body("fine").trailer("x-trailer", "end"))
            .start()?;
        assert_eq!(proxy.get("/call").send()?.status(), 200);
        let [asked] = &proxy.cluster_requests("service")[..] else { panic!("one callout") };
        assert_eq!((asked.method(), asked.path(), asked.authority()), ("POST", "/ask", "service"));
        assert_eq!((asked.header("x-id"), asked.text().as_ref()), (Some("7"), "question"));
        // Over HTTP/1.1 a body with a length leaves no place for trailers, and Envoy drops them.
        let carried = proxy.engine() != Engine::Envoy;
        assert_eq!(asked.trailers().get("x-sum"), carried.then_some("1"));
        assert_eq!(proxy.upstream_requests()[0].header("x-outcome"), Some("202 fine end"));
        Ok(())
    }

    fn each_failure_has_its_name(proxy) {
        let mut proxy = proxy.cluster("service", |_: &Request| Answer::never()).start()?;
        proxy.get("/call-deadline").send()?;
        assert_eq!(proxy.upstream_requests()[0].header("x-outcome"), Some("Timeout"));
        Ok(())
    }

    fn a_connection_that_breaks_is_unreachable(proxy) {
        let mut proxy = proxy.cluster("service", |_: &Request| Answer::reset()).start()?;
        proxy.get("/call").send()?;
        assert_eq!(proxy.upstream_requests()[0].header("x-outcome"), Some("Unreachable"));
        Ok(())
    }

    fn an_answer_that_breaks_off_is_reset(proxy) {
        let mut proxy = proxy.cluster("service", |_: &Request| Answer::reset_after_headers()).start()?;
        proxy.get("/call").send()?;
        assert_eq!(proxy.upstream_requests()[0].header("x-outcome"), Some("Reset"));
        Ok(())
    }

    fn bytes_that_are_not_http_are_malformed(proxy) {
        let mut proxy = proxy.cluster("service", |_: &Request| Answer::malformed()).start()?;
        proxy.get("/call").send()?;
        assert_eq!(proxy.upstream_requests()[0].header("x-outcome"), Some("Malformed"));
        Ok(())
    }

    fn a_real_503_is_an_answer(proxy) {
        let mut proxy = proxy.cluster("service", |_: &Request| Answer::new(503).body("busy")).start()?;
        proxy.get("/call").send()?;
        assert_eq!(proxy.upstream_requests()[0].header("x-outcome"), Some("503 busy"));
        Ok(())
    }

    fn an_unknown_cluster_is_an_error_that_says_so(proxy) {
        let mut proxy = proxy.start()?;
        let answer = proxy.get("/call-unknown").send()?;
        assert_eq!(answer.text(), "callout to cluster `nowhere`: the host does not know the cluster; check its name against the proxy's clusters");
        Ok(())
    }

    fn a_retry_asks_again_until_there_is_an_answer(proxy) {
        let asked = AtomicUsize::new(0);
        let mut proxy = proxy.cluster("service", move |_: &Request| {
            if asked.fetch_add(1, Ordering::Relaxed) < 2 { Answer::reset() } else { Answer::new(200) }
        }).start()?;
        assert_eq!(proxy.get("/call-retry").send()?.status(), 200);
        assert_eq!(proxy.cluster_requests("service").len(), 3);
        Ok(())
    }

    fn joined_answers_come_in_the_order_asked(proxy) {
        let mut proxy = proxy.cluster("service", |request: &Request| {
            let delay = if request.path() == "/a" { 60 } else { 0 };
            Answer::new(200).body(request.path()[1..].to_owned()).after(Duration::from_millis(delay))
        }).start()?;
        proxy.get("/join").send()?;
        assert_eq!(proxy.upstream_requests()[0].header("x-outcome"), Some("abcde"));
        Ok(())
    }

    fn an_answer_that_comes_too_late_finds_nobody(proxy) {
        let mut proxy = proxy
            .cluster("service", |_: &Request| Answer::new(200).after(Duration::from_secs(1)))
            .start()?;
        assert_eq!(proxy.get("/call-late").send()?.status(), 200);
        proxy.advance(Duration::from_millis(1_100));
        assert_eq!(proxy.get("/census").send()?.text(), "0 exchanges, 0 tasks, 0 callouts, 0 timers");
        Ok(())
    }

    fn a_client_that_leaves_while_the_plugin_waits_leaves_nothing_behind(proxy) {
        let mut proxy = proxy
            .cluster("service", |_: &Request| Answer::new(200).after(Duration::from_secs(2)))
            .start()?;
        let exchange = proxy.get("/call").open()?;
        assert!(proxy.waiting(&exchange) || proxy.engine() != Engine::Envoy);
        proxy.abort(exchange);
        proxy.advance(Duration::from_millis(2_300));
        assert_eq!(proxy.upstream_requests(), []);
        assert_eq!(proxy.get("/census").send()?.text(), "0 exchanges, 0 tasks, 0 callouts, 0 timers");
        Ok(())
    }
}
