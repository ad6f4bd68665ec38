//! `external-auth` lets pass what a service lets pass, and nothing before the service has spoken.

use std::time::Duration;

use serde_json::json;
use wasmplugin_host::test::{Answer, Builder, Request};

use crate::engines::on_every_engine;

fn configured(proxy: Builder) -> Builder {
    proxy.config(json!({"cluster": "auth", "timeout": "1s"})).cluster("auth", |request: &Request| {
        match request.header("authorization") {
            Some("Bearer good") => Answer::new(200).header("x-user", "ada"),
            Some("Bearer slow") => Answer::new(200).header("x-user", "ada").after(Duration::from_millis(100)),
            Some("Bearer hang") => Answer::never(),
            Some("Bearer down") => Answer::unreachable(),
            Some("Bearer cut") => Answer::reset_after_headers(),
            Some("Bearer junk") => Answer::malformed(),
            _ => Answer::new(401),
        }
    })
}

on_every_engine! { external_auth as "external-auth";
    fn a_good_token_passes_with_the_users_name(proxy) {
        let mut proxy = configured(proxy).start()?;
        let answer = proxy.get("/a").header("authorization", "Bearer good").header("x-user", "mallory").send()?;
        assert_eq!(answer.status(), 200);
        let [request] = &proxy.upstream_requests()[..] else { panic!("one request reaches the upstream") };
        assert_eq!(request.headers().all("x-user"), ["ada"]);
        let [asked] = &proxy.cluster_requests("auth")[..] else { panic!("the service is asked once") };
        assert_eq!((asked.path(), asked.header("authorization")), ("/a", Some("Bearer good")));
        Ok(())
    }

    fn no_token_and_a_bad_one_are_denied(proxy) {
        let mut proxy = configured(proxy).start()?;
        assert_eq!(proxy.get("/").send()?.status(), 403);
        assert_eq!(proxy.get("/").header("authorization", "Bearer bad").send()?.status(), 403);
        assert_eq!(proxy.upstream_requests(), []);
        Ok(())
    }

    fn a_service_that_fails_lets_nothing_pass(proxy) {
        let mut proxy = configured(proxy).start()?;
        for token in ["hang", "down", "cut", "junk"] {
            let answer = proxy.get("/").header("authorization", format!("Bearer {token}")).send()?;
            assert_eq!(answer.status(), 503, "{token}");
        }
        assert_eq!(proxy.upstream_requests(), []);
        Ok(())
    }

    /// With this flag a pause at the headers does not keep the body back; the plugin has to, and the SDK does.
    fn no_body_byte_passes_before_the_decision(proxy) {
        let mut proxy = configured(proxy).allow_on_headers_stop_iteration(true).start()?;
        let denied = proxy.post("/").body("secret").send()?;
        assert_eq!(denied.status(), 403);
        assert_eq!(proxy.upstream_requests(), []);
        let passed = proxy.post("/").header("authorization", "Bearer slow").chunks(["se", "cret"]).send()?;
        assert_eq!(passed.status(), 200);
        let [request] = &proxy.upstream_requests()[..] else { panic!("one request reaches the upstream") };
        assert_eq!(request.text(), "secret");
        assert_eq!(request.header("x-user"), Some("ada"));
        Ok(())
    }

    fn a_large_body_waits_for_the_decision(proxy) {
        let mut proxy = configured(proxy).start()?;
        let body = "x".repeat(300_000);
        let answer = proxy.post("/").header("authorization", "Bearer slow").body(body.clone()).send()?;
        assert_eq!(answer.status(), 200);
        assert_eq!(proxy.upstream_requests()[0].text(), body);
        Ok(())
    }
}
