//! Istio's `access_log_policy` as a plugin: `istio_core::access_log_policy` decides, this tells the access log.

use std::cell::RefCell;

use istio_core::access_log_policy::{Client, Config, Ending, Policy};
use wasmplugin::config::ConfigError;
use wasmplugin::filter_state::{Declaration, FilterState, Kind, Span};
use wasmplugin::headers::Headers;
use wasmplugin::time::now;
use wasmplugin::{Http, LogEntry, Result, attributes};

/// Where the decision is left: `yes` or `no`.
const DECISION: FilterState = FilterState::of("istio.access_log_policy");

/// Tells the access log which requests are worth a line.
#[derive(Debug)]
struct AccessLogPolicy(RefCell<Policy>);

impl TryFrom<Config> for AccessLogPolicy {
    type Error = ConfigError;

    fn try_from(config: Config) -> Result<Self, ConfigError> {
        let policy =
            Policy::new(&config).map_err(|reason| ConfigError::at("log_window_duration", reason.to_owned()))?;
        let declaration = Declaration::new().kind(Kind::Text).span(Span::Request);
        DECISION.declare(&declaration).map_err(|error| ConfigError::at("", error.to_string()))?;
        Ok(Self(RefCell::new(policy)))
    }
}

impl Http for AccessLogPolicy {
    /// What cannot be told apart is logged: a line too much is better than one too few.
    fn on_log(&self, entry: &LogEntry) {
        let logs = self.logs(entry).unwrap_or_else(|error| {
            log::warn!("a request is logged because its facts cannot be read: {error}");
            true
        });
        if let Err(error) = entry.set_filter_state(&DECISION, if logs { "yes" } else { "no" }) {
            log::warn!("the access log is not told: {error}");
        }
    }
}

impl AccessLogPolicy {
    fn logs(&self, entry: &LogEntry) -> Result<bool> {
        let status = entry.attribute(attributes::RESPONSE_CODE)?.unwrap_or_default();
        let grpc = is_grpc(&entry.request_headers()?);
        let grpc_status = if grpc { entry.attribute(attributes::RESPONSE_GRPC_STATUS)? } else { None };
        let ending = Ending { status, grpc_status };
        if ending.failed() {
            return Ok(true);
        }
        let address =
            entry.attribute(attributes::SOURCE_ADDRESS)?.map(|address| address.to_string()).unwrap_or_default();
        let principal = entry.attribute(attributes::CONNECTION_URI_SAN_PEER_CERTIFICATE)?.unwrap_or_default();
        Ok(self.0.borrow_mut().logs(ending, || Client { address, principal }, now()))
    }
}

fn is_grpc(headers: &Headers) -> bool {
    let kind = headers.get("content-type").map(|value| value.as_bytes()).unwrap_or_default();
    kind == b"application/grpc" || kind.starts_with(b"application/grpc+")
}

wasmplugin::plugin!(AccessLogPolicy, config = Config);
