//! Why a registry did not give, or take, an image; in the words of the person who can do something about it.

use std::time::Duration;

use super::credentials::BadCredentials;
use super::realm::BadRealm;
use crate::image::digest::Digest;
use crate::image::extract::Refusal;
use crate::image::manifest::BadManifest;

/// Why a transfer failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// No connection, or it broke.
    #[error("cannot reach `{host}`: {reason}")]
    Unreachable {
        /// The host.
        host: String,
        /// What the network says.
        reason: String,
    },
    /// TLS, but nobody vouches for the certificate.
    #[error(
        "`{host}` shows a certificate that this machine does not trust: {reason}; \
         add its authority with `--ca FILE`, or give up the check for this host with `--insecure {host}`"
    )]
    Certificate {
        /// The host.
        host: String,
        /// What the check says.
        reason: String,
    },
    /// No TLS, and there is something to protect.
    #[error(
        "`{host}` speaks plain HTTP, and credentials are not sent over it unasked; if the network between is yours, say `--plain-http {host}`"
    )]
    Plaintext {
        /// The host.
        host: String,
    },
    /// Nothing of that name.
    #[error("there is no {what} at `{host}`; look at the spelling, and whether it was pushed")]
    NotFound {
        /// The host.
        host: String,
        /// What was asked for.
        what: String,
    },
    /// The registry wants other credentials, or any.
    #[error("`{host}` refuses {what} ({status}{said}): {hint}")]
    Refused {
        /// The host.
        host: String,
        /// What was asked for.
        what: String,
        /// The HTTP status.
        status: u16,
        /// What the registry says, with a comma before it.
        said: String,
        /// What was shown, and what to do.
        hint: &'static str,
    },
    /// Another status.
    #[error("`{host}` answers {what} with status {status}{said}")]
    Status {
        /// The host.
        host: String,
        /// What was asked for.
        what: String,
        /// The HTTP status.
        status: u16,
        /// What the registry says, with a comma before it.
        said: String,
    },
    /// An answer that breaks the protocol.
    #[error("`{host}` breaks the registry protocol with its answer to {what}: {reason}")]
    Protocol {
        /// The host.
        host: String,
        /// What was asked for.
        what: String,
        /// How.
        reason: String,
    },
    /// The connection ended early.
    #[error("`{host}` broke off {what} after {received} bytes{reason}; try again")]
    Truncated {
        /// The host.
        host: String,
        /// What was asked for.
        what: String,
        /// How many bytes came.
        received: u64,
        /// Why, with a colon before it.
        reason: String,
    },
    /// More bytes than allowed.
    #[error("{what} at `{host}` has more than {limit} bytes, and no more are read")]
    TooLarge {
        /// The host.
        host: String,
        /// What was asked for.
        what: String,
        /// The most that is allowed.
        limit: u64,
    },
    /// Other bytes than named.
    #[error("checksum mismatch: {what} at `{host}` has digest `{actual}`, and `{expected}` was asked for")]
    Digest {
        /// The host.
        host: String,
        /// What was asked for.
        what: String,
        /// The digest that it should have.
        expected: Digest,
        /// The digest that it has.
        actual: Digest,
    },
    /// No answer in time.
    #[error("`{host}` did not finish {what} within {} s; try again, or allow more time", after.as_secs_f32())]
    Timeout {
        /// The host.
        host: String,
        /// What was asked for.
        what: String,
        /// How long was waited.
        after: Duration,
    },
    /// The manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] BadManifest),
    /// The image has no module that can be used.
    #[error(transparent)]
    Image(#[from] Refusal),
    /// The token server is not asked.
    #[error(transparent)]
    Realm(#[from] BadRealm),
    /// The credentials cannot be used.
    #[error(transparent)]
    Credentials(#[from] BadCredentials),
}

impl RegistryError {
    /// Whether another try may help: what go-containerregistry retries.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Truncated { .. } | Self::Timeout { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500 | 502 | 503 | 504 | 499 | 522),
            _ => false,
        }
    }
}
