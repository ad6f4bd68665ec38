//! Who the peer is: patterns for SPIFFE ids such as `spiffe://cluster.local/ns/shop/sa/cart`.

use super::matcher::{Reach, regular};

/// What every SPIFFE id begins with; policies leave it out.
pub(super) const SCHEME: &[u8] = b"spiffe://";

/// A pattern for a SPIFFE id, each with the regular expression or literal that Istio gives to Envoy for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Identity {
    /// `principals: ["*"]`: `.+`.
    Any,
    /// The id after the scheme is this.
    Exact(Box<[u8]>),
    /// The id after the scheme begins with this.
    Prefix(Box<[u8]>),
    /// The id ends with this after the scheme: `spiffe://.*<suffix>`.
    Suffix(Box<[u8]>),
    /// `.*/ns/<pieces joined by .*>/.*`; the wildcards may cross slashes.
    Namespace(Vec<Box<[u8]>>),
    /// `spiffe://.+/ns/<namespace>/(.+/|)sa/<name>(/.+)?`.
    Account {
        /// The namespace of the account.
        namespace: Box<[u8]>,
        /// The name of the account.
        name: Box<[u8]>,
    },
    /// Of some trust domain.
    Domain(Domain),
}

/// A pattern for the trust domain of an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Domain {
    /// Any, even without a path behind it.
    Any,
    /// This one, and a slash.
    Exact(Box<[u8]>),
    /// One that begins with this, and a slash.
    Prefix(Box<[u8]>),
    /// One that ends with this, and a slash.
    Suffix(Box<[u8]>),
}

impl Identity {
    /// A value of `principals`.
    pub(super) fn principal(value: &str) -> Self {
        if value == "*" {
            Self::Any
        } else if let Some(end) = value.strip_prefix('*') {
            Self::Suffix(bytes(end))
        } else if let Some(start) = value.strip_suffix('*') {
            Self::Prefix(bytes(start))
        } else {
            Self::Exact(bytes(value))
        }
    }

    /// A value of `namespaces`.
    pub(super) fn namespace(value: &str) -> Self {
        Self::Namespace(value.split('*').map(bytes).collect())
    }

    /// A value of `serviceAccounts`; `home` is the namespace of the policy, which a bare name means.
    pub(super) fn account(value: &str, home: &str) -> Self {
        let (namespace, name) = value.split_once('/').unwrap_or((home, value));
        Self::Account { namespace: bytes(namespace), name: bytes(name) }
    }

    /// A value of `trustDomains`.
    pub(super) fn domain(value: &str) -> Self {
        Self::Domain(if value == "*" {
            Domain::Any
        } else if let Some(end) = value.strip_prefix('*') {
            Domain::Suffix(bytes(end))
        } else if let Some(start) = value.strip_suffix('*') {
            Domain::Prefix(bytes(start))
        } else {
            Domain::Exact(bytes(value))
        })
    }

    /// Whether an id fits.
    pub(super) fn fits(&self, id: &[u8], reach: Reach) -> bool {
        let path = id.strip_prefix(SCHEME);
        match self {
            Self::Any => !id.is_empty() && reach.covers(regular(id)),
            Self::Exact(text) => path == Some(text),
            Self::Prefix(text) => path.is_some_and(|path| path.starts_with(text)),
            Self::Suffix(text) => path.is_some_and(|path| path.ends_with(text)) && reach.covers(regular(id)),
            Self::Namespace(pieces) => in_namespace(id, pieces) && reach.covers(regular(id)),
            Self::Account { namespace, name } => {
                path.is_some_and(|path| is_account(path, namespace, name)) && reach.covers(regular(id))
            }
            Self::Domain(domain) => {
                path.is_some_and(|path| domain.fits(path)) && domain.reach(reach).covers(regular(id))
            }
        }
    }
}

impl Domain {
    fn fits(&self, path: &[u8]) -> bool {
        let name = trust_domain(path);
        match self {
            Self::Any => true,
            Self::Exact(text) => name == Some(text),
            Self::Prefix(text) => name.is_some_and(|name| name.starts_with(text)),
            Self::Suffix(text) => name.is_some_and(|name| name.ends_with(text)),
        }
    }

    /// Without a wildcard inside, Envoy compares a literal, which has no trouble with any byte behind it.
    fn reach(&self, reach: Reach) -> Reach {
        match self {
            Self::Any | Self::Exact(_) => Reach::Every,
            Self::Prefix(_) | Self::Suffix(_) => reach,
        }
    }
}

