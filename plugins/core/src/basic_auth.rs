//! HTTP Basic authentication (RFC 7617) by host, path and method, as Istio's former `basic_auth` extension.
//!
//! Every rule that matches a request has to be met; a request that no rule matches passes. It differs from the old
//! extension on purpose, always towards refusing more:
//!
//! * A configuration with an error in it is refused; the old one ran without the rule.
//! * Hosts match whatever their case and with or without the root's dot, since routes do; a port in a rule's host is passed
//!   over like one in a request's, and methods match whatever their case.
//! * A rule matches a path as it is written, and also as it reads with its escapes decoded, its doubled slashes merged and
//!   its dots resolved: an upstream that does so must not be reached by another spelling.
//! * Several `authorization` lines are no credentials.
//!
//! Credentials are kept as SHA-256 digests and compared without telling by time which of them came close.

mod path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::finding::{At, Finding};

/// The realm of a configuration that names none.
const DEFAULT_REALM: &str = "istio";

/// What credentials begin with; the old extension is as strict about the case.
const SCHEME: &[u8] = b"Basic ";

/// The configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// What browsers show; unless said, `istio`.
    pub realm: Option<String>,
    /// The rules.
    pub basic_auth_rules: Vec<Rule>,
}

/// Who may send which requests.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Rule {
    /// Hosts without port: `a.example`, `*.example`, `a.*`; empty for all.
    pub hosts: Vec<String>,
    /// The path, with its query, begins so; one of the three has to be there.
    pub prefix: Option<String>,
    /// The path, with its query, is this.
    pub exact: Option<String>,
    /// The path, with its query, ends so.
    pub suffix: Option<String>,
    /// Methods; at least one.
    pub request_methods: Vec<String>,
    /// Who may: `user:password`, or that in base 64; at least one.
    pub credentials: Vec<String>,
}

/// The compiled configuration.
#[derive(Debug)]
pub struct BasicAuth {
    challenge: String,
    rules: Vec<Compiled>,
}

#[derive(Debug)]
struct Compiled {
    hosts: Vec<Host>,
    path: Path,
    methods: Vec<String>,
    credentials: Vec<Secret>,
}

#[derive(Debug)]
enum Host {
    Any,
    Exact(String),
    Ends(String),
    Begins(String),
}

#[derive(Debug)]
enum Path {
    Prefix(String),
    Exact(String),
    Suffix(String),
}

/// The digest of credentials as they stand in the header.
struct Secret([u8; 32]);

/// What a request shows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts<'a> {
    /// `:authority`.
    pub authority: &'a [u8],
    /// `:path`, with its query.
    pub path: &'a [u8],
    /// `:method`.
    pub method: &'a [u8],
    /// The one `authorization` line; several are as none.
    pub authorization: Option<&'a [u8]>,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It shows no credentials of this scheme.
    Missing,
    /// It shows others.
    Wrong,
}

impl Refusal {
    /// The response-code details, which are the old extension's.
    #[must_use]
    pub fn details(self) -> &'static str {
        match self {
            Self::Missing => "Request denied by Basic Auth check. No Basic Authentication information found.",
            Self::Wrong => "Request denied by Basic Auth check. Invalid username and/or password",
        }
    }
}

impl BasicAuth {
    /// Compiles a configuration.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong in it.
    pub fn new(config: &Config) -> Result<Self, Finding> {
        let realm = config.realm.as_deref().filter(|realm| !realm.is_empty()).unwrap_or(DEFAULT_REALM);
        if realm.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(At::Field(&At::Whole, "realm").finding("control characters cannot stand in a header"));
        }
        let list = At::Field(&At::Whole, "basic_auth_rules");
        let rules = config.basic_auth_rules.iter().enumerate();
        let rules =
            rules.map(|(index, rule)| Compiled::new(rule, &At::Element(&list, index))).collect::<Result<_, _>>()?;
        Ok(Self { challenge: format!("Basic realm={realm}"), rules })
    }

    /// The value of `www-authenticate` in a refusal.
    #[must_use]
    pub fn challenge(&self) -> &str {
        &self.challenge
    }

    /// Decides about a request.
    ///
    /// # Errors
    ///
    /// It is refused.
    pub fn check(&self, facts: &Facts<'_>) -> Result<(), Refusal> {
        let host = host(facts.authority);
        let spellings = path::spellings(facts.path);
        let shown = facts.authorization.and_then(|value| value.strip_prefix(SCHEME)).map(Secret::of);
        let mut rules = self.rules.iter().filter(|rule| rule.matches(&host, &spellings, facts.method));
        rules.try_for_each(|rule| match &shown {
            None => Err(Refusal::Missing),
            Some(shown) if rule.knows(shown) => Ok(()),
            Some(_) => Err(Refusal::Wrong),
        })
    }
}

