//! Lets pass what an expression in CEL allows; the host evaluates it over the attributes of the request.

use wasmplugin::cel::Expression;
use wasmplugin::{Flow, Http, Reply, RequestHead, Result};

#[derive(serde::Deserialize)]
struct CelGate {
    allow: Expression,
}

impl Http for CelGate {
    /// An expression that has no value is an error, and so a 500: nothing passes that was not allowed.
    fn on_request(&self, request: &mut RequestHead) -> Result<Flow> {
        if self.allow.holds(request)? {
            Ok(Flow::Continue)
        } else {
            Ok(Reply::new(403).details("cel_gate_denied").into())
        }
    }
}

wasmplugin::plugin!(CelGate, config = CelGate);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wasmplugin_host::test::Proxy;

    #[test]
    fn what_is_allowed_passes() {
        let config = json!({"allow": "request.method == 'GET' || 'x-admin' in request.headers"});
        let mut proxy = Proxy::native(super::register).config(config).start().unwrap();
        assert_eq!(proxy.get("/").send().unwrap().status(), 200);
        assert_eq!(proxy.post("/").send().unwrap().status(), 403);
        assert_eq!(proxy.post("/").header("x-admin", "1").send().unwrap().status(), 200);
    }
}
