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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use wasmplugin_host::test::{Answer, Proxy};

    fn user_seen_when_quota_takes(delay: Duration) -> Option<String> {
        let mut proxy = Proxy::native(super::register)
            .config(json!({"user": "user", "quota": "quota", "deadline": "100ms"}))
            .cluster("user", |_| Answer::new(200).body("ada"))
            .cluster("quota", move |_| Answer::new(200).body("7").after(delay))
            .start()
            .unwrap();
        assert_eq!(proxy.get("/").send().unwrap().status(), 200);
        proxy.upstream_requests()[0].header("x-user").map(str::to_owned)
    }

    #[test]
    fn both_answers_are_waited_for_until_the_deadline() {
        assert_eq!(user_seen_when_quota_takes(Duration::from_millis(50)).as_deref(), Some("ada"));
        assert_eq!(user_seen_when_quota_takes(Duration::from_secs(1)), None);
    }
}
