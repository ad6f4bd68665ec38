//! The walk through the rules for one request, as the requirement that istiod builds makes Envoy walk.
//!
//! istiod asks for `any(P1 … Pn, all(any(P1, missing) … any(Pn, missing)))`: one rule that is satisfied is enough, and
//! without one, every rule must have seen no token at all.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::cache::Cache;
use super::counters::{Counter, Counts};
use super::decision::Changes;
use super::extract::{Found, Hidden, Place};
use super::facts::{self, Headers};
use super::failure::Failure;
use super::jwks::KeySet;
use super::keys::{KeySetId, KeySets, Known};
use super::outputs::{Effects, Identity};
use super::query;
use super::rules::{Keys, Rule};
use super::token::Token;
use super::verify::{Verdict, Verifier};

/// How far clocks may be apart; Envoy's default, which Istio leaves, in seconds.
const CLOCK_SKEW: u64 = 60;

/// How many tokens of a request are kept apart: several rules may look at the same few places, and nobody has more.
const MAX_SEEN: usize = 16;

/// What a walk needs besides the request.
pub(crate) struct Means<'a> {
    pub(crate) rules: &'a [Rule],
    pub(crate) sets: &'a KeySets,
    pub(crate) cache: &'a mut Cache,
    pub(crate) counts: &'a mut Counts,
    pub(crate) verifier: Verifier<'a>,
    /// Since 1970.
    pub(crate) now: Duration,
}

/// Where a walk ends.
pub(crate) enum End {
    /// A rule was satisfied.
    Satisfied(Identity),
    /// No rule saw a token.
    NoToken,
    Refused(Failure),
    /// It cannot end without these sets.
    Waits(BTreeSet<KeySetId>),
}

/// A walk through the rules. What a rule does for a good token stays done when it then fails for another token, and
/// later rules see the request without the tokens that were taken out: both as in Envoy.
pub(crate) struct Walk<'a, 'm, H: ?Sized> {
    request: &'a H,
    means: Means<'m>,
    hidden: Hidden<'a>,
    added: Vec<(String, Vec<u8>)>,
    /// Tokens of this request that were taken apart already.
    seen: Vec<Seen<'a>>,
    /// Sets without which a rule cannot say anything.
    missing: BTreeSet<KeySetId>,
    /// Sets of which a newer one might have the key.
    stale: BTreeSet<KeySetId>,
}

/// A token of this request, and what taking it apart gave.
struct Seen<'a> {
    text: Cow<'a, [u8]>,
    token: Result<Arc<Token>, Failure>,
}

/// Why one token, or one rule, is not satisfied.
enum Miss {
    Refused(Failure),
    Waits,
}

impl From<Failure> for Miss {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure)
    }
}

