//! Closes some routes for maintenance, and leaves the others open.

use wasmplugin::routes::Routes;
use wasmplugin::{Flow, Http, Reply, RequestHead, Result};

#[derive(serde::Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
struct Maintenance {
    closed: bool,
    retry_after: u32,
}

#[derive(serde::Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(transparent)]
struct PerRoute(Routes<Maintenance>);

impl Http for PerRoute {
    fn on_request(&self, request: &mut RequestHead) -> Result<Flow> {
        let maintenance = self.0.of(request)?;
        if !maintenance.closed {
            return Ok(Flow::Continue);
        }
        Ok(Reply::new(503).header("retry-after", maintenance.retry_after.to_string()).details("maintenance").into())
    }
}

wasmplugin::plugin!(PerRoute, config = PerRoute);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wasmplugin_host::test::Proxy;

    #[test]
    fn a_route_may_be_closed() {
        let config = json!({
            "defaults": {"closed": false, "retry_after": 60},
            "routes": [
                {"match": [{"uri": {"exact": "/shop/status"}}], "config": {}},
                {"match": [{"uri": {"prefix": "/shop/"}, "method": {"exact": "POST"}}], "config": {"closed": true}},
            ],
        });
        let mut proxy = Proxy::native(super::register).config(config).start().unwrap();
        let closed = proxy.post("/shop/orders").send().unwrap();
        assert_eq!((closed.status(), closed.header("retry-after")), (503, Some("60")));
        assert_eq!(proxy.post("/shop/status").send().unwrap().status(), 200);
        assert_eq!(proxy.get("/shop/orders").send().unwrap().status(), 200);
    }
}
