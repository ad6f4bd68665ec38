//! What a registry is shown, and why there may be nothing to show.

use std::fmt;

/// What a registry, or its token server, is shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    #[default]
    Anonymous,
    /// A user and a password.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: String,
    },
    /// A refresh token, to be exchanged at the token server.
    Identity(String),
    /// A token for the registry itself.
    Bearer(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Basic { username, .. } => f.debug_struct("Basic").field("username", username).finish_non_exhaustive(),
            Self::Identity(_) => f.write_str("Identity(..)"),
            Self::Bearer(_) => f.write_str("Bearer(..)"),
        }
    }
}

/// Credentials that are there, but cannot be used. Never shows a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadCredentials {
    /// A file or a secret of another shape.
    #[error("{source_name} cannot be read: {reason}; it must be a Docker configuration such as `docker login` writes")]
    Unreadable {
        /// The file, or the secret.
        source_name: String,
        /// Why not.
        reason: String,
    },
    /// A secret that Istio would not find.
    #[error(
        "the image pull secret cannot be read, and nothing is pulled without it; it must be in the plugin's own namespace, \
         of type `kubernetes.io/dockerconfigjson`"
    )]
    NoSecret,
    /// A helper in a pull secret.
    #[error(
        "the image pull secret leaves `{0}` to a credential helper, which Istio's agent does not have; \
         write `auths` into it, as `kubectl create secret docker-registry` does"
    )]
    HelperInSecret(String),
    /// A helper that fails.
    #[error("the credential helper `{program}` gives nothing for `{registry}`: {reason}")]
    Helper {
        /// The program.
        program: String,
        /// What it was asked for.
        registry: String,
        /// What it says.
        reason: String,
    },
}