/// The trust domain of an id without its scheme, if a slash ends it.
pub(super) fn trust_domain(path: &[u8]) -> Option<&[u8]> {
    let slash = path.iter().position(|byte| *byte == b'/')?;
    path.get(..slash)
}

/// Whether `/ns/`, the pieces with anything between them, and a slash follow one another somewhere in an id.
pub(super) fn in_namespace(id: &[u8], pieces: &[Box<[u8]>]) -> bool {
    let mut rest = Some(id);
    let last = pieces.len().saturating_sub(1);
    for (place, piece) in pieces.iter().enumerate() {
        let mut chunk = Vec::with_capacity(piece.len() + 5);
        if place == 0 {
            chunk.extend_from_slice(b"/ns/");
        }
        chunk.extend_from_slice(piece);
        if place == last {
            chunk.push(b'/');
        }
        rest = rest.and_then(|rest| after(rest, &chunk));
    }
    rest.is_some()
}

/// Whether an id without its scheme is `.+/ns/<namespace>/(.+/|)sa/<name>(/.+)?`.
fn is_account(path: &[u8], namespace: &[u8], name: &[u8]) -> bool {
    let mark = [b"/ns/", namespace, b"/"].concat();
    // The first occurrence suffices: what follows a later one follows the first one too, with more in between.
    path.get(1..).and_then(|path| after(path, &mark)).is_some_and(|rest| {
        names(rest).any(|behind| {
            behind.strip_prefix(name).is_some_and(|end| end.is_empty() || (end.starts_with(b"/") && end.len() > 1))
        })
    })
}

/// What stands behind every `sa/` that may name an account, in what follows `/ns/<namespace>/`.
pub(super) fn names(rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    let further = rest.windows(4).enumerate().filter(|(start, window)| *start > 0 && *window == b"/sa/");
    rest.strip_prefix(b"sa/").into_iter().chain(further.filter_map(|(start, _)| rest.get(start + 4..)))
}

/// What follows the first occurrence of `part`; between two wildcards there is none to look for.
fn after<'a>(text: &'a [u8], part: &[u8]) -> Option<&'a [u8]> {
    if part.is_empty() {
        return Some(text);
    }
    let start = text.windows(part.len()).position(|window| window == part)?;
    text.get(start + part.len()..)
}

fn bytes(text: &str) -> Box<[u8]> {
    text.as_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(value: &str, id: &str) -> bool {
        Identity::account(value, "home").fits(id.as_bytes(), Reach::Envoy)
    }

    fn namespace(value: &str, id: &str) -> bool {
        Identity::namespace(value).fits(id.as_bytes(), Reach::Envoy)
    }

    #[test]
    fn accounts_fit_as_istios_expression_does() {
        assert!(account("n/a", "spiffe://td/ns/n/sa/a") && account("a", "spiffe://td/ns/home/sa/a"));
        assert!(account("n/a", "spiffe://td/ns/n/x/sa/a") && account("n/a", "spiffe://td/ns/n/sa/a/rev/1"));
        assert!(account("n/a", "spiffe://td/ns/n/sa/b/ns/n/sa/a") && account("n/a", "spiffe://td/ns/n/ns/n/sa/a"));
        for id in [
            "spiffe://td/ns/n/sa/a-b",
            "spiffe://td/ns/n/sa/a/",
            "spiffe://td/ns/n//sa/a",
            "spiffe:///ns/n/sa/a",
            "td/ns/n/sa/a",
            "spiffe://td/ns/n/sa/A",
            "spiffe://td/ns/nn/sa/a",
        ] {
            assert!(!account("n/a", id), "{id}");
        }
    }

    #[test]
    fn wildcards_of_namespaces_cross_slashes() {
        assert!(namespace("n*a", "spiffe://td/ns/n1/sa/a/x") && !namespace("n*a", "spiffe://td/ns/n1/sb/a"));
        assert!(
            namespace("n**a", "spiffe://td/ns/n1/sa/a/x") && namespace("**", "/ns/a/") && !namespace("n***b", "/ns/n/")
        );
        assert!(namespace("n", "x/ns/n/y") && !namespace("n", "spiffe://td/ns/nn/sa/a"));
        assert!(namespace("*", "/ns/a/") && namespace("*", "/ns//") && !namespace("*", "/ns/"));
        assert!(!namespace("n", "spiffe://td/ns/n/sa/\n"));
        assert!(Identity::namespace("n").fits(b"spiffe://td/ns/n/sa/\xff", Reach::Every));
    }

    #[test]
    fn a_dot_is_a_dot() {
        assert!(!account("n/a.b", "spiffe://td/ns/n/sa/axb") && !namespace("a.b", "spiffe://td/ns/axb/sa/c"));
    }
}
