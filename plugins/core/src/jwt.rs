//! Istio's request authentication: which tokens a request carries, whether they are true, and what follows.
//!
//! [`Authenticator`] takes the configuration (`RequestAuthentication` objects) and decides about one request after the
//! other. It neither reads a clock nor fetches anything: time is an argument, keys that it lacks are an
//! [`Outcome::NeedKeys`], and whoever carries facts in and decisions out does the fetching.
//!
//! ```text
//! let outcome = authenticator.check(&headers, now, &host);
//! match outcome {
//!     Outcome::NeedKeys(sets) => begin_fetch each, await, finish_fetch, check again
//!     Outcome::Allow(allow)   => make allow.changes, leave allow.identity for other filters, go on
//!     Outcome::Deny(denial)   => answer
//! }
//! ```
//!
//! Decisions, texts and headers are those of Envoy 1.40 set up by istiod. It differs on purpose, and but for two
//! points only towards refusing more:
//!
//! * **Strict base64 and form in tokens.** White space, padding, spare bits and empty sections make two texts of one
//!   token; a token that only passes with them is refused as malformed.
//! * **Strict JSON in tokens and key sets.** Single quotes, bare names, trailing commas and raw control characters are refused.
//! * **The type of a key must fit the token's `alg`.** Envoy lets a key without `alg` verify a token of any label.
//! * **An Ed25519 key does not end the search.** Envoy stops at one when the signature has not 64 bytes, so that a good
//!   token fails because of a key that is not its own. This one accepts more.
//! * **Ed25519 keys of small order verify nothing,** for everybody can sign for them.
//! * **RSA keys have 1024 to 8192 bits;** Envoy takes 512 to 16384.
//! * **Tokens have at most 64 KiB, and key sets at most 1,024 keys.**
//! * **Parameters stay encoded where it matters.** When Envoy takes a token out of the query, it decodes the other
//!   parameters, which lets a value turn into further ones; here delimiters and control characters stay encoded.
//! * **A claim with control characters gets no header,** since it could add lines of its own.
//! * **The rules are walked through once.** Envoy walks a second time to see whether there is no token, by when one
//!   rule may have taken out what another one failed on; here such a request is refused.
//! * **Keys are fetched less often than Envoy would** (see `keys`), which changes no decision but one: a token with an unknown
//!   `kid` may be found good after a fetch that Envoy would not make. This is the second point that accepts more.

mod algorithm;
mod authenticator;
mod base64;
mod cache;
mod claims;
mod config;
mod counters;
mod decision;
mod der;
mod extract;
mod facts;
mod failure;
mod host;
mod json;
mod jwks;
mod keys;
mod known_answer;
mod outputs;
mod query;
mod requirement;
mod rules;
mod selection;
mod token;
mod uri;
mod verify;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;

pub use self::algorithm::Hash;
pub use self::authenticator::Authenticator;
pub use self::cache::CacheLimits;
pub use self::config::{ClaimToHeader, Config, HeaderLocation, JwksFetch, JwtRule, Metadata, Policy, Spec, Workload};
pub use self::counters::Counter;
pub use self::decision::{Allow, Changes, Denial, Outcome};
pub use self::facts::Headers;
pub use self::failure::Failure;
pub use self::host::{Host, NoHost};
pub use self::keys::{Fetch, KeySetId, MAX_KEY_SET_BYTES, Progress};
pub use self::known_answer::Trusted;
pub use self::outputs::Identity;
pub use self::token::MAX_TOKEN_BYTES;
pub use crate::target::TargetRef;
