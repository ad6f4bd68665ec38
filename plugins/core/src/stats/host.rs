//! Which hosts may become a label: a client chooses them, and the proxy keeps each for ever.

/// What stands for a host that is not listed.
pub const OTHER: &str = "other";

/// Hosts, exact or with a `*` at one end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostList {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Any,
}

impl HostList {
    /// Reads the patterns.
    ///
    /// # Errors
    ///
    /// The place of the first that has a `*` elsewhere than at one end, and what is wrong with it.
    pub fn new(patterns: &[String]) -> Result<Self, (usize, String)> {
        let patterns = patterns.iter().enumerate().map(|(at, text)| {
            Pattern::new(text).ok_or_else(|| (at, format!("`{text}` may have one `*`, at its beginning or its end")))
        });
        Ok(Self { patterns: patterns.collect::<Result<_, _>>()? })
    }

    /// Whether the host is listed, with or without its port, in any case of letters.
    #[must_use]
    pub fn contains(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let name = without_port(&host);
        self.patterns.iter().any(|pattern| pattern.matches(&host) || pattern.matches(name))
    }
}

impl Pattern {
    fn new(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let pattern = match (text.strip_prefix('*'), text.strip_suffix('*')) {
            (Some(""), _) => return Some(Self::Any),
            (Some(suffix), _) => Self::Suffix(suffix.to_owned()),
            (None, Some(prefix)) => Self::Prefix(prefix.to_owned()),
            (None, None) => Self::Exact(text),
        };
        let (Self::Exact(inner) | Self::Prefix(inner) | Self::Suffix(inner)) = &pattern else { return None };
        (!inner.contains('*')).then_some(pattern)
    }

    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(text) => host == text,
            Self::Prefix(prefix) => host.starts_with(prefix.as_str()),
            Self::Suffix(suffix) => host.ends_with(suffix.as_str()),
            Self::Any => true,
        }
    }
}

/// A host without its port; an IPv6 address keeps its brackets.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty() => {
            if name.contains(':') && !name.ends_with(']') { host } else { name }
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_have_a_star_at_one_end() {
        let list = HostList::new(&["a.test".into(), "*.Shop.test".into(), "api.*".into()]).unwrap();
        for host in ["a.test", "A.test:8080", "x.shop.test", "api.anything:1"] {
            assert!(list.contains(host), "{host}");
        }
        for host in ["b.a.test", "shop.test", "a.test.evil", "", "a.test:80x"] {
            assert!(!list.contains(host), "{host}");
        }
        assert!(HostList::new(&["*".into()]).unwrap().contains("whatever"));
        assert!(!HostList::new(&[]).unwrap().contains("whatever"));
        for bad in ["a*b", "*a*", "**"] {
            assert_eq!(HostList::new(&["ok".into(), bad.into()]).unwrap_err().0, 1, "{bad}");
        }
    }

    #[test]
    fn ports_are_left_out() {
        for (host, name) in [("a:80", "a"), ("[::1]:80", "[::1]"), ("::1", "::1"), ("a", "a"), (":80", ":80")] {
            assert_eq!(without_port(host), name);
        }
    }
}
