//! What is decided about a request, as plain data for whoever carries it out.

use super::failure::Failure;
use super::keys::KeySetId;
use super::outputs::Identity;

/// What is decided about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on.
    Allow(Allow),
    /// It is answered.
    Deny(Denial),
    /// It has to wait until these sets have been fetched, or failed to be; then it is checked again.
    NeedKeys(Vec<KeySetId>),
}

/// How a request goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allow {
    /// What to change in it first.
    pub changes: Changes,
    /// Who its token says made it; `None` without a token.
    pub identity: Option<Identity>,
}

/// Changes to the head of a request, to be made in the order of the fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Headers to remove with all their lines; only such as the request has.
    pub remove: Vec<String>,
    /// A new `:path`, with the tokens taken out.
    pub path: Option<Vec<u8>>,
    /// Lines to add. A name may appear twice: Envoy adds one line per token of a rule that takes several.
    pub add: Vec<(String, Vec<u8>)>,
}

impl Changes {
    /// Whether there is nothing to change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.path.is_none() && self.add.is_empty()
    }
}

/// How a request is answered.
///
/// The proxy's local reply adds `content-type: text/plain`, leaves the body out for `HEAD`, and turns the answer to a
/// gRPC request into status 200 with [`grpc_status`](Self::grpc_status) and the body as `grpc-message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Why.
    pub failure: Failure,
    /// 401, or 403 for a wrong audience.
    pub status: u16,
    /// The body.
    pub body: &'static str,
    /// The value of `www-authenticate`.
    pub www_authenticate: Vec<u8>,
    /// 16 (unauthenticated), or 7 (permission denied) for a wrong audience.
    pub grpc_status: u8,
    /// The response code details.
    pub details: String,
}

impl Denial {
    /// The answer to a request of this URI.
    pub(crate) fn new(failure: Failure, uri: &[u8]) -> Self {
        let (status, grpc_status) = if failure == Failure::Audience { (403, 7) } else { (401, 16) };
        let body = failure.text();
        Self {
            failure,
            status,
            body,
            www_authenticate: [b"Bearer realm=\"".as_slice(), uri, b"\", error=\"invalid_token\""].concat(),
            grpc_status,
            details: format!("jwt_authn_access_denied{{{}}}", body.replace(' ', "_")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_is_envoys() {
        let denial = Denial::new(Failure::Expired, b"https://h/p?q");
        assert_eq!((denial.status, denial.grpc_status, denial.body), (401, 16, "Jwt is expired"));
        assert_eq!(denial.www_authenticate, b"Bearer realm=\"https://h/p?q\", error=\"invalid_token\"");
        assert_eq!(denial.details, "jwt_authn_access_denied{Jwt_is_expired}");
        assert_eq!(Denial::new(Failure::Audience, b"").status, 403);
        assert_eq!(Denial::new(Failure::Audience, b"").grpc_status, 7);
    }
}
