//! Local rate limits as a plugin: `istio_core::rate_limit` says whose share a request uses up, the proxy keeps the buckets.

use istio_core::rate_limit::{Bucket, Config, Facts, Per};
use wasmplugin::config::ConfigError;
use wasmplugin::metrics::Counter;
use wasmplugin::shared::{Rate, Shared, SharedBucket, Take};
use wasmplugin::{Error, Flow, Http, Reply, RequestHead, Result, attributes};

/// Its state, shared by all workers.
const SHARED: Shared = Shared::of("istio-rate-limit");

/// What refused requests are answered with.
const TOO_MANY: u16 = 429;

/// gRPC's `RESOURCE_EXHAUSTED`.
const EXHAUSTED: u8 = 8;

/// What Envoy's own filter says, in the body and in the response-code details.
const REFUSAL: &str = "local_rate_limited";

/// Refuses requests that are too many.
#[derive(Debug)]
struct RateLimit {
    limits: Vec<(Bucket, SharedBucket)>,
    status: u16,
    failure_mode_deny: bool,
    granted: Counter,
    limited: Counter,
    failed: Counter,
}

impl TryFrom<Config> for RateLimit {
    type Error = ConfigError;

    fn try_from(config: Config) -> Result<Self, ConfigError> {
        let status = config.status_code.unwrap_or(TOO_MANY);
        if !(400..600).contains(&status) {
            return Err(ConfigError::at("status_code", "a refusal has a status from 400 to 599"));
        }
        let buckets = Bucket::compile(&config.limits)
            .map_err(|finding| ConfigError::at(finding.path(), finding.reason().to_owned()))?;
        let shared = |bucket: &Bucket| {
            let rate = Rate { per_second: bucket.per_second(), burst: bucket.burst() };
            SHARED.bucket(bucket.name(), rate).slots(bucket.slots())
        };
        Ok(Self {
            limits: buckets
                .into_iter()
                .map(|bucket| {
                    let shared = shared(&bucket);
                    (bucket, shared)
                })
                .collect(),
            status,
            failure_mode_deny: config.failure_mode_deny,
            granted: Counter::new("rate_limit.ok"),
            limited: Counter::new("rate_limit.rate_limited"),
            failed: Counter::new("rate_limit.error"),
        })
    }
}

impl Http for RateLimit {
    fn on_request(&self, request: &mut RequestHead) -> Result<Flow> {
        for (bucket, shared) in &self.limits {
            match take(bucket, shared, request) {
                Ok(None | Some(Take::Granted { .. })) => {}
                Ok(Some(Take::Empty { retry_after })) => {
                    self.limited.inc(1);
                    log::debug!("the limit `{}` is reached", bucket.name());
                    let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
                    return Ok(self.refusal().header("retry-after", seconds.max(1).to_string()).into());
                }
                Err(error) => {
                    self.failed.inc(1);
                    if self.failure_mode_deny {
                        return Err(error);
                    }
                    log::warn!("a request passes uncounted by the limit `{}`: {error}", bucket.name());
                }
            }
        }
        self.granted.inc(1);
        Ok(Flow::Continue)
    }

    fn on_error(&self, _error: &Error) -> Reply {
        self.refusal().details("rate_limit_error")
    }
}

impl RateLimit {
    fn refusal(&self) -> Reply {
        Reply::new(self.status).grpc_status(EXHAUSTED).body(REFUSAL).details(REFUSAL)
    }
}

/// Takes a request's tokens; `None` if it does not fall under this limit.
fn take(bucket: &Bucket, shared: &SharedBucket, request: &RequestHead) -> Result<Option<Take>> {
    let key = bucket.key(&Reading(request))?;
    key.map(|key| shared.take(key, bucket.cost())).transpose()
}

/// The facts about a request, read when they are asked for.
struct Reading<'r>(&'r RequestHead);

impl Facts for Reading<'_> {
    type Error = Error;

    fn value(&self, of: &Per) -> Result<Vec<u8>> {
        let text = match of {
            Per::Route => self.0.attribute(attributes::ROUTE_NAME)?,
            Per::Principal => self.0.attribute(attributes::CONNECTION_URI_SAN_PEER_CERTIFICATE)?,
            Per::Address => {
                let address = self.0.attribute(attributes::SOURCE_ADDRESS)?;
                // One client may have as many ports as it likes.
                address
                    .map(|address| address.ip().map_or_else(|| address.to_string(), |ip| ip.to_canonical().to_string()))
            }
            Per::Header(name) => {
                // All lines, so that a second one is another value and not a way around the first.
                let lines: Vec<_> = self.0.headers()?.get_all(name).map(|value| value.as_bytes()).collect();
                return Ok(lines.join(&b','));
            }
        };
        Ok(text.unwrap_or_default().into_bytes())
    }

    fn path(&self) -> Result<Vec<u8>> {
        // Its bytes, whatever they are: what cannot be read passes uncounted.
        Ok(self.0.headers()?.get(":path").unwrap_or_default().as_bytes().to_vec())
    }
}

wasmplugin::plugin!(RateLimit, config = Config);
