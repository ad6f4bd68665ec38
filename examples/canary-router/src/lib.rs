//! Routes a share of the users to a canary: always the same users, by a hash of who they are.

use wasmplugin::{Flow, Http, RequestHead, Result, attributes};

#[derive(serde::Deserialize)]
struct CanaryRouter {
    /// How many of 100 users get the canary.
    percent: u8,
    /// The header that says who the user is; without it, or where it is absent, the client's address counts.
    user_header: Option<String>,
}

impl Http for CanaryRouter {
    fn on_request(&self, request: &mut RequestHead) -> Result<Flow> {
        let chosen = self.user(request)?.is_some_and(|user| bucket(&user) < self.percent);
        // Whatever the client says about itself is not asked.
        request.set_header("x-canary", if chosen { "1" } else { "0" })?;
        request.clear_route_cache()?;
        Ok(Flow::Continue)
    }
}

impl CanaryRouter {
    /// Who is asking; nobody where the proxy does not know the client's address.
    fn user(&self, request: &RequestHead) -> Result<Option<Vec<u8>>> {
        if let Some(name) = &self.user_header
            && let Some(user) = request.headers()?.get(name)
        {
            return Ok(Some(user.as_bytes().to_vec()));
        }
        let address = request.attribute(attributes::SOURCE_ADDRESS)?;
        Ok(address.and_then(|address| address.ip()).map(|ip| ip.to_string().into_bytes()))
    }
}

/// A number below 100 that is the same for a user on every worker and every proxy: FNV-1a.
fn bucket(user: &[u8]) -> u8 {
    let hash = user
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    u8::try_from((hash ^ (hash >> 32)) % 100).unwrap_or_default()
}

wasmplugin::plugin!(CanaryRouter, config = CanaryRouter);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wasmplugin_host::test::{Answer, Proxy, Request, Route};

    #[test]
    fn about_a_tenth_of_the_users_get_the_canary() {
        let mut proxy = Proxy::native(super::register)
            .config(json!({"percent": 10, "user_header": "x-user"}))
            .cluster("canary", |_: &Request| Answer::new(200).body("canary"))
            .route(Route::to("canary").header("x-canary", "1"))
            .start()
            .unwrap();
        let users = (0..1000).map(|user| format!("user-{user}"));
        let chosen = users.filter(|user| {
            let answer = proxy.get("/").header("x-user", user.clone()).send().unwrap();
            answer.text() == "canary"
        });
        assert!((70..130).contains(&chosen.count()));
    }
}
