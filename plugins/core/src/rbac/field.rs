//! The fields of a source or an operation and the keys of conditions: what each looks at and which values it takes.

use std::borrow::Cow;

use super::identity::Identity;
use super::matcher::Text;
use super::network::Network;
use super::policy::{Attribute, Pattern};
use super::template::Template;
use super::trust::TrustDomains;

/// What a field or key is about; each is named as the field of Istio's API that it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field {
    Principals,
    RequestPrincipals,
    Namespaces,
    ServiceAccounts,
    TrustDomains,
    IpBlocks,
    RemoteIpBlocks,
    DestinationIp,
    Hosts,
    Ports,
    Methods,
    Paths,
    Header(Box<str>),
    Sni,
    Claim(Vec<String>),
    Metadata { namespace: String, key: String },
}

/// The lists of a source.
const SOURCE: [(&str, Field, bool); 14] = [
    ("principals", Field::Principals, false),
    ("notPrincipals", Field::Principals, true),
    ("requestPrincipals", Field::RequestPrincipals, false),
    ("notRequestPrincipals", Field::RequestPrincipals, true),
    ("namespaces", Field::Namespaces, false),
    ("notNamespaces", Field::Namespaces, true),
    ("serviceAccounts", Field::ServiceAccounts, false),
    ("notServiceAccounts", Field::ServiceAccounts, true),
    ("trustDomains", Field::TrustDomains, false),
    ("notTrustDomains", Field::TrustDomains, true),
    ("ipBlocks", Field::IpBlocks, false),
    ("notIpBlocks", Field::IpBlocks, true),
    ("remoteIpBlocks", Field::RemoteIpBlocks, false),
    ("notRemoteIpBlocks", Field::RemoteIpBlocks, true),
];

/// The lists of an operation.
const OPERATION: [(&str, Field, bool); 8] = [
    ("hosts", Field::Hosts, false),
    ("notHosts", Field::Hosts, true),
    ("ports", Field::Ports, false),
    ("notPorts", Field::Ports, true),
    ("methods", Field::Methods, false),
    ("notMethods", Field::Methods, true),
    ("paths", Field::Paths, false),
    ("notPaths", Field::Paths, true),
];

impl Field {
    /// What a list of a source is about, and whether none of its values may match.
    pub(super) fn of_source(name: &str) -> Option<(&'static str, Self, bool)> {
        SOURCE.into_iter().find(|(known, ..)| *known == name)
    }

    /// What a list of an operation is about, and whether none of its values may match.
    pub(super) fn of_operation(name: &str) -> Option<(&'static str, Self, bool)> {
        OPERATION.into_iter().find(|(known, ..)| *known == name)
    }

    /// Reads the key of a condition, or says what is wrong with it.
    pub(super) fn of_key(key: &str) -> Result<Self, String> {
        Ok(match key {
            "" => return Err("must not be empty".to_owned()),
            "source.ip" => Self::IpBlocks,
            "remote.ip" => Self::RemoteIpBlocks,
            "source.namespace" => Self::Namespaces,
            "source.principal" => Self::Principals,
            "source.serviceAccount" => Self::ServiceAccounts,
            "source.trustDomain" => Self::TrustDomains,
            "request.auth.principal" => Self::RequestPrincipals,
            "request.auth.audiences" => Self::Claim(vec!["aud".to_owned()]),
            "request.auth.presenter" => Self::Claim(vec!["azp".to_owned()]),
            "destination.ip" => Self::DestinationIp,
            "destination.port" => Self::Ports,
            "connection.sni" => Self::Sni,
            _ => {
                if let Some(name) = key.strip_prefix("request.headers") {
                    Self::Header(bracketed(key, name)?.to_ascii_lowercase().into())
                } else if let Some(path) = key.strip_prefix("request.auth.claims") {
                    bracketed(key, path)?;
                    Self::Claim(claim_path(path).into_iter().map(str::to_owned).collect())
                } else if let Some(filter) =
                    key.strip_prefix("experimental.").filter(|f| f.starts_with("envoy.filters."))
                {
                    let bracket = filter.find('[').unwrap_or(filter.len());
                    let (namespace, name) = filter.split_at_checked(bracket).unwrap_or((filter, ""));
                    let name = bracketed(key, name)?.to_owned();
                    Self::Metadata { namespace: namespace.to_owned(), key: name }
                } else {
                    return Err(format!("`{key}` is not an attribute that Istio knows"));
                }
            }
        })
    }

