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
        let check = self.cluster.get("/check").headers_from(request.headers()?, &[":path", "authorization"]);
        let answer = check.timeout(self.timeout).send().await?;
        if answer.status() != 200 {
            return request.reply(Reply::new(403).details("external_auth_denied"));
        }
        request.set_header("x-user", answer.headers().get("x-user").ok_or("the answer names no user")?)?;
        request.pass()
    }
}

wasmplugin::plugin!(ExternalAuth, config = ExternalAuth);
