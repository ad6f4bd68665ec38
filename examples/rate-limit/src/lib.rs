//! Limits how often a client may ask, over all workers of the proxy.

use wasmplugin::shared::{Rate, Shared, Take};
use wasmplugin::{Flow, Http, Reply, RequestHead, Result};

#[derive(serde::Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
struct RateLimit {
    header: String,
    limit: Rate,
}

impl Http for RateLimit {
    fn on_request(&self, request: &mut RequestHead) -> Result<Flow> {
        let client = request.headers()?.get(&self.header).unwrap_or_default();
        Ok(match Shared::of("rate-limit").bucket("clients", self.limit).take(client, 1)? {
            Take::Granted { .. } => Flow::Continue,
            Take::Empty { retry_after } => {
                let seconds = retry_after.as_secs_f64().ceil();
                Reply::new(429).header("retry-after", seconds.to_string()).into()
            }
        })
    }
}

wasmplugin::plugin!(RateLimit, config = RateLimit);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use wasmplugin_host::test::Proxy;

    #[test]
    fn who_asks_too_often_waits() {
        let config = json!({"header": "x-user", "limit": {"per_second": 1, "burst": 2}});
        let mut proxy = Proxy::native(super::register).config(config).start().unwrap();
        let mut ask = |user: &str| proxy.get("/").header("x-user", user.to_owned()).send().unwrap().status();
        assert_eq!([ask("ada"), ask("ada"), ask("ada"), ask("bob")], [200, 200, 429, 200]);
        proxy.advance(Duration::from_secs(1));
        assert_eq!(proxy.get("/").header("x-user", "ada").send().unwrap().status(), 200);
    }
}
