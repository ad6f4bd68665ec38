//! Istio's `AuthorizationPolicy` as a plugin: `istio_core::rbac` decides, this carries facts in and decisions out.

mod check;
mod claims;
mod connection;
mod metrics;
mod reading;
mod source;

use std::rc::Rc;

use istio_core::Finding;
use istio_core::rbac::Engine;
use istio_core::rbac::config::{Config, Protocol};
use istio_core::rbac::decision::{Custom, Decision, Outcome, REFUSAL_BODY, Shadow, details};
use wasmplugin::config::ConfigError;
use wasmplugin::tcp::Connection;
use wasmplugin::{Done, Error, Http, Reply, Request, Result, Tcp};

use self::metrics::Metrics;
use self::reading::{Places, Reading};
use self::source::Source;

/// Lets pass what the policies allow.
#[derive(Debug)]
pub struct Rbac {
    engine: Engine,
    protocol: Protocol,
    places: Places,
    metrics: Metrics,
}

impl TryFrom<&[u8]> for Rbac {
    type Error = ConfigError;

    fn try_from(text: &[u8]) -> Result<Self, ConfigError> {
        let refused = |finding: Finding| ConfigError::at(finding.path(), finding.reason().to_owned());
        let config = Config::read(text).map_err(refused)?;
        let engine = Engine::new(&config).map_err(refused)?;
        for warning in engine.warnings() {
            log::warn!("{warning}");
        }
        let protocol = config.protocol;
        let places = Places { source_ip: config.source_ip, peer_principals: config.peer_principals };
        Ok(Self { engine, protocol, places, metrics: Metrics::default() })
    }
}

impl Http for Rbac {
    /// Waits for nothing where no external authorizer has to be asked.
    async fn handle(self: Rc<Self>, mut request: Request) -> Result<Done> {
        if self.protocol != Protocol::Http {
            return Err("the policies are compiled for `tcp`: set `protocol` to `http`, or leave it out".into());
        }
        match self.custom(Source::Request(&request))? {
            Custom::Pass => {}
            Custom::Refuse { policy } => {
                self.metrics.count_refusal();
                log::debug!("denied, matched policy {policy}");
                return request.reply(refusal(details(Some(policy))));
            }
            Custom::Ask { .. } => {
                let authorizer = self.engine.authorizer().ok_or("there is no external authorizer")?;
                if let Some(reply) = check::ask(authorizer, &mut request).await? {
                    return request.reply(reply);
                }
            }
        }
        let answer = self.decide(Source::Request(&request))?.details();
        match answer {
            None => request.pass(),
            Some(details) => request.reply(refusal(details)),
        }
    }

    /// What cannot be decided is refused.
    fn on_error(&self, _error: &Error) -> Reply {
        self.metrics.count_refusal();
        refusal("rbac_error".to_owned())
    }
}

impl Tcp for Rbac {
    async fn connection(self: Rc<Self>, connection: Connection) -> Result<Done> {
        let outcome = connection::decide(&self, connection).await;
        if outcome.is_err() {
            self.metrics.count_refusal();
        }
        outcome
    }
}

impl Rbac {
    fn custom(&self, source: Source<'_>) -> Result<Custom<'_>> {
        if !self.engine.has_custom() {
            return Ok(Custom::Pass);
        }
        let reading = Reading::of(source, self.engine.custom_needs(), &self.places)?;
        let mut custom = None;
        reading.hand_to(&mut |facts| custom = Some(self.engine.custom(facts)))?;
        custom.ok_or_else(undecided)
    }

    fn decide(&self, source: Source<'_>) -> Result<Decision<'_>> {
        let reading = Reading::of(source, self.engine.needs(), &self.places)?;
        let mut decision = None;
        reading.hand_to(&mut |facts| decision = Some(self.engine.decide(facts)))?;
        let decision = decision.ok_or_else(undecided)?;
        self.metrics.count(&decision);
        report(&decision);
        Ok(decision)
    }
}

/// Why a request is refused whose facts nobody has looked at.
fn undecided() -> Error {
    "nothing was decided".into()
}

fn refusal(details: String) -> Reply {
    Reply::new(403).body(REFUSAL_BODY).details(details)
}

/// Says what was decided: what would have been refused on a level that is usually on, all else for debugging.
fn report(decision: &Decision<'_>) {
    let shadows = [("DENY", decision.shadow_deny), ("ALLOW", decision.shadow_allow)];
    for (action, shadow) in shadows {
        let Some(Shadow { allowed, policy }) = shadow else { continue };
        let policy = policy.unwrap_or("none");
        if allowed {
            log::debug!("dry run of {action} policies: allowed, matched policy {policy}");
        } else {
            log::info!("dry run of {action} policies: denied, matched policy {policy}");
        }
    }
    if decision.audit == Some(true) {
        log::info!("an AUDIT policy matched");
    }
    match decision.outcome {
        Outcome::Allowed { policy } => log::debug!("allowed, matched policy {}", policy.unwrap_or("none")),
        Outcome::Denied { policy } => log::debug!("denied, matched policy {}", policy.unwrap_or("none")),
    }
}

wasmplugin::plugin!(Rbac: HttpAndTcp, config = [u8]);
