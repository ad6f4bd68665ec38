//! Key sets that are fetched: when, how often, and what holds meanwhile. Somebody else does the fetching.
//!
//! Envoy fetches for every request that finds no set, and never again before the set expires. Here a fetch is shared,
//! a failure is remembered for a moment, a set is renewed before it expires, and an unknown key id may ask for a newer
//! set. None of this changes a decision; a set is never used longer than Envoy would.

use std::time::Duration;

use super::algorithm::Hash;
use super::failure::Failure;
use super::json::{self, Json};
use super::jwks::KeySet;
use super::uri::Uri;
use super::verify::digest;
use crate::json::member;

/// How long the first failure is remembered; twice as long each further time, up to `MAX_RETRY`.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(8);

/// How often an unknown key id may ask for a newer set.
const REFETCH: Duration = Duration::from_secs(10);

/// Larger answers are no key sets; in bytes.
pub const MAX_KEY_SET_BYTES: usize = 1024 * 1024;

/// Names a fetched set, as long as the configuration lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeySetId(pub(crate) usize);

/// A GET request to make, without following redirects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Where the answer belongs.
    pub id: KeySetId,
    /// The cluster to send it to.
    pub cluster: String,
    /// The value of `:scheme`, `http` or `https`.
    pub scheme: &'static str,
    /// The value of `:authority`.
    pub authority: String,
    /// The value of `:path`.
    pub path: String,
    /// After which it has failed.
    pub timeout: Duration,
    /// Whether the answer says where the set is, instead of being the set.
    discovery: bool,
}

/// What a set needs once an answer has been taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Nothing: there is a new set.
    Fetched,
    /// Another fetch: the answer said where the set is.
    Next(Fetch),
    /// Time: the fetch failed, and the next attempt has to wait.
    Failed,
}

/// Where a set comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Set(Uri),
    /// An OpenID configuration, whose `jwks_uri` names the set.
    Discovery(Uri),
}

/// What is known of a set at a moment.
#[derive(Debug)]
pub(crate) enum Known<'a> {
    /// The set, and a number that changes with it.
    Set(&'a KeySet, u64),
    /// Nothing yet; a fetch will tell.
    Pending,
    /// The fetch failed, and a token that needs the set fails with this.
    Failed(Failure),
}

/// All sets that are fetched.
#[derive(Debug)]
pub(crate) struct KeySets {
    cache: Duration,
    clusters: Vec<(String, String)>,
    sets: Vec<Remote>,
}

#[derive(Debug)]
struct Remote {
    source: Source,
    timeout: Duration,
    set: Option<Fetched>,
    /// How many sets there have been.
    generation: u64,
    /// When the fetch that is under way began.
    begun: Option<Duration>,
    /// Failures in a row.
    failures: u32,
    /// Before this nothing is fetched.
    retry_at: Duration,
}

#[derive(Debug)]
struct Fetched {
    keys: KeySet,
    at: Duration,
    /// Of the text, to tell whether the next one is another.
    digest: Vec<u8>,
}

impl KeySets {
    pub(crate) fn new(cache: Duration, clusters: Vec<(String, String)>) -> Self {
        Self { cache, clusters, sets: Vec::new() }
    }

    /// The index of the set with this source; rules that agree on it share one.
    pub(crate) fn add(&mut self, source: Source, timeout: Duration) -> usize {
        if let Some(index) = self.sets.iter().position(|set| set.source == source && set.timeout == timeout) {
            return index;
        }
        let retry_at = Duration::ZERO;
        self.sets.push(Remote { source, timeout, set: None, generation: 0, begun: None, failures: 0, retry_at });
        self.sets.len() - 1
    }

