//! `canary-router` sends a user to the canary or to the usual upstream, and never to both.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::json;
use wasmplugin_host::test::{Answer, Builder, Request, Route};

use crate::engines::on_every_engine;

fn routed(proxy: Builder, percent: u8) -> Builder {
    proxy
        .config(json!({"percent": percent, "user_header": "x-user"}))
        .upstream(|_: &Request| Answer::new(200).body("upstream"))
        .cluster("canary", |_: &Request| Answer::new(200).body("canary"))
        .route(Route::to("canary").name("canary").header("x-canary", "1"))
}

on_every_engine! { canary_router as "canary-router";
    fn all_or_none_follow_the_percentage(proxy) {
        for (percent, text) in [(0, "upstream"), (100, "canary")] {
            let mut proxy = routed(proxy.clone(), percent).start()?;
            assert_eq!(proxy.get("/").header("x-user", "ada").send()?.text(), text);
            // Nobody chooses for himself.
            assert_eq!(proxy.get("/").header("x-user", "ada").header("x-canary", "1").send()?.text(), text);
            let (canary, usual) = (proxy.cluster_requests("canary").len(), proxy.upstream_requests().len());
            assert_eq!((canary, usual), if percent == 100 { (2, 0) } else { (0, 2) });
        }
        Ok(())
    }

    fn a_user_stays_where_it_is(proxy) {
        let mut proxy = routed(proxy, 50).start()?;
        let mut seen = Vec::new();
        for user in ["ada", "bob", "cleo", "dora", "emil", "fred", "gina", "hugo"] {
            let first = proxy.get("/a").header("x-user", user).send()?.text();
            assert_eq!(proxy.get("/b").header("x-user", user).send()?.text(), first, "{user}");
            seen.push(first);
        }
        assert!(seen.iter().any(|text| text == "canary") && seen.iter().any(|text| text == "upstream"), "{seen:?}");
        Ok(())
    }

    fn without_the_header_the_clients_address_counts(proxy) {
        let mut seen = Vec::new();
        for last in 1..=4 {
            let client = SocketAddr::from((Ipv4Addr::new(10, 0, 0, last), 4444));
            let mut proxy = routed(proxy.clone(), 80).client(client).start()?;
            seen.push(proxy.get("/").send()?.text());
        }
        assert!(seen.iter().any(|text| text == "canary") && seen.iter().any(|text| text == "upstream"), "{seen:?}");
        Ok(())
    }
}
