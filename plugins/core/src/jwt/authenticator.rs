//! The engine: rules, keys and what is remembered, asked about one request after the other.

use std::time::Duration;

use super::cache::Cache;
use super::config::Config;
use super::counters::{Counter, Counts};
use super::decision::{Allow, Changes, Denial, Outcome};
use super::facts::{self, Headers};
use super::host::Host;
use super::keys::{Fetch, KeySetId, KeySets, Progress};
use super::known_answer::Trusted;
use super::requirement::{End, Means, Walk};
use super::rules::{self, Rule};
use super::verify::Verifier;
use crate::finding::Finding;

/// Authenticates requests by their tokens, as Istio's `RequestAuthentication` does.
#[derive(Debug)]
pub struct Authenticator {
    rules: Vec<Rule>,
    sets: KeySets,
    cache: Cache,
    counts: Counts,
    trusted: Trusted,
}

impl Authenticator {
    /// Takes a configuration; refuses what Istio's admission webhook or Envoy refuses, with the place of the mistake.
    pub fn new(config: &Config) -> Result<Self, Finding> {
        let (rules, sets) = rules::compile(config)?;
        let cache = Cache::new(config.verdict_cache);
        Ok(Self { rules, sets, cache, counts: Counts::default(), trusted: Trusted::default() })
    }

    /// Verifies by the host what it is trusted with.
    #[must_use]
    pub fn with_trusted_host(mut self, trusted: Trusted) -> Self {
        self.trusted = trusted;
        self
    }

    /// Decides about a request, at a time since 1970.
    pub fn check<H: Headers + ?Sized>(&mut self, request: &H, now: Duration, host: &dyn Host) -> Outcome {
        let verifier = Verifier { host, trusted: self.trusted };
        let Self { rules, sets, cache, counts, .. } = self;
        let mut walk = Walk::new(request, Means { rules, sets, cache, counts, verifier, now });
        let preflight = is_preflight(request);
        // Istio's requirement is about every path below `/`; `CONNECT` and `OPTIONS *` have none.
        let checked = !preflight && facts::first(request, ":path").starts_with(b"/");
        let end = if checked { walk.run() } else { End::NoToken };
        let identity = match end {
            End::Satisfied(identity) => Some(identity),
            End::NoToken => None,
            End::Refused(failure) => {
                counts.add(Counter::Denied);
                return Outcome::Deny(Denial::new(failure, &original_uri(request)));
            }
            End::Waits(sets) => return Outcome::NeedKeys(sets.into_iter().collect()),
        };
        let changes: Changes = walk.changes();
        if preflight {
            counts.add(Counter::CorsPreflightBypassed);
        }
        counts.add(Counter::Allowed);
        Outcome::Allow(Allow { changes, identity })
    }

    /// The sets to fetch in the background at a time: never fetched, or soon to expire.
    pub fn due(&self, now: Duration) -> impl Iterator<Item = KeySetId> {
        self.sets.due(now)
    }

    /// Begins the fetch of a set; `None` if one is under way, or if the last one failed a moment ago.
    pub fn begin_fetch(&mut self, id: KeySetId, now: Duration) -> Option<Fetch> {
        self.sets.begin(id, now)
    }

    /// Takes in the answer to a fetch: status and body, or nothing if there was none in time.
    pub fn finish_fetch(&mut self, fetch: &Fetch, answer: Option<(u16, &[u8])>, now: Duration) -> Progress {
        let progress = self.sets.finish(fetch, answer, now);
        match progress {
            Progress::Fetched => self.counts.add(Counter::JwksFetchSuccess),
            Progress::Failed => self.counts.add(Counter::JwksFetchFailed),
            Progress::Next(_) => {}
        }
        progress
    }

    /// Whether a request that waits for a set may be checked again: no fetch of it is under way, and none is needed.
    #[must_use]
    pub fn is_settled(&self, id: KeySetId, now: Duration) -> bool {
        self.sets.is_settled(id.0, now)
    }

    /// What was counted since the last call.
    pub fn take_counts(&mut self) -> impl Iterator<Item = (Counter, u64)> + use<> {
        std::mem::take(&mut self.counts).into_iter()
    }
}

/// Whether it is a CORS preflight, which no browser sends a token with.
fn is_preflight<H: Headers + ?Sized>(request: &H) -> bool {
    facts::first(request, ":method") == b"OPTIONS"
        && !facts::first(request, "origin").is_empty()
        && !facts::first(request, "access-control-request-method").is_empty()
}

/// The URI that the client asked for, its path cut to 256 bytes.
fn original_uri<H: Headers + ?Sized>(request: &H) -> Vec<u8> {
    let original = request.values("x-envoy-original-path").next();
    let path = original.unwrap_or_else(|| facts::first(request, ":path"));
    let path = path.get(..256).unwrap_or(path);
    [facts::first(request, ":scheme"), b"://", facts::first(request, ":authority"), path].concat()
}