impl<'a, 'm: 'a, H: Headers + ?Sized> Walk<'a, 'm, H> {
    /// Begins a walk: nobody but the rules may have written the headers that they write.
    pub(crate) fn new(request: &'a H, means: Means<'m>) -> Self {
        let names = means.rules.iter().flat_map(|rule| rule.outputs.names());
        // To extend a set costs a module 10 KB less than to collect one, which sorts.
        let mut hidden = Hidden::default();
        hidden.headers.extend(names);
        let (missing, stale) = (BTreeSet::new(), BTreeSet::new());
        Self { request, means, hidden, added: Vec::new(), seen: Vec::new(), missing, stale }
    }

    /// Walks through the rules, in their order.
    pub(crate) fn run(&mut self) -> End {
        let (mut first, mut last) = (None, None);
        for (index, rule) in self.means.rules.iter().enumerate() {
            match self.satisfy(index, rule) {
                Some(Ok(identity)) if self.missing.is_empty() => return End::Satisfied(identity),
                None | Some(Ok(_) | Err(Miss::Waits)) => {}
                Some(Err(Miss::Refused(failure))) => {
                    first = first.or(Some(failure));
                    last = Some(failure).filter(|failure| *failure != Failure::UnknownIssuer).or(last);
                }
            }
        }
        let waits = if self.missing.is_empty() && first.is_some() { &self.stale } else { &self.missing };
        match first {
            _ if !waits.is_empty() => End::Waits(waits.clone()),
            None => End::NoToken,
            // The second branch of the requirement ends with the first refusal, and counts as the last.
            Some(first) if first != Failure::UnknownIssuer => End::Refused(first),
            Some(first) => End::Refused(last.unwrap_or(first)),
        }
    }

    /// What the walk did to the request.
    pub(crate) fn changes(self) -> Changes {
        let present = |name: &&&str| self.request.values(name).next().is_some();
        let params: Vec<_> = self.hidden.params.iter().copied().collect();
        Changes {
            remove: self.hidden.headers.iter().filter(present).map(|name| (*name).to_owned()).collect(),
            path: (!params.is_empty()).then(|| query::without(facts::first(self.request, ":path"), &params)),
            add: self.added,
        }
    }

    /// Whether all tokens at a rule's places satisfy it; `None` if there is none. The last one comes first.
    fn satisfy(&mut self, index: usize, rule: &'m Rule) -> Option<Result<Identity, Miss>> {
        let mut identity = None;
        for found in rule.locations.find(self.request, &self.hidden).into_iter().rev() {
            match self.accept(index, rule, &found) {
                Ok(effects) => {
                    self.added.extend(effects.headers.iter().cloned());
                    identity = Some(Ok(effects.identity.clone()));
                    match found.place {
                        Place::Header(name) if rule.strip => drop(self.hidden.headers.insert(name)),
                        Place::Param(name) if rule.strip => drop(self.hidden.params.insert(name)),
                        _ => {}
                    }
                }
                Err(miss) => return Some(Err(miss)),
            }
        }
        identity
    }

    /// Whether a rule accepts a token, with the checks in Envoy's order.
    fn accept(&mut self, index: usize, rule: &'m Rule, found: &Found<'a>) -> Result<Arc<Effects>, Miss> {
        let text = found.text.as_ref();
        let token = self.token(found)?;
        if !rule.issuer.is_empty() && rule.issuer != token.claims.issuer {
            return Err(Failure::UnknownIssuer.into());
        }
        self.check_time(&token)?;
        if !rule.accepts_audience(&token.claims.audiences) {
            return Err(Failure::Audience.into());
        }
        let (keys, generation) = self.keys(rule)?;
        if let Some(effects) = self.means.cache.effects(text, index, generation) {
            self.means.counts.add(Counter::JwtCacheHit);
            return Ok(effects);
        }
        self.means.counts.add(Counter::JwtCacheMiss);
        if let Err(failure) = verify(keys, &token, &self.means.verifier) {
            self.note_unknown_key(rule, keys, &token);
            return Err(failure.into());
        }
        if let Some(failure) = token.irregular {
            return Err(failure.into());
        }
        let effects = Arc::new(rule.outputs.effects(&token));
        self.means.cache.accept(text, token, index, generation, Arc::clone(&effects));
        Ok(effects)
    }

    fn token(&mut self, found: &Found<'a>) -> Result<Arc<Token>, Failure> {
        if let Some(seen) = self.seen.iter().find(|seen| seen.text == found.text) {
            return seen.token.clone();
        }
        let known = self.means.cache.token(&found.text).map(Ok);
        let token = known.unwrap_or_else(|| Token::parse(&found.text).map(Arc::new));
        if self.seen.len() < MAX_SEEN {
            self.seen.push(Seen { text: found.text.clone(), token: token.clone() });
        }
        token
    }

    fn check_time(&self, token: &Token) -> Result<(), Failure> {
        let now = self.means.now.as_secs();
        let claims = &token.claims;
        if now.saturating_add(CLOCK_SKEW) < claims.not_before {
            return Err(Failure::NotYetValid);
        }
        if claims.expires != 0 && now > claims.expires.saturating_add(CLOCK_SKEW) {
            return Err(Failure::Expired);
        }
        Ok(())
    }

    fn keys(&mut self, rule: &'m Rule) -> Result<(&'m KeySet, u64), Miss> {
        let index = match &rule.keys {
            Keys::Inline(keys) => return Ok((keys, 0)),
            Keys::Nowhere => return Err(Failure::Signature.into()),
            Keys::Remote(index) => *index,
        };
        match self.means.sets.known(index, self.means.now) {
            Known::Set(keys, generation) => Ok((keys, generation)),
            Known::Failed(failure) => Err(failure.into()),
            Known::Pending => {
                self.missing.insert(KeySetId(index));
                Err(Miss::Waits)
            }
        }
    }

    /// A token with an unknown key id may be signed with a key that is newer than the set.
    fn note_unknown_key(&mut self, rule: &Rule, keys: &KeySet, token: &Token) {
        if let Keys::Remote(index) = rule.keys
            && !keys.knows(&token.key_id)
            && self.means.sets.may_renew(index, self.means.now)
        {
            self.stale.insert(KeySetId(index));
        }
    }
}

/// Tries the keys that fit, in their order, until one verifies the signature.
fn verify(keys: &KeySet, token: &Token, verifier: &Verifier<'_>) -> Result<(), Failure> {
    let mut failure = Failure::NoKey;
    for key in keys.fitting(&token.key_id, &token.algorithm_name) {
        match verifier.verify(&key.material, token.algorithm, &token.signature, &token.signed) {
            Verdict::Good => return Ok(()),
            Verdict::WrongLength => failure = Failure::Ed25519Length,
            Verdict::Bad if failure == Failure::NoKey => failure = Failure::Signature,
            Verdict::Bad => {}
        }
    }
    Err(failure)
}
