//! URLs as Go 1.26's `net/url` reads and prints them, which decides what istiod admits and asks for.
//!
//! The WHATWG rules (the `url` crate) differ in just those texts that matter here: `registry:5000/image` is a URL with
//! the scheme `registry` to Go, a host may hold an underscore, and a path is not tidied up.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use escape::Part;

mod escape;
#[cfg(test)]
mod tests;

/// A URL in its parts, decoded where Go decodes them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GoUrl {
    /// In lower case; empty if the text has none.
    pub scheme: String,
    /// What follows the scheme where that is not a slash.
    pub opaque: String,
    user: Option<User>,
    /// Host and port.
    pub host: String,
    /// The path, decoded.
    pub path: Vec<u8>,
    /// The path as it was written, where encoding it again would give another text.
    raw_path: Option<String>,
    omit_host: bool,
    force_query: bool,
    query: String,
    fragment: Option<(Vec<u8>, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct User {
    name: Vec<u8>,
    password: Option<Vec<u8>>,
}

/// Why a text is no URL to Go.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotUrl {
    /// A byte below the space, or DEL.
    #[error("it contains a control character")]
    Control,
    /// Nothing at all.
    #[error("it is empty")]
    Empty,
    /// `:` comes first.
    #[error("there is no scheme before the colon")]
    NoScheme,
    /// Neither a scheme nor a slash at the beginning.
    #[error("it has neither a scheme nor a path that begins with `/`")]
    Relative,
    /// `192.168.0.1:5000/image`
    #[error("its first path segment contains a colon")]
    Colon,
    /// What follows the host's colon is no number.
    #[error("the port in `{0}` is not a number")]
    Port(String),
    /// A byte that no host may have.
    #[error("the host contains the character `{0}`")]
    Host(char),
    /// Something is wrong with the brackets around an IPv6 address.
    #[error("`{0}` is no IPv6 address in brackets")]
    Literal(String),
    /// A byte that no user may have.
    #[error("the user information before `@` has a character that must be escaped")]
    User,
    /// `%` without two hexadecimal digits, or one that a host may not have.
    #[error("`{0}` is no valid escape")]
    Escape(String),
}

impl GoUrl {
    /// Go's `url.Parse`.
    pub fn parse(text: &str) -> Result<Self, NotUrl> {
        let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
        let mut url = Self::read(rest, false)?;
        if !fragment.is_empty() {
            url.fragment = Some((escape::decode(fragment, Part::Fragment)?, fragment.to_owned()));
        }
        Ok(url)
    }

    /// Go's `url.ParseRequestURI`: absolute, and `#` is nothing special.
    pub fn parse_request_uri(text: &str) -> Result<Self, NotUrl> {
        Self::read(text, true)
    }

    fn read(text: &str, request: bool) -> Result<Self, NotUrl> {
        if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
            return Err(NotUrl::Control);
        }
        if text.is_empty() && request {
            return Err(NotUrl::Empty);
        }
        if text == "*" {
            return Ok(Self { path: b"*".to_vec(), ..Self::default() });
        }
        let (scheme, rest) = scheme(text)?;
        let mut url = Self { scheme: scheme.to_ascii_lowercase(), ..Self::default() };
        let mut rest = url.take_query(rest);
        if !rest.starts_with('/') {
            if !scheme.is_empty() {
                rest.clone_into(&mut url.opaque);
                return Ok(url);
            }
            if request {
                return Err(NotUrl::Relative);
            }
            if rest.split('/').next().is_some_and(|segment| segment.contains(':')) {
                return Err(NotUrl::Colon);
            }
        }
        let may_have_host = !scheme.is_empty() || !request && !rest.starts_with("///");
        if let Some(after) = rest.strip_prefix("//").filter(|_| may_have_host) {
            let (authority, path) = after.split_at(after.find('/').unwrap_or(after.len()));
            url.take_authority(authority)?;
            rest = path;
        } else if !scheme.is_empty() && rest.starts_with('/') {
            url.omit_host = true;
        }
        url.path = escape::decode(rest, Part::Path)?;
        url.raw_path = (escape::encode(&url.path, Part::Path) != rest).then(|| rest.to_owned());
        Ok(url)
    }

    fn take_query<'a>(&mut self, text: &'a str) -> &'a str {
        if let Some(rest) = text.strip_suffix('?').filter(|rest| !rest.contains('?')) {
            self.force_query = true;
            return rest;
        }
        let (rest, query) = text.split_once('?').unwrap_or((text, ""));
        query.clone_into(&mut self.query);
        rest
    }

    fn take_authority(&mut self, authority: &str) -> Result<(), NotUrl> {
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        self.host = read_host(host)?;
        if let Some(text) = user {
            if !text.chars().all(|c| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c)) {
                return Err(NotUrl::User);
            }
            let decode = |text| escape::decode(text, Part::UserInfo);
            self.user = Some(match text.split_once(':') {
                Some((name, password)) => User { name: decode(name)?, password: Some(decode(password)?) },
                None => User { name: decode(text)?, password: None },
            });
        }
        Ok(())
    }

    fn escaped_path(&self) -> Cow<'_, str> {
        let raw = self.raw_path.as_deref().filter(|raw| escape::is_valid_path(raw));
        match raw {
            Some(raw) if escape::decode(raw, Part::Path).as_deref() == Ok(&self.path) => Cow::Borrowed(raw),
            _ if self.path == b"*" => Cow::Borrowed("*"),
            _ => Cow::Owned(escape::encode(&self.path, Part::Path)),
        }
    }
}

