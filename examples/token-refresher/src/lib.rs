//! Adds an access token to every request; a singleton fetches it, and refreshes it before it expires or when it is rejected.

use std::rc::Rc;
use std::time::Duration;

use wasmplugin::background::Singleton;
use wasmplugin::shared::{Queue, Shared, SharedCell};
use wasmplugin::time::{now, sleep, timeout};
use wasmplugin::{Cluster, Done, Http, Reply, Request, Result};

/// When a token expires, in seconds since 1970, and the token.
type Token = (u64, String);

fn token() -> SharedCell<Token> {
    Shared::of("token-refresher").cell("token")
}

/// Tokens that the upstream did not accept, by their expiry.
fn rejected() -> Queue<u64> {
    Shared::of("token-refresher").queue("rejected")
}

/// On every worker, among the filters.
struct AddToken;

impl Http for AddToken {
    async fn handle(self: Rc<Self>, mut request: Request) -> Result<Done> {
        let Some((expires, token)) = token().get()?.filter(|(expires, _)| now().as_secs() < *expires) else {
            return request.reply(Reply::new(503).details("no_access_token"));
        };
        request.set_header("authorization", format!("Bearer {token}"))?;
        let response = request.forward().await?;
        if response.status()? == 401 {
            rejected().send(&expires)?;
        }
        response.pass()
    }
}

/// Once per proxy, as a bootstrap extension.
#[derive(serde::Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
struct Refresher {
    cluster: Cluster,
    path: String,
    /// The client's credentials as the body of a token request (RFC 6749 §4.4.2).
    form: String,
}

#[derive(serde::Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

impl Singleton for Refresher {
    async fn run(self: Rc<Self>) -> Result<()> {
        let rejected = rejected().consume()?;
        loop {
            let fresh = self.fetch().await?;
            token().set(&fresh)?;
            // Never more than one request a second, whatever the upstream rejects.
            sleep(Duration::from_secs(1)).await;
            let left = Duration::from_secs(fresh.0).saturating_sub(now());
            let rejection = async {
                while rejected.next().await? != fresh.0 {}
                Result::<()>::Ok(())
            };
            timeout(left.mul_f64(0.8), rejection).await.transpose()?;
        }
    }
}

impl Refresher {
    async fn fetch(&self) -> Result<Token> {
        let call = self.cluster.post(&self.path).header("content-type", "application/x-www-form-urlencoded");
        let answer = call.body(self.form.clone()).send().await?;
        if answer.status() != 200 {
            return Err(format!("no access token: status {}", answer.status()).into());
        }
        // An error of JSON would quote the answer.
        let granted: Granted = answer.json().map_err(|_| "no access token: the answer is not readable")?;
        if granted.access_token.is_empty() || !granted.access_token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("no access token: its characters are not those of RFC 6750".into());
        }
        Ok((now().as_secs().saturating_add(granted.expires_in), granted.access_token))
    }
}

wasmplugin::plugin!("refresher" => Refresher: Singleton, config = Refresher; "" => AddToken);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use wasmplugin_host::test::{Answer, Proxy};

    #[test]
    fn a_request_gets_the_token_once_there_is_one() {
        let config = json!({"cluster": "idp", "path": "/token", "form": "grant_type=client_credentials"});
        let refresher = Proxy::native(super::register).root_id("refresher").config(config);
        let grant = |_: &_| Answer::new(200).body(r#"{"access_token": "t0ken", "expires_in": 300}"#);
        let mut proxy = Proxy::native(super::register).singleton(refresher).cluster("idp", grant).start().unwrap();

        assert_eq!(proxy.get("/").send().unwrap().status(), 503);
        proxy.advance(Duration::from_millis(10));
        assert_eq!(proxy.get("/").send().unwrap().status(), 200);
        assert_eq!(proxy.upstream_requests()[0].header("authorization"), Some("Bearer t0ken"));
        assert_eq!(proxy.cluster_requests("idp")[0].text(), "grant_type=client_credentials");
    }
}
