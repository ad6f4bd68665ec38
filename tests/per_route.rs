//! `per-route` has another configuration for some routes.

use serde_json::json;

use crate::engines::on_every_engine;

on_every_engine! { per_route as "per-route";
    fn the_first_route_that_matches_wins(proxy) {
        let config = json!({
            "defaults": {"closed": false, "retry_after": 60},
            "routes": [
                {"match": [{"uri": {"exact": "/shop/status"}}], "config": {}},
                {"match": [{"uri": {"prefix": "/shop/"}, "method": {"exact": "POST"}}], "config": {"closed": true}},
                {"match": [{"headers": {"x-beta": {}}}], "hosts": ["*.example.com"], "config": {"closed": true, "retry_after": 5}},
            ],
        });
        let mut proxy = proxy.config(config).start()?;
        let closed = proxy.post("/shop/orders?now").send()?;
        assert_eq!((closed.status(), closed.header("retry-after")), (503, Some("60")));
        assert_eq!(proxy.post("/shop/status").send()?.status(), 200);
        assert_eq!(proxy.get("/shop/orders").send()?.status(), 200);
        let beta = proxy.get("/").header("x-beta", "").header(":authority", "Shop.Example.COM:8080").send()?;
        assert_eq!((beta.status(), beta.header("retry-after")), (503, Some("5")));
        assert_eq!(proxy.get("/").header("x-beta", "").send()?.status(), 200);
        assert_eq!(proxy.findings(), []);
        Ok(())
    }

    fn the_proxys_own_route_can_be_meant(proxy) {
        let config = json!({
            "defaults": {"closed": false, "retry_after": 60},
            "routes": [{"match": [{"routeName": {"exact": "checkout"}}], "config": {"closed": true}}],
        });
        let other = proxy.clone().config(config.clone()).start()?.get("/").send()?.status();
        let meant = proxy.config(config).route_name("checkout").start()?.get("/").send()?.status();
        assert_eq!((other, meant), (200, 503));
        Ok(())
    }

    fn a_mistake_in_a_route_refuses_the_configuration(proxy) {
        let config = json!({
            "defaults": {"closed": false, "retry_after": 60},
            "routes": [{"config": {"closed": true}}, {"config": {"retry_after": "soon"}}],
        });
        let refused = proxy.config(config).start().map(drop).unwrap_err().to_string();
        assert!(refused.contains("at `routes[1].config.retry_after`: invalid type: string `soon`"), "{refused}");
        Ok(())
    }
}

/// The module, for tests of what it says about itself.
pub(crate) fn module() -> std::path::PathBuf {
    PLUGIN.module()
}