    /// What is known of a set.
    pub(crate) fn known(&self, index: usize, now: Duration) -> Known<'_> {
        let Some(remote) = self.sets.get(index) else { return Known::Failed(Failure::KeysFetch) };
        match &remote.set {
            Some(fetched) if remote.is_fresh(now, self.cache) => Known::Set(&fetched.keys, remote.generation),
            _ if remote.is_under_way(now) || !remote.rests(now) => Known::Pending,
            _ => Known::Failed(remote.failure()),
        }
    }

    /// Whether nothing will change soon: no fetch is under way, and none is needed.
    pub(crate) fn is_settled(&self, index: usize, now: Duration) -> bool {
        let under_way = self.sets.get(index).is_some_and(|remote| remote.is_under_way(now));
        !under_way && !matches!(self.known(index, now), Known::Pending)
    }

    /// Whether it is worth waiting for a newer set than the one that is known.
    pub(crate) fn may_renew(&self, index: usize, now: Duration) -> bool {
        self.sets.get(index).is_some_and(|remote| {
            let age = remote.set.as_ref().and_then(|fetched| now.checked_sub(fetched.at));
            remote.is_under_way(now) || (age.is_some_and(|age| age >= REFETCH) && !remote.rests(now))
        })
    }

    /// The sets to fetch in the background: never fetched, or in the last fifth of their time.
    pub(crate) fn due(&self, now: Duration) -> impl Iterator<Item = KeySetId> {
        let soon = self.cache.saturating_sub(self.cache / 5);
        let due = move |remote: &Remote| !remote.is_fresh(now, soon) && !remote.is_under_way(now) && !remote.rests(now);
        self.sets.iter().enumerate().filter(move |(_, remote)| due(remote)).map(|(index, _)| KeySetId(index))
    }

    /// Begins a fetch; `None` if one is under way already, or if it is too early after a failure.
    pub(crate) fn begin(&mut self, id: KeySetId, now: Duration) -> Option<Fetch> {
        let remote = self.sets.get_mut(id.0)?;
        if remote.is_under_way(now) || remote.rests(now) {
            return None;
        }
        remote.begun = Some(now);
        let (uri, discovery) = match &remote.source {
            Source::Set(uri) => (uri, false),
            Source::Discovery(uri) => (uri, true),
        };
        Some(Fetch { discovery, ..fetch(id, uri, remote.timeout, &self.clusters) })
    }

    /// Takes in the answer to a fetch: status and body, or nothing if there was none in time. Answers to a fetch that
    /// is not under way are ignored.
    pub(crate) fn finish(&mut self, fetch: &Fetch, answer: Option<(u16, &[u8])>, now: Duration) -> Progress {
        let Some(remote) = self.sets.get_mut(fetch.id.0) else { return Progress::Failed };
        if remote.begun.is_none() {
            return Progress::Failed;
        }
        let body = match answer {
            Some((200, body)) if body.len() <= MAX_KEY_SET_BYTES => Some(body),
            _ => None,
        };
        if fetch.discovery {
            // The set's place is asked for anew each time: an issuer may move it.
            return match body.and_then(discovered) {
                Some(uri) => Progress::Next(self::fetch(fetch.id, &uri, remote.timeout, &self.clusters)),
                None => remote.failed(now),
            };
        }
        match body.and_then(|text| Some((KeySet::parse(text).ok()?, text))) {
            Some((keys, text)) => {
                remote.fetched(keys, text, now);
                Progress::Fetched
            }
            None => remote.failed(now),
        }
    }
}

impl Remote {
    /// Whether the set is younger than this. A clock that went back makes no set young.
    fn is_fresh(&self, now: Duration, than: Duration) -> bool {
        self.set.as_ref().and_then(|fetched| now.checked_sub(fetched.at)).is_some_and(|age| age < than)
    }

    /// Whether an answer may still come: discovery takes two fetches, and one that nobody ends must not last for ever.
    fn is_under_way(&self, now: Duration) -> bool {
        let limit = self.timeout.saturating_mul(2).saturating_add(Duration::from_secs(1));
        self.begun.and_then(|begun| now.checked_sub(begun)).is_some_and(|age| age < limit)
    }

    /// Whether it is too early to fetch again. Nothing rests for longer than `MAX_RETRY`: if there is more time left than
    /// that, the clock went back.
    fn rests(&self, now: Duration) -> bool {
        self.retry_at.checked_sub(now).is_some_and(|left| !left.is_zero() && left <= MAX_RETRY)
    }

    /// Discovery is istiod's work, which puts a key that nobody has in place of a set it cannot find.
    fn failure(&self) -> Failure {
        match self.source {
            Source::Set(_) => Failure::KeysFetch,
            Source::Discovery(_) => Failure::Signature,
        }
    }

    fn fetched(&mut self, keys: KeySet, text: &[u8], now: Duration) {
        let digest = digest(Hash::Sha256, text);
        if self.set.as_ref().is_none_or(|before| before.digest != digest) {
            self.generation = self.generation.wrapping_add(1);
        }
        self.set = Some(Fetched { keys, at: now, digest });
        (self.begun, self.failures, self.retry_at) = (None, 0, Duration::ZERO);
    }

    fn failed(&mut self, now: Duration) -> Progress {
        let wait = FIRST_RETRY.saturating_mul(1 << self.failures.min(8)).min(MAX_RETRY);
        self.failures = self.failures.saturating_add(1);
        (self.begun, self.retry_at) = (None, now.saturating_add(wait));
        Progress::Failed
    }
}

fn fetch(id: KeySetId, uri: &Uri, timeout: Duration, clusters: &[(String, String)]) -> Fetch {
    let named = [uri.authority.clone(), format!("{}:{}", uri.host, uri.port), uri.host.clone()];
    let cluster = named.iter().find_map(|name| member(clusters, name)).cloned();
    Fetch {
        id,
        cluster: cluster.unwrap_or_else(|| format!("outbound|{}||{}", uri.port, uri.host)),
        scheme: uri.scheme(),
        authority: uri.authority.clone(),
        path: uri.path.clone(),
        timeout,
        discovery: false,
    }
}

/// The place of the set in an OpenID configuration.
fn discovered(text: &[u8]) -> Option<Uri> {
    let members = json::parse_object(text)?;
    members.get("jwks_uri").and_then(Json::as_str).and_then(|text| Uri::parse(text).ok())
}

#[cfg(test)]
mod tests;
