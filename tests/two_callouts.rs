//! `two-callouts` asks two services at once, and does not wait longer than its deadline.

use std::time::Duration;

use serde_json::json;
use wasmplugin_host::test::{Answer, Builder, Request};

use crate::engines::on_every_engine;

fn configured(proxy: Builder, delay: Duration) -> Builder {
    proxy
        .config(json!({"user": "user", "quota": "quota", "deadline": "200ms"}))
        .cluster("user", |_: &Request| Answer::new(200).body("ada"))
        .cluster("quota", move |_: &Request| Answer::new(200).body("7").after(delay))
}

on_every_engine! { two_callouts as "two-callouts";
    fn both_answers_reach_the_upstream(proxy) {
        let mut proxy = configured(proxy, Duration::ZERO).start()?;
        assert_eq!(proxy.get("/").send()?.status(), 200);
        let [request] = &proxy.upstream_requests()[..] else { panic!("one request reaches the upstream") };
        assert_eq!((request.header("x-user"), request.header("x-quota")), (Some("ada"), Some("7")));
        Ok(())
    }

    fn after_the_deadline_the_request_passes_without(proxy) {
        let mut proxy = configured(proxy, Duration::from_secs(2)).start()?;
        assert_eq!(proxy.get("/").send()?.status(), 200);
        let [request] = &proxy.upstream_requests()[..] else { panic!("one request reaches the upstream") };
        assert_eq!((request.header("x-user"), request.header("x-quota")), (None, None));
        Ok(())
    }
}
