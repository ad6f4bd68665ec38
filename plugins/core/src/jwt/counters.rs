//! The counters of `jwt_authn`, by the names that dashboards know.

/// Something to count; the counters of Envoy's `jwt_authn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Counter {
    /// A request passed, with a token or without.
    Allowed,
    /// A request was answered with a refusal.
    Denied,
    /// A CORS preflight passed unchecked.
    CorsPreflightBypassed,
    /// A key set was fetched.
    JwksFetchSuccess,
    /// A fetch of a key set failed.
    JwksFetchFailed,
    /// A signature was not verified because the token was known.
    JwtCacheHit,
    /// A token was not known.
    JwtCacheMiss,
}

impl Counter {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Allowed,
        Self::Denied,
        Self::CorsPreflightBypassed,
        Self::JwksFetchSuccess,
        Self::JwksFetchFailed,
        Self::JwtCacheHit,
        Self::JwtCacheMiss,
    ];

    /// Its name, as it stands in Envoy behind `http.<prefix>.`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "jwt_authn.allowed",
            Self::Denied => "jwt_authn.denied",
            Self::CorsPreflightBypassed => "jwt_authn.cors_preflight_bypassed",
            Self::JwksFetchSuccess => "jwt_authn.jwks_fetch_success",
            Self::JwksFetchFailed => "jwt_authn.jwks_fetch_failed",
            Self::JwtCacheHit => "jwt_authn.jwt_cache_hit",
            Self::JwtCacheMiss => "jwt_authn.jwt_cache_miss",
        }
    }
}

/// What was counted.
#[derive(Debug, Default)]
pub(crate) struct Counts([u64; Counter::ALL.len()]);

impl Counts {
    pub(crate) fn add(&mut self, counter: Counter) {
        if let Some((_, count)) = Counter::ALL.iter().zip(&mut self.0).find(|(one, _)| **one == counter) {
            *count = count.saturating_add(1);
        }
    }

    /// The counters that moved.
    pub(crate) fn into_iter(self) -> impl Iterator<Item = (Counter, u64)> {
        Counter::ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }
}
