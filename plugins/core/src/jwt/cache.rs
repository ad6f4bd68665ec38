//! Tokens that were found good, so that the next request with the same one costs no signature.

use std::fmt;
use std::sync::Arc;

use lru::LruCache;

use super::outputs::Effects;
use super::token::Token;
use crate::key::{Key, OwnedKey};

/// How much is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// Tokens at most; 0 remembers nothing.
    pub tokens: usize,
    /// Bytes of tokens at most; what is known of them takes a few times as much.
    pub bytes: usize,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self { tokens: 1024, bytes: 1024 * 1024 }
    }
}

/// Good tokens, the least recently used one going first.
///
/// A token is found by comparing all of its bytes. Only good ones are remembered: a stranger cannot push out anybody's,
/// and a bad one costs its sender's request the full price. Times are not part of what is remembered.
pub(crate) struct Cache {
    limits: CacheLimits,
    tokens: LruCache<OwnedKey, Entry>,
    bytes: usize,
}

struct Entry {
    token: Arc<Token>,
    /// One per rule that accepted the token.
    accepted: Vec<Accepted>,
}

/// That a rule accepted a token with a set of keys.
#[derive(Clone)]
struct Accepted {
    rule: usize,
    generation: u64,
    effects: Arc<Effects>,
}

impl Cache {
    pub(crate) fn new(limits: CacheLimits) -> Self {
        Self { limits, tokens: LruCache::unbounded(), bytes: 0 }
    }

    /// A token that some rule accepted, taken apart already.
    pub(crate) fn token(&mut self, text: &[u8]) -> Option<Arc<Token>> {
        self.tokens.get(Key::of(text)).map(|entry| Arc::clone(&entry.token))
    }

    /// What a rule made of a token, if it accepted it with this generation of its keys.
    pub(crate) fn effects(&mut self, text: &[u8], rule: usize, generation: u64) -> Option<Arc<Effects>> {
        let accepted = self.tokens.get(Key::of(text))?.accepted.iter();
        accepted
            .into_iter()
            .find(|one| one.rule == rule && one.generation == generation)
            .map(|one| Arc::clone(&one.effects))
    }

    /// Remembers that a rule accepted a token.
    pub(crate) fn accept(
        &mut self,
        text: &[u8],
        token: Arc<Token>,
        rule: usize,
        generation: u64,
        effects: Arc<Effects>,
    ) {
        if self.limits.tokens == 0 || text.len() > self.limits.bytes / 4 {
            return;
        }
        let accepted = Accepted { rule, generation, effects };
        if let Some(entry) = self.tokens.get_mut(Key::of(text)) {
            entry.accepted.retain(|one| one.rule != rule);
            entry.accepted.push(accepted);
            return;
        }
        self.bytes = self.bytes.saturating_add(text.len());
        self.tokens.put(OwnedKey::of(text), Entry { token, accepted: vec![accepted] });
        while self.tokens.len() > self.limits.tokens || self.bytes > self.limits.bytes {
            let Some((text, _)) = self.tokens.pop_lru() else { break };
            self.bytes = self.bytes.saturating_sub(text.len());
        }
    }
}

impl fmt::Debug for Cache {
    /// Numbers only: tokens are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("tokens", &self.tokens.len()).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::unsigned_token;
    use super::super::outputs::Outputs;
    use super::*;

    fn remember(cache: &mut Cache, text: &str, rule: usize, generation: u64) {
        let token = Arc::new(Token::parse(unsigned_token("{}").as_bytes()).unwrap());
        let effects = Arc::new(Outputs::new(None, &[], &[]).effects(&token));
        cache.accept(text.as_bytes(), token, rule, generation, effects);
    }

    #[test]
    fn a_verdict_holds_for_its_token_rule_and_keys() {
        let mut cache = Cache::new(CacheLimits::default());
        remember(&mut cache, "abc", 1, 7);
        assert!(cache.effects(b"abc", 1, 7).is_some());
        for (text, rule, generation) in [("abd", 1, 7), ("ab", 1, 7), ("abcd", 1, 7), ("abc", 0, 7), ("abc", 1, 8)] {
            assert!(cache.effects(text.as_bytes(), rule, generation).is_none());
        }
        remember(&mut cache, "abc", 1, 8);
        assert!(cache.effects(b"abc", 1, 7).is_none(), "a verdict of older keys is dropped");
    }

    #[test]
    fn it_stays_within_its_limits_and_keeps_what_is_used() {
        let mut cache = Cache::new(CacheLimits { tokens: 3, bytes: 40 });
        for text in ["aaaaaaaa", "bbbbbbbb", "cccccccc"] {
            remember(&mut cache, text, 0, 0);
        }
        assert!(cache.token(b"aaaaaaaa").is_some());
        remember(&mut cache, "dddddddd", 0, 0);
        assert!(cache.token(b"bbbbbbbb").is_none() && cache.token(b"aaaaaaaa").is_some());
        remember(&mut cache, "too large!!", 0, 0);
        assert!(cache.token(b"too large!!").is_none());
        let mut cache = Cache::new(CacheLimits { tokens: 9, bytes: 40 });
        (0..9).for_each(|n| remember(&mut cache, &format!("0123456-{n}"), 0, 0));
        assert_eq!((cache.tokens.len(), cache.bytes), (4, 36));
        let mut none = Cache::new(CacheLimits { tokens: 0, bytes: 40 });
        remember(&mut none, "a", 0, 0);
        assert!(none.token(b"a").is_none());
    }
}
