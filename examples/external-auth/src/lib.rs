//! Asks a service whether a request may pass, and tells the upstream who the user is.

use std::rc::Rc;

use wasmplugin::config::Duration;
use wasmplugin::{Cluster, Done, Http, Reply, Request, Result};

#[derive(serde::Deserialize)]
struct ExternalAuth {
    cluster: Cluster,
    timeout: Duration,
}

impl Http for ExternalAuth {
    async fn handle(self: Rc<Self>, mut request: Request) -> Result<Done> {
        let check = self.cluster.get(request.path()?).headers_from(request.headers()?, &["authorization"]);
        let answer = check.timeout(self.timeout).send().await?;
        if answer.status() != 200 {
            return request.reply(Reply::new(403).details("external_auth_denied"));
        }
        request.set_header("x-user", answer.headers().get("x-user").ok_or("the answer names no user")?)?;
        request.pass()
    }
}

wasmplugin::plugin!(ExternalAuth, config = ExternalAuth);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wasmplugin_host::test::{Answer, Proxy, Request};

    fn proxy() -> Proxy {
        let auth = |request: &Request| match request.header("authorization") {
            Some("Bearer good") => Answer::new(200).header("x-user", "ada"),
            Some("Bearer slow") => Answer::never(),
            _ => Answer::new(401),
        };
        let config = json!({"cluster": "auth", "timeout": "250ms"});
        Proxy::native(super::register).config(config).cluster("auth", auth).start().unwrap()
    }

    #[test]
    fn a_good_token_passes_and_names_the_user() {
        let mut proxy = proxy();
        assert_eq!(proxy.get("/").header("authorization", "Bearer good").send().unwrap().status(), 200);
        assert_eq!(proxy.upstream_requests()[0].header("x-user"), Some("ada"));
    }

    #[test]
    fn everything_else_stays_outside() {
        let mut proxy = proxy();
        assert_eq!(proxy.get("/").send().unwrap().status(), 403);
        assert_eq!(proxy.get("/").header("authorization", "Bearer slow").send().unwrap().status(), 503);
        assert!(proxy.upstream_requests().is_empty());
    }
}
