//! Istio's `RequestAuthentication` as a plugin: `istio_core::jwt` decides, this carries facts in and decisions out.

mod cryptography;
mod flight;
mod lines;
mod metrics;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use istio_core::Finding;
use istio_core::jwt::{Allow, Authenticator, Config, Denial, KeySetId, Outcome, Trusted};
use istio_core::wire;
use wasmplugin::config::ConfigError;
use wasmplugin::filter_state::FilterState;
use wasmplugin::time::{now, sleep};
use wasmplugin::watch::Watch;
use wasmplugin::{Done, Http, Reply, Request, Result};

use self::cryptography::Cryptography;
use self::flight::Flight;
use self::lines::Lines;
use self::metrics::Metrics;

/// How often it is looked whether a key set has to be fetched.
const LOOK: Duration = Duration::from_secs(1);

/// How often a request waits for keys before it is given up; one that needs several sets may have to more than once.
const WAITS: usize = 4;

/// Where the claims of the token are left for other plugins.
const CLAIMS: FilterState = FilterState::of(wire::JWT_CLAIMS);

/// Lets requests pass whose tokens are good, or that have none.
#[derive(Debug)]
pub struct Jwt {
    authenticator: RefCell<Authenticator>,
    cryptography: Cryptography,
    metrics: Metrics,
    /// Set when a fetch has ended.
    landed: Watch<()>,
    /// Whether any key set is fetched.
    fetches: bool,
    /// Whether decisions are counted only.
    dry_run: bool,
}

impl TryFrom<&[u8]> for Jwt {
    type Error = ConfigError;

    fn try_from(configuration: &[u8]) -> Result<Self, ConfigError> {
        let refused = |finding: Finding| ConfigError::at(finding.path(), finding.reason().to_owned());
        let config = Config::from_json(configuration).map_err(refused)?;
        let cryptography = Cryptography::of_the_host();
        let authenticator =
            Authenticator::new(&config).map_err(refused)?.with_trusted_host(Trusted::probe(&cryptography));
        let fetches = authenticator.due(now()).next().is_some();
        Ok(Self {
            authenticator: RefCell::new(authenticator),
            cryptography,
            metrics: Metrics::default(),
            landed: Watch::default(),
            fetches,
            dry_run: config.dry_run,
        })
    }
}

impl Http for Jwt {
    /// Waits for nothing when the keys are there.
    async fn handle(self: Rc<Self>, request: Request) -> Result<Done> {
        for _ in 0..=WAITS {
            match self.check(&request)? {
                Outcome::Allow(_) | Outcome::Deny(_) if self.dry_run => return request.pass(),
                Outcome::Allow(allow) => return pass(request, &allow),
                Outcome::Deny(denial) => return request.reply(reply(&denial)),
                Outcome::NeedKeys(sets) => self.wait_for(sets).await,
            }
        }
        Err("the keys of a token came and went".into())
    }

    /// Fetches key sets before they are needed, and again before they expire.
    async fn background(self: Rc<Self>) -> Result<()> {
        if !self.fetches {
            return Ok(());
        }
        loop {
            let due: Vec<_> = self.authenticator.borrow().due(now()).collect();
            due.into_iter().for_each(|set| Flight::begin(&self, set));
            sleep(LOOK).await;
        }
    }
}

impl Jwt {
    fn check(&self, request: &Request) -> Result<Outcome> {
        let mut authenticator = self.authenticator.borrow_mut();
        let outcome = authenticator.check(&Lines(request.headers()?), now(), &self.cryptography);
        self.metrics.count(authenticator.take_counts());
        Ok(outcome)
    }

    /// Waits until each of these sets is there, or cannot be had.
    async fn wait_for(self: &Rc<Self>, mut sets: Vec<KeySetId>) {
        sets.iter().for_each(|set| Flight::begin(self, *set));
        loop {
            sets.retain(|set| !self.authenticator.borrow().is_settled(*set, now()));
            if sets.is_empty() {
                return;
            }
            self.landed.changed().await;
        }
    }
}

/// Makes the changes, and lets the request pass.
fn pass(mut request: Request, allow: &Allow) -> Result<Done> {
    for name in &allow.changes.remove {
        request.remove_header(name)?;
    }
    if let Some(path) = &allow.changes.path {
        request.set_header(":path", path)?;
    }
    for (name, value) in &allow.changes.add {
        request.append_header(name, value)?;
    }
    if let Some(identity) = &allow.identity {
        request.set_filter_state(&CLAIMS, identity.claims.as_bytes())?;
    }
    request.pass()
}

fn reply(denial: &Denial) -> Reply {
    Reply::new(denial.status)
        .header("www-authenticate", &denial.www_authenticate)
        .body(denial.body)
        .details(denial.details.as_str())
        .grpc_status(denial.grpc_status)
}

wasmplugin::plugin!(Jwt, config = [u8]);