impl Compiled {
    fn new(rule: &Rule, at: &At<'_>) -> Result<Self, Finding> {
        let path = match (&rule.prefix, &rule.exact, &rule.suffix) {
            (Some(prefix), None, None) => Path::Prefix(prefix.clone()),
            (None, Some(exact), None) => Path::Exact(exact.clone()),
            (None, None, Some(suffix)) => Path::Suffix(suffix.clone()),
            _ => return Err(at.finding("exactly one of `prefix`, `exact` and `suffix` has to be there")),
        };
        for (name, list) in [("request_methods", &rule.request_methods), ("credentials", &rule.credentials)] {
            if list.is_empty() || list.iter().any(String::is_empty) {
                return Err(At::Field(at, name).finding("at least one has to be there, and none may be empty"));
            }
        }
        let list = At::Field(at, "credentials");
        let credentials = rule.credentials.iter().enumerate();
        Ok(Self {
            hosts: rule.hosts.iter().map(|host| Host::new(host)).collect(),
            path,
            methods: rule.request_methods.clone(),
            credentials: credentials
                .map(|(index, text)| Secret::new(text, &At::Element(&list, index)))
                .collect::<Result<_, _>>()?,
        })
    }

    fn matches(&self, host: &str, spellings: &[Vec<u8>], method: &[u8]) -> bool {
        self.methods.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(method))
            && (self.hosts.is_empty() || self.hosts.iter().any(|known| known.matches(host)))
            && spellings.iter().any(|path| self.path.matches(path))
    }

    /// Looks at all credentials, whichever fits.
    fn knows(&self, shown: &Secret) -> bool {
        let none = Choice::from(0);
        self.credentials.iter().fold(none, |known, secret| known | secret.0.ct_eq(&shown.0)).into()
    }
}

impl Host {
    fn new(pattern: &str) -> Self {
        // A port or a root's dot that stayed would match no request, and the rule protect nothing.
        let pattern = host(pattern.as_bytes());
        if pattern == "*" {
            Self::Any
        } else if let Some(end) = pattern.strip_prefix('*') {
            Self::Ends(end.to_owned())
        } else if let Some(beginning) = pattern.strip_suffix('*') {
            Self::Begins(beginning.to_owned())
        } else {
            Self::Exact(pattern)
        }
    }

    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(whole) => whole == host,
            Self::Ends(end) => host.ends_with(end.as_str()),
            Self::Begins(beginning) => host.starts_with(beginning.as_str()),
        }
    }
}

impl Path {
    fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Prefix(prefix) => path.starts_with(prefix.as_bytes()),
            Self::Exact(exact) => path == exact.as_bytes(),
            Self::Suffix(suffix) => path.ends_with(suffix.as_bytes()),
        }
    }
}

impl Secret {
    /// From `user:password`, or from that in base 64; a colon tells which it is, since base 64 has none.
    fn new(text: &str, at: &At<'_>) -> Result<Self, Finding> {
        if text.contains(':') {
            return Ok(Self::of(STANDARD.encode(text).as_bytes()));
        }
        // The text itself is a secret, so the finding does not repeat it.
        match STANDARD.decode(text) {
            Ok(decoded) if decoded.contains(&b':') => Ok(Self::of(text.as_bytes())),
            _ => Err(at.finding("neither `user:password` nor that in base 64")),
        }
    }

    fn of(shown: &[u8]) -> Self {
        Self(Sha256::digest(shown).into())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// The host in lower case, without its port and without the root's dot.
fn host(authority: &[u8]) -> String {
    let text = String::from_utf8_lossy(authority).to_ascii_lowercase();
    // The brackets of an address of IP version 6 keep its colons apart from the port's.
    let end = match text.rfind(']') {
        Some(bracket) => text.get(bracket..).and_then(|rest| rest.find(':')).map(|colon| bracket + colon),
        None => text.rfind(':'),
    };
    let host = end.and_then(|end| text.get(..end)).unwrap_or(&text);
    host.strip_suffix('.').unwrap_or(host).to_owned()
}

#[cfg(test)]
mod tests;
