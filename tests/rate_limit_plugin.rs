//! `rate-limit`, the plugin: each has a share, over all workers, and whoever asks too often hears when to come back.

use serde_json::{Value, json};
use wasmplugin_host::test::{Builder, Engine, Tls};

use crate::engines::on_every_engine;
use crate::hostile;

fn limits(proxy: Builder, limits: Value) -> Builder {
    proxy.config(json!({"limits": limits}))
}

on_every_engine! { rate_limit_plugin as "rate-limit-plugin";
    fn each_value_of_a_header_has_a_share(proxy) {
        let limit = json!({"name": "users", "requests": 2, "unit": "minute", "per": [{"header": "x-user"}]});
        let mut proxy = limits(proxy, json!([limit])).workers(2).start()?;
        let mut ask = |user: &'static str| proxy.get("/").header("x-user", user).send().map(|response| response.status());
        assert_eq!([ask("ada")?, ask("ada")?, ask("ada")?, ask("bob")?], [200, 200, 429, 200]);
        let refused = proxy.get("/").header("x-user", "ada").send()?;
        let wait: u64 = refused.header("retry-after").unwrap_or_default().parse()?;
        assert!((25..=30).contains(&wait), "{wait} s");
        assert_eq!(refused.text(), "local_rate_limited");
        assert_eq!((proxy.metric("rate_limit.ok"), proxy.metric("rate_limit.rate_limited")), (Some(3), Some(2)));
        Ok(())
    }

    fn a_limit_is_for_its_paths_and_every_limit_counts(proxy) {
        let api = json!({"name": "api", "requests": 1, "unit": "hour", "path_prefixes": ["/api"]});
        let all = json!({"name": "all", "requests": 3, "unit": "hour"});
        let mut proxy = limits(proxy, json!([api, all])).start()?;
        let mut ask = |path: &str| proxy.get(path).send().map(|response| response.status());
        assert_eq!([ask("/api")?, ask("/api")?, ask("/")?, ask("/")?, ask("/")?], [200, 429, 200, 200, 429]);
        Ok(())
    }

    fn no_byte_gets_a_path_around_its_limit(proxy) {
        let mut proxy = limits(proxy, json!([{"name": "api", "requests": 1, "unit": "hour", "path_prefixes": ["/api"]}])).start()?;
        let mut ask = || proxy.get("/").header(":path", b"/api\xff".to_vec()).send().map(|response| response.status());
        let statuses = [ask()?, ask()?];
        assert!([[200, 429], [400, 400]].contains(&statuses), "{statuses:?}");
        Ok(())
    }

    fn principals_are_told_apart_by_their_certificates(proxy) {
        let limit = json!({"name": "p", "requests": 1, "unit": "hour", "per": ["principal", "route", "address"]});
        let tls = Tls { mutual: true, peer_uris: vec!["spiffe://a/ns/b/sa/c".to_owned()], ..Tls::default() };
        let mut proxy = limits(proxy, json!([limit])).tls(tls).start()?;
        assert_eq!((proxy.get("/").send()?.status(), proxy.get("/").send()?.status()), (200, 429));
        Ok(())
    }

    fn grpc_clients_hear_it_in_their_own_way(proxy) {
        let mut proxy = limits(proxy, json!([{"name": "g", "requests": 1, "unit": "hour"}])).http2(true).start()?;
        assert_eq!(proxy.post("/a.B/C").header("content-type", "application/grpc").send()?.status(), 200);
        let refused = proxy.post("/a.B/C").header("content-type", "application/grpc").send()?;
        assert_eq!((refused.status(), refused.header("grpc-status")), (200, Some("8")));
        assert_eq!(refused.header("grpc-message"), Some("local_rate_limited"));
        Ok(())
    }

    /// Each is somebody of their own at most, and takes nothing from the others.
    fn hostile_values_use_up_no_share_but_their_own(proxy) {
        let limit = json!({"name": "users", "requests": 2, "unit": "hour", "per": [{"header": "x-user"}]});
        let mut proxy = limits(proxy, json!([limit])).workers(2).start()?;
        for request in hostile::requests("x-user") {
            let status = hostile::send(&mut proxy, &request)?;
            let expected: &[_] = match (proxy.engine(), request.0) {
                (Engine::Envoy, _) => &[None, Some(400), Some(431), Some(200)],
                // It passes the plugin; the router sends no such value on.
                (_, "NUL") => &[Some(503)],
                _ => &[Some(200)],
            };
            assert!(expected.contains(&status), "{}: {status:?}, {:?}", request.0, proxy.logs());
        }
        let mut ask = |user: &'static str| proxy.get("/").header("x-user", user).send().map(|response| response.status());
        assert_eq!([ask("ada")?, ask("ada")?, ask("ada")?, ask("bob")?], [200, 200, 429, 200]);
        assert_eq!(proxy.metric("rate_limit.error").unwrap_or_default(), 0);
        Ok(())
    }

    fn a_mistake_refuses_the_configuration(proxy) {
        let limit = json!({"name": "a", "requests": 1});
        let error = limits(proxy, json!([limit, limit])).start().map(drop).unwrap_err().to_string();
        assert!(error.contains("`limits[1].name`"), "{error}");
        Ok(())
    }
}
