//! Adds the headers of its configuration to every response that lacks them.

use std::collections::BTreeMap;

use wasmplugin::config::ConfigError;
use wasmplugin::{Flow, Http, ResponseHead, Result};

#[derive(serde::Deserialize)]
struct Config {
    headers: BTreeMap<String, String>,
}

struct ConfiguredHeaders(BTreeMap<String, String>);

impl TryFrom<Config> for ConfiguredHeaders {
    type Error = ConfigError;

    fn try_from(config: Config) -> Result<Self, ConfigError> {
        match config.headers.keys().find(|name| name.is_empty() || name.starts_with(':')) {
            Some(name) => Err(ConfigError::at("headers", format!("`{name}` cannot be added to a response"))),
            None => Ok(Self(config.headers)),
        }
    }
}

impl Http for ConfiguredHeaders {
    fn on_response(&self, response: &mut ResponseHead) -> Result<Flow> {
        for (name, value) in &self.0 {
            if !response.headers()?.contains(name) {
                response.set_header(name, value)?;
            }
        }
        Ok(Flow::Continue)
    }
}

wasmplugin::plugin!(ConfiguredHeaders, config = Config);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wasmplugin_host::test::{Answer, Proxy};

    #[test]
    fn what_the_upstream_sets_stays() {
        let config = json!({"headers": {"x-frame-options": "DENY", "referrer-policy": "no-referrer"}});
        let upstream = |_: &wasmplugin_host::test::Request| Answer::new(200).header("x-frame-options", "SAMEORIGIN");
        let mut proxy = Proxy::native(super::register).config(config).upstream(upstream).start().unwrap();
        let answer = proxy.get("/").send().unwrap();
        assert_eq!(answer.header("x-frame-options"), Some("SAMEORIGIN"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    }

    #[test]
    fn a_pseudo_header_is_refused() {
        let refused = Proxy::native(super::register).config(json!({"headers": {":status": "200"}})).start();
        assert!(refused.unwrap_err().to_string().contains("at `headers`: `:status` cannot be added to a response"));
    }
}
