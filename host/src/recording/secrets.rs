//! What must not be kept: the values of fields and parameters that grant access, wherever they show up again.

use std::collections::BTreeSet;

use crate::percent;

/// Fields that always hold a secret, besides those whose names say so.
const FIELDS: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "set-cookie"];
/// What a name says that holds a secret.
const HINTS: [&str; 10] =
    ["apikey", "api-key", "api_key", "assertion", "credential", "jwt", "passw", "secret", "session", "token"];
/// Shorter values are not looked for elsewhere: they would be found in everything.
const WORTH_FINDING: usize = 6;
/// Values of one exchange that are looked for elsewhere.
const REMEMBERED: usize = 32;

/// The names of headers, cookies and query parameters whose values are never kept.
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

/// Takes secrets out of what is kept of one exchange, and remembers them: a plugin may log or copy what it has read.
#[derive(Debug, Default)]
pub(super) struct Redactor {
    seen: Vec<String>,
}

impl Redactor {
    /// The value of a field, as it may be kept.
    pub(super) fn field(&mut self, secrets: &Secrets, name: &str, value: &str) -> String {
        if !secrets.holds(name) {
            return self.text(secrets, value);
        }
        self.remember(value);
        // What stands behind `Bearer`.
        self.remember(value.split_once(' ').map_or("", |(_, token)| token));
        // The values of cookies; what follows the one of `set-cookie` says how to keep it.
        let cookies = if name.eq_ignore_ascii_case("set-cookie") { 1 } else { usize::MAX };
        for cookie in value.split(';').take(cookies) {
            self.remember(cookie.split_once('=').map_or("", |(_, value)| value));
        }
        mark(value)
    }

    /// A text, as it may be kept.
    pub(super) fn text(&mut self, secrets: &Secrets, text: &str) -> String {
        let text = self.without_parameters(secrets, text);
        let text = self.seen.iter().fold(text, |text, secret| {
            if text.contains(secret.as_str()) { text.replace(secret.as_str(), &mark(secret)) } else { text }
        });
        without_tokens(text)
    }

    fn remember(&mut self, secret: &str) {
        let secret = secret.trim();
        let new = secret.len() >= WORTH_FINDING && !self.seen.iter().any(|seen| seen == secret);
        if new && self.seen.len() < REMEMBERED {
            self.seen.push(secret.to_owned());
            // A part of a secret must not be replaced before the whole.
            self.seen.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        }
    }

    /// Without the values of query parameters that are secrets.
    fn without_parameters(&mut self, secrets: &Secrets, text: &str) -> String {
        const BEGIN: [char; 2] = ['?', '&'];
        let (mut kept, mut rest) = (String::with_capacity(text.len()), text);
        while let Some(begin) = rest.find(BEGIN) {
            let (before, after) = rest.split_at(begin + 1);
            let over = |c: char| matches!(c, '?' | '&' | '#' | '"' | '\'' | '<' | '>') || c.is_whitespace();
            let (pair, later) = after.split_at(after.find(over).unwrap_or(after.len()));
            kept.push_str(before);
            match pair.split_once('=') {
                Some((name, value)) if secrets.holds(&String::from_utf8_lossy(&percent::decoded(name.as_bytes()))) => {
                    self.remember(value);
                    self.remember(&String::from_utf8_lossy(&percent::decoded(value.as_bytes())));
                    kept.push_str(name);
                    kept.push('=');
                    kept.push_str(&mark(value));
                }
                _ => kept.push_str(pair),
            }
            rest = later;
        }
        kept + rest
    }
}

/// Without anything that looks like a JSON Web Token: base64url of `{"`, and two dots.
fn without_tokens(text: String) -> String {
    const BEGIN: &str = "eyJ";
    if !text.contains(BEGIN) {
        return text;
    }
    let (mut kept, mut rest) = (String::with_capacity(text.len()), text.as_str());
    while let Some(begin) = rest.find(BEGIN) {
        let (before, after) = rest.split_at(begin);
        let over = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '='));
        let (candidate, later) = after.split_at(after.find(over).unwrap_or(after.len()));
        kept.push_str(before);
        if candidate.matches('.').count() >= 2 {
            kept.push_str(&mark(candidate));
        } else {
            kept.push_str(candidate);
        }
        rest = later;
    }
    kept + rest
}

fn mark(secret: &str) -> String {
    format!("[redacted, {} bytes]", secret.len())
}
