//! `token-refresher` adds a token that one singleton keeps fresh, and lets nothing pass without one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use wasmplugin_host::test::{Answer, Builder, Failure, Proxy, Request};

use crate::engines::on_every_engine;

/// Four workers and the singleton; the n-th token is `secret-n`, from 0, and the provider says for how long.
fn refreshed(proxy: Builder, grant: impl Fn(u64) -> Option<u64> + Send + Sync + 'static) -> Builder {
    let form = "grant_type=client_credentials&client_id=me&client_secret=hidden";
    let refresher = proxy
        .clone()
        .root_id("refresher")
        .name("refresher")
        .config(json!({"cluster": "idp", "path": "/token", "form": form}));
    let granted = AtomicU64::new(0);
    proxy.workers(4).singleton(refresher).cluster("idp", move |_: &Request| {
        let number = granted.fetch_add(1, Ordering::Relaxed);
        match grant(number) {
            Some(seconds) => {
                let token =
                    json!({"access_token": format!("secret-{number}"), "token_type": "Bearer", "expires_in": seconds});
                Answer::new(200).body(token.to_string())
            }
            None => Answer::new(500).body("secret-of-the-provider"),
        }
    })
}

/// Lets time pass until a request is answered so; a real Envoy takes its time.
fn until(proxy: &mut Proxy, so: impl Fn(u16, Option<&str>) -> bool) -> Result<(), String> {
    for _ in 0..200 {
        let status = proxy.get("/").send().map_err(|failure: Failure| failure.to_string())?.status();
        let seen = proxy.upstream_requests().pop();
        if so(status, seen.as_ref().and_then(|request| request.header("authorization"))) {
            return Ok(());
        }
        proxy.advance(Duration::from_millis(50));
    }
    Err(format!("it never was so: {:?}", proxy.logs()))
}

/// Neither the tokens nor the client's secret are anywhere in the log.
fn nothing_is_told(proxy: &mut Proxy) -> bool {
    !proxy.logs().iter().any(|line| line.text.contains("secret") || line.text.contains("hidden"))
}

on_every_engine! { token_refresher as "token-refresher";
    fn a_token_is_fetched_once_for_all_workers_and_refreshed_before_it_expires(proxy) {
        let mut proxy = refreshed(proxy, |_| Some(4)).start()?;
        until(&mut proxy, |status, token| status == 200 && token == Some("Bearer secret-0"))?;
        for _ in 0..20 {
            let answer = proxy.get("/").header("authorization", "Basic of-the-client").send()?;
            assert_eq!(answer.status(), 200);
        }
        assert!(proxy.upstream_requests().iter().all(|request| request.header("authorization") == Some("Bearer secret-0")));
        let asked = proxy.cluster_requests("idp");
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].text(), "grant_type=client_credentials&client_id=me&client_secret=hidden");
        until(&mut proxy, |status, token| {
            assert_eq!(status, 200, "no request is without a token while they change");
            token == Some("Bearer secret-1")
        })?;
        assert!(nothing_is_told(&mut proxy), "{:?}", proxy.logs());
        Ok(())
    }

    fn a_token_that_the_upstream_rejects_is_refreshed_at_once(proxy) {
        let mut proxy = refreshed(proxy, |_| Some(3_600))
            .upstream(|request: &Request| match request.header("authorization") {
                Some("Bearer secret-0") => Answer::new(401),
                _ => Answer::new(200),
            })
            .start()?;
        until(&mut proxy, |status, _| status == 401)?;
        until(&mut proxy, |status, token| status == 200 && token == Some("Bearer secret-1"))?;
        assert_eq!(proxy.cluster_requests("idp").len(), 2, "many rejections of one token are one refresh");
        assert!(nothing_is_told(&mut proxy), "{:?}", proxy.logs());
        Ok(())
    }

    fn without_a_token_nothing_passes(proxy) {
        let mut proxy = refreshed(proxy, |number| (number == 0).then_some(2)).start()?;
        until(&mut proxy, |status, _| status == 200)?;
        until(&mut proxy, |status, _| status == 503)?;
        let passed = proxy.upstream_requests().len();
        assert_eq!(proxy.get("/").header("authorization", "Bearer of-the-client").send()?.status(), 503);
        assert_eq!(proxy.upstream_requests().len(), passed);
        until(&mut proxy, |status, _| {
            assert_eq!(status, 503);
            true
        })?;
        assert!(nothing_is_told(&mut proxy), "{:?}", proxy.logs());
        Ok(())
    }

    fn a_provider_that_cannot_be_reached_is_asked_again(proxy) {
        let mut proxy = refreshed(proxy, |number| (number > 0).then_some(60)).start()?;
        until(&mut proxy, |status, _| status == 200)?;
        let expected = "the background task failed and starts again in 1 s: no access token: status 500";
        assert!(proxy.logs().iter().any(|line| line.text == expected), "{:?}", proxy.logs());
        Ok(())
    }
}

/// The module, for tests of what it says about itself.
pub(crate) fn module() -> std::path::PathBuf {
    PLUGIN.module()
}
