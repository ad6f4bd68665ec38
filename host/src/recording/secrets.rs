//! Whose values must not be kept: those that grant access, by their names.

use std::collections::BTreeSet;

/// Fields that always hold a secret, besides those whose names say so.
const FIELDS: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "set-cookie"];
/// What a name says that holds a secret.
const HINTS: [&str; 10] =
    ["apikey", "api-key", "api_key", "assertion", "credential", "jwt", "passw", "secret", "session", "token"];

/// The names of headers, cookies, parameters and fields of bodies whose values are never kept.
///
/// Always among them are `authorization`, `cookie`, `proxy-authorization`, `set-cookie` and every name that contains a
/// word like `token`, `secret` or `api-key`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    names: BTreeSet<String>,
}

impl Secrets {
    /// These names as well, in any case.
    pub fn new(names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        Self { names: names.into_iter().map(|name| name.as_ref().to_ascii_lowercase()).collect() }
    }

    /// Whether a field or parameter of this name holds a secret.
    #[must_use]
    pub fn holds(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        FIELDS.contains(&name.as_str()) || self.names.contains(&name) || HINTS.iter().any(|hint| name.contains(hint))
    }
}