    /// What it looks at.
    pub(super) fn attribute(&self) -> Attribute {
        match self {
            Self::Principals | Self::Namespaces | Self::ServiceAccounts | Self::TrustDomains => Attribute::Identity,
            Self::RequestPrincipals => Attribute::Token,
            Self::IpBlocks => Attribute::DirectIp,
            Self::RemoteIpBlocks => Attribute::RemoteIp,
            Self::DestinationIp => Attribute::DestinationIp,
            Self::Hosts => Attribute::Host,
            Self::Ports => Attribute::DestinationPort,
            Self::Methods => Attribute::Method,
            Self::Paths => Attribute::Path,
            Self::Header(name) => Attribute::Header(name.clone()),
            Self::Sni => Attribute::Sni,
            Self::Claim(path) => Attribute::Claim(path.clone()),
            Self::Metadata { namespace, key } => Attribute::Metadata { namespace: namespace.clone(), key: key.clone() },
        }
    }

    /// Whether a `CUSTOM` policy may use it: the external authorizer is asked before tokens are verified, and Istio
    /// keeps the identity of the peer out of that question too.
    pub(super) fn allowed_in_custom(&self) -> bool {
        !matches!(
            self,
            Self::Principals
                | Self::RequestPrincipals
                | Self::Namespaces
                | Self::ServiceAccounts
                | Self::TrustDomains
                | Self::Claim(_)
        )
    }

    /// The most values that it takes.
    pub(super) fn most_values(&self) -> usize {
        if *self == Self::ServiceAccounts { 16 } else { usize::MAX }
    }

    /// Reads one value into the patterns that it stands for, or says what is wrong with it. `home` is the namespace of
    /// the policy.
    pub(super) fn patterns(
        &self,
        value: &str,
        home: &str,
        trust: &TrustDomains,
        patterns: &mut Vec<Pattern>,
    ) -> Result<(), Cow<'static, str>> {
        let may_be_empty = matches!(self, Self::Header(_) | Self::Claim(_) | Self::Sni | Self::Metadata { .. });
        if value.is_empty() && !may_be_empty {
            return Err("must not be empty".into());
        }
        patterns.push(match self {
            Self::Principals => {
                let all = trust.principals(value);
                patterns.extend(all.iter().map(|value| Pattern::Identity(Identity::principal(value))));
                return Ok(());
            }
            Self::TrustDomains => {
                domain(value)?;
                let all = trust.domains(value);
                patterns.extend(all.iter().map(|value| Pattern::Identity(Identity::domain(value))));
                return Ok(());
            }
            Self::Namespaces => Pattern::Identity(Identity::namespace(value)),
            Self::ServiceAccounts => {
                account(value)?;
                Pattern::Identity(Identity::account(value, home))
            }
            Self::RequestPrincipals => token(value),
            Self::IpBlocks | Self::RemoteIpBlocks | Self::DestinationIp => {
                let network = Network::parse(value).ok_or("must be an IP address or a block such as `10.0.0.0/8`")?;
                Pattern::Network(network)
            }
            Self::Ports => {
                let digits = value.bytes().all(|byte| byte.is_ascii_digit());
                let port = digits.then(|| value.parse().ok()).flatten().ok_or("must be a port, from 0 to 65535")?;
                Pattern::Port(port)
            }
            Self::Hosts => Pattern::Text(Text::parse(value, Text::Present).lower()),
            Self::Methods | Self::Header(_) => Pattern::Text(Text::parse(value, Text::Present)),
            Self::Paths if Template::is(value) => Pattern::Template(Template::parse(value)?),
            Self::Paths if value.contains(['{', '}']) => return Err("braces stand only in `{*}` and `{**}`".into()),
            Self::Paths | Self::Sni | Self::Claim(_) => Pattern::Text(Text::parse(value, Text::NonEmpty)),
            Self::Metadata { .. } => match value.strip_prefix('[').and_then(|value| value.strip_suffix(']')) {
                Some(element) => Pattern::Element(Text::parse(element, Text::NonEmpty)),
                None => Pattern::Text(Text::parse(value, Text::NonEmpty)),
            },
        });
        Ok(())
    }
}

