//! HTTP Basic authentication as a plugin: `istio_core::basic_auth` decides, this carries facts in and decisions out.

use istio_core::basic_auth::{BasicAuth, Config, Facts};
use wasmplugin::config::ConfigError;
use wasmplugin::{Error, Flow, Http, Reply, RequestHead, Result};

/// Lets pass who shows the credentials that a request needs.
#[derive(Debug)]
struct Gate(BasicAuth);

impl TryFrom<Config> for Gate {
    type Error = ConfigError;

    fn try_from(config: Config) -> Result<Self, ConfigError> {
        BasicAuth::new(&config)
            .map(Self)
            .map_err(|finding| ConfigError::at(finding.path(), finding.reason().to_owned()))
    }
}

impl Http for Gate {
    fn on_request(&self, request: &mut RequestHead) -> Result<Flow> {
        let headers = request.headers()?;
        let line = |name: &str| headers.get(name).map(|value| value.as_bytes()).unwrap_or_default();
        let facts = Facts {
            authority: line(":authority"),
            path: line(":path"),
            method: line(":method"),
            // Of several lines nobody knows which one the upstream would believe.
            authorization: headers.sole("authorization").ok().flatten().map(|value| value.as_bytes()),
        };
        Ok(match self.0.check(&facts) {
            Ok(()) => Flow::Continue,
            Err(refusal) => self.refuse(refusal.details()).into(),
        })
    }

    /// What cannot be decided is refused.
    fn on_error(&self, _error: &Error) -> Reply {
        self.refuse("basic_auth_error")
    }
}

impl Gate {
    fn refuse(&self, details: &str) -> Reply {
        Reply::new(401).header("www-authenticate", self.0.challenge()).details(details)
    }
}

wasmplugin::plugin!(Gate, config = Config);