/// Go's `URL.String`.
impl std::fmt::Display for GoUrl {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        if !self.scheme.is_empty() {
            text.push_str(&self.scheme);
            text.push(':');
        }
        if self.opaque.is_empty() {
            let named = !self.host.is_empty() || self.user.is_some();
            if named || !self.scheme.is_empty() && !self.omit_host {
                if named || !self.path.is_empty() {
                    text.push_str("//");
                }
                if let Some(user) = &self.user {
                    text.push_str(&escape::encode(&user.name, Part::UserInfo));
                    if let Some(password) = &user.password {
                        text.push(':');
                        text.push_str(&escape::encode(password, Part::UserInfo));
                    }
                    text.push('@');
                }
                text.push_str(&escape::encode(self.host.as_bytes(), Part::Host));
            }
            let path = self.escaped_path();
            if !path.is_empty() && !path.starts_with('/') && !self.host.is_empty() {
                text.push('/');
            }
            if text.is_empty() && path.split('/').next().is_some_and(|segment| segment.contains(':')) {
                text.push_str("./");
            }
            text.push_str(&path);
        } else {
            text.push_str(&self.opaque);
        }
        if self.force_query || !self.query.is_empty() {
            text.push('?');
            text.push_str(&self.query);
        }
        if let Some((fragment, raw)) = &self.fragment {
            text.push('#');
            match escape::is_valid_fragment(raw) {
                true => text.push_str(raw),
                false => text.push_str(&escape::encode(fragment, Part::Fragment)),
            }
        }
        out.write_str(&text)
    }
}

/// The scheme, if the text begins with one, and what follows it.
fn scheme(text: &str) -> Result<(&str, &str), NotUrl> {
    for (place, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if place > 0 => {}
            b':' if place == 0 => return Err(NotUrl::NoScheme),
            b':' => return Ok(text.split_once(':').unwrap_or(("", text))),
            _ => break,
        }
    }
    Ok(("", text))
}

/// Host and port, decoded.
fn read_host(text: &str) -> Result<String, NotUrl> {
    if let Some(open) = text.rfind('[') {
        return read_literal(text, open);
    }
    if let Some(colon) = text.find(':') {
        check_port(text, text.split_at(colon).1)?;
    }
    escape::decode_host(text)
}

/// `[address]` or `[address%25zone]`, then perhaps a port.
fn read_literal(text: &str, open: usize) -> Result<String, NotUrl> {
    let wrong = || NotUrl::Literal(text.to_owned());
    let (inside, port) =
        text.strip_prefix('[').filter(|_| open == 0).and_then(|rest| rest.rsplit_once(']')).ok_or_else(wrong)?;
    check_port(text, port)?;
    let (address, zone) = match inside.find("%25") {
        Some(place) => inside.split_at(place),
        None => (inside, ""),
    };
    let address = escape::decode_host(address)?;
    let zone = String::from_utf8_lossy(&escape::decode(zone, Part::Zone)?).into_owned();
    let valid = address.parse::<Ipv6Addr>().is_ok() && zone != "%";
    valid.then(|| format!("[{address}{zone}]{port}")).ok_or_else(wrong)
}

/// Nothing, or a colon and digits (none is fine too).
fn check_port(host: &str, port: &str) -> Result<(), NotUrl> {
    match port.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Ok(()),
        None if port.is_empty() => Ok(()),
        _ => Err(NotUrl::Port(host.to_owned())),
    }
}
