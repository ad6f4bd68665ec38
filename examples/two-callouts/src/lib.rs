//! Asks two services at the same time, and lets the request pass with what they know before a deadline.

use std::rc::Rc;

use wasmplugin::config::Duration;
use wasmplugin::future::join;
use wasmplugin::{Cluster, Done, Http, Request, Result, time};

#[derive(serde::Deserialize)]
struct TwoCallouts {
    user: Cluster,
    quota: Cluster,
    deadline: Duration,
}

impl Http for TwoCallouts {
    async fn handle(self: Rc<Self>, mut request: Request) -> Result<Done> {
        let both = join(self.user.get("/user").send(), self.quota.get("/quota").send());
        if let Some((user, quota)) = time::timeout(self.deadline.into(), both).await {
            request.set_header("x-user", user?.body())?;
            request.set_header("x-quota", quota?.body())?;
        }
        request.pass()
    }
}

wasmplugin::plugin!(TwoCallouts, config = TwoCallouts);