/// What stands in the brackets behind the name of an attribute.
fn bracketed<'a>(key: &str, name: &'a str) -> Result<&'a str, String> {
    name.strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .filter(|name| !name.is_empty() && !name.contains('\0'))
        .ok_or_else(|| format!("`{key}` must end with a name in brackets, as in `request.headers[x-tenant]`"))
}

/// The names in `[a][b]`; what is not so formed is one name, as Istio has it.
fn claim_path(brackets: &str) -> Vec<&str> {
    let inner = brackets.strip_prefix('[').and_then(|path| path.strip_suffix(']')).unwrap_or(brackets);
    let mut pieces = inner.split(']');
    let first = pieces.next();
    let names = std::iter::once(first).chain(pieces.map(|piece| piece.strip_prefix('[')));
    let names: Option<Vec<&str>> = names.map(|name| name.filter(|name| !name.contains('['))).collect();
    names.unwrap_or_else(|| vec![inner])
}

/// Splits a request principal at its last slash into issuer and subject.
fn token(value: &str) -> Pattern {
    let (issuer, subject) = match value.rsplit_once('/') {
        Some((issuer, subject)) => (Text::parse(issuer, Text::NonEmpty), Text::parse(subject, Text::NonEmpty)),
        None if value == "*" => (Text::NonEmpty, Text::NonEmpty),
        None => match Text::parse(value, Text::NonEmpty) {
            end @ Text::Suffix(_) => (Text::NonEmpty, end),
            start @ Text::Prefix(_) => (start, Text::NonEmpty),
            issuer => (issuer, Text::Exact(Box::default())),
        },
    };
    Pattern::Token { issuer, subject }
}

fn account(value: &str) -> Result<(), Cow<'static, str>> {
    if value.contains('*') {
        return Err("wildcards are not allowed in service accounts".into());
    }
    if value.len() > 320 {
        return Err("must have at most 320 characters".into());
    }
    let parts: Vec<&str> = value.split('/').collect();
    if parts.len() > 2 || parts.contains(&"") {
        return Err("must be `name` or `namespace/name`".into());
    }
    Ok(())
}

fn domain(value: &str) -> Result<(), Cow<'static, str>> {
    if value.contains('/') {
        return Err("a trust domain has no `/`".into());
    }
    let stars = value.matches('*').count();
    if stars > 1 || (stars == 1 && !value.starts_with('*') && !value.ends_with('*')) {
        return Err("one `*` is allowed, at the start or the end".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(key: &str) -> Field {
        Field::of_key(key).unwrap()
    }

    #[test]
    fn claims_are_paths() {
        let path = |names: &[&str]| Field::Claim(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(claims("request.auth.claims[a][b.c]"), path(&["a", "b.c"]));
        assert_eq!(claims("request.auth.claims[a[b]]"), path(&["a[b]"]));
        assert_eq!(claims("request.auth.claims[a]x[b]"), path(&["a]x[b"]));
        assert_eq!(claims("request.auth.audiences"), path(&["aud"]));
    }

    #[test]
    fn unknown_keys_are_refused() {
        for key in [
            "",
            "no.such.key",
            "request.headers",
            "request.headers[]",
            "request.headersx[a]",
            "source.Ip",
            "request.auth.claims[]",
            "request.auth.claims[a\0b]",
            "experimental.x[y]",
            "experimental.envoy.filters.x",
        ] {
            assert!(Field::of_key(key).is_err(), "{key}");
        }
    }

    #[test]
    fn values_that_the_webhook_refuses_are_refused() {
        let trust = TrustDomains::new("td", &[]);
        for (field, values) in [
            (Field::ServiceAccounts, &["*", "a/*", "a/b/c", "/a", "a/", ""][..]),
            (Field::TrustDomains, &["a/b", "a*b", "*a*", ""]),
            (Field::Ports, &["", "http", "65536", "-1", "+1", "8080*"]),
            (Field::IpBlocks, &["", "a", "1.2.3.4/33"]),
            (Field::Paths, &["", "/a{b", "/{a}", "/{**}/{*}"]),
            (Field::Hosts, &[""]),
        ] {
            for value in values {
                assert!(field.patterns(value, "home", &trust, &mut Vec::new()).is_err(), "{field:?} {value}");
            }
        }
    }
}
