//! The external authorizer that `CUSTOM` policies ask over HTTP: what to send it, and what its answer means.

use std::time::Duration;

use super::config::{Config, Provider};
use super::matcher::{Reach, Text};
use crate::finding::{At, Finding};

/// How long Istio waits where nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Headers that a check carries whatever the configuration says.
const ALWAYS_SENT: [&str; 1] = ["authorization"];

/// Headers that a refusal carries whatever the configuration says.
const ALWAYS_RETURNED: [&str; 2] = ["www-authenticate", "location"];

/// Headers that belong to one connection, or that the proxy writes itself.
const OWN: [&str; 5] = ["host", "content-length", "transfer-encoding", "connection", "keep-alive"];

/// A list of headers: names and values.
pub type Headers = Vec<(Vec<u8>, Vec<u8>)>;

/// One external authorizer.
#[derive(Debug, Clone)]
pub struct Authorizer {
    cluster: String,
    path_prefix: String,
    timeout: Duration,
    fail_open: bool,
    status_on_error: u16,
    sent: Vec<Text>,
    to_upstream: Vec<Text>,
    to_downstream: Vec<Text>,
}

/// What an answer, or the want of one, means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The request goes on, with these headers in place of its own of the same names.
    Allowed {
        /// The headers to set.
        set: Headers,
    },
    /// The request is refused.
    Denied {
        /// The status for the client.
        status: u16,
        /// The headers for the client.
        headers: Headers,
        /// Whether the body of the answer goes to the client.
        with_body: bool,
    },
}

impl Authorizer {
    /// Reads all providers of a configuration.
    pub(super) fn all(config: &Config<'_>) -> Result<Vec<(String, Self)>, Finding> {
        let providers = At::Field(&At::Whole, "providers");
        let mut all = Vec::new();
        for (name, provider) in &config.providers {
            let at = At::Member(&providers, name);
            let authorizer = Self::new(provider).map_err(|(field, reason)| At::Field(&at, field).finding(reason))?;
            all.push((name.clone(), authorizer));
        }
        Ok(all)
    }

    fn new(provider: &Provider) -> Result<Self, (&'static str, String)> {
        if provider.cluster.is_empty() {
            return Err(("cluster", "must not be empty".to_owned()));
        }
        if !provider.path_prefix.is_empty() && !provider.path_prefix.starts_with('/') {
            return Err(("pathPrefix", format!("`{}` must begin with `/`", provider.path_prefix)));
        }
        let timeout = match &provider.timeout {
            Some(text) => duration(text)
                .ok_or_else(|| ("timeout", format!("`{text}` must be a time such as `500ms` or `2.5s`")))?,
            None => TIMEOUT,
        };
        let status_on_error = match &provider.status_on_error {
            Some(text) => text
                .parse()
                .ok()
                .filter(|status| (400..600).contains(status))
                .ok_or_else(|| ("statusOnError", format!("`{text}` must be a status from 400 to 599")))?,
            None => 403,
        };
        let texts = |names: &[String]| names.iter().map(|name| Text::parse(name, Text::Present).lower()).collect();
        Ok(Self {
            cluster: provider.cluster.clone(),
            path_prefix: provider.path_prefix.clone(),
            timeout,
            fail_open: provider.fail_open,
            status_on_error,
            sent: texts(&provider.include_request_headers_in_check),
            to_upstream: texts(&provider.headers_to_upstream_on_allow),
            to_downstream: texts(&provider.headers_to_downstream_on_deny),
        })
    }

    /// The cluster to call.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// How long to wait for the answer.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The headers of the check: the request line of the request, its path behind the prefix, and the headers asked for.
    pub fn check(&self, method: &[u8], path: &[u8], authority: &[u8], headers: &[(&[u8], &[u8])]) -> Headers {
        let line = [
            (&b":method"[..], method.to_vec()),
            (b":path", [self.path_prefix.as_bytes(), path].concat()),
            (b":authority", authority.to_vec()),
            (b"content-length", b"0".to_vec()),
        ];
        let mut check: Headers = line.into_iter().map(|(name, value)| (name.to_vec(), value)).collect();
        for (name, value) in headers {
            let name = name.to_ascii_lowercase();
            if !own(&name) && (named(&ALWAYS_SENT, &name) || listed(&self.sent, &name)) {
                check.push((name, value.to_vec()));
            }
        }
        check
    }

    /// What an answer means: 200 allows, 5xx is a failure, everything else refuses.
    pub fn verdict(&self, status: u16, headers: &[(&[u8], &[u8])]) -> Verdict {
        let kept = |keep: &dyn Fn(&[u8]) -> bool| {
            let lower = headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_vec()));
            lower.filter(|(name, _)| !own(name) && keep(name)).collect()
        };
        match status {
            200 => Verdict::Allowed { set: kept(&|name| listed(&self.to_upstream, name)) },
            500.. => self.unavailable(),
            _ => {
                let all = self.to_downstream.is_empty();
                let headers = kept(&|name| all || named(&ALWAYS_RETURNED, name) || listed(&self.to_downstream, name));
                Verdict::Denied { status, headers, with_body: true }
            }
        }
    }

    /// What it means that no answer came.
    pub fn unavailable(&self) -> Verdict {
        if self.fail_open {
            return Verdict::Allowed { set: Headers::new() };
        }
        Verdict::Denied { status: self.status_on_error, headers: Headers::new(), with_body: false }
    }
}

fn listed(list: &[Text], name: &[u8]) -> bool {
    list.iter().any(|text| text.fits(name, Reach::Envoy))
}

fn named(list: &[&str], name: &[u8]) -> bool {
    list.iter().any(|other| other.as_bytes() == name)
}

/// Whether a header is not to be copied from one message to another.
fn own(name: &[u8]) -> bool {
    name.starts_with(b":") || named(&OWN, name)
}

/// Reads `1h`, `2m`, `2.5s`, `500ms`; zero is no time to wait.
fn duration(text: &str) -> Option<Duration> {
    let units = [("ms", 1_000_000), ("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000)];
    let (number, unit) = units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| -> Option<u64> {
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
    };
    // What lies below nine digits of the unit is no time that anybody waits.
    let places = u32::try_from(fraction.len()).ok().filter(|places| *places <= 9)?;
    let part = digits(fraction)?.checked_mul(unit)?.checked_div(10_u64.pow(places))?;
    let nanoseconds = digits(whole)?.checked_mul(unit)?.checked_add(part)?;
    (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authorizer(provider: Provider) -> Authorizer {
        Authorizer::new(&Provider { cluster: "authz".to_owned(), ..provider }).unwrap()
    }

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn names(headers: &Headers) -> Vec<&str> {
        headers.iter().map(|(name, _)| std::str::from_utf8(name).unwrap()).collect()
    }

    #[test]
    fn a_check_carries_the_request_line_and_what_is_asked_for() {
        let authorizer = authorizer(Provider {
            path_prefix: "/check".to_owned(),
            include_request_headers_in_check: strings(&["Cookie", "x-auth-*"]),
            ..Provider::default()
        });
        let headers: [(&[u8], &[u8]); 6] = [
            (b":path", b"/a"),
            (b"X-Auth-A", b"1"),
            (b"x-auth-a", b"2"),
            (b"cookie", b"c"),
            (b"other", b"o"),
            (b"Authorization", b"t"),
        ];
        let check = authorizer.check(b"GET", b"/a?b", b"h", &headers);
        assert_eq!(check[1].1, b"/check/a?b");
        assert_eq!(
            names(&check),
            [":method", ":path", ":authority", "content-length", "x-auth-a", "x-auth-a", "cookie", "authorization"]
        );
    }

    #[test]
    fn an_answer_allows_refuses_or_fails() {
        let open = authorizer(Provider { fail_open: true, ..Provider::default() });
        let closed = authorizer(Provider {
            status_on_error: Some("503".to_owned()),
            headers_to_upstream_on_allow: strings(&["x-user"]),
            headers_to_downstream_on_deny: strings(&["x-why"]),
            ..Provider::default()
        });
        let headers: [(&[u8], &[u8]); 4] =
            [(b":status", b""), (b"x-user", b"u"), (b"x-why", b"w"), (b"location", b"l")];
        let Verdict::Allowed { set } = closed.verdict(200, &headers) else { panic!("refused") };
        assert_eq!(names(&set), ["x-user"]);
        let Verdict::Denied { status: 302, headers: some, with_body: true } = closed.verdict(302, &headers) else {
            panic!()
        };
        assert_eq!(names(&some), ["x-why", "location"]);
        let Verdict::Denied { headers: all, .. } = open.verdict(401, &headers) else { panic!() };
        assert_eq!(names(&all), ["x-user", "x-why", "location"]);
        assert_eq!(closed.verdict(500, &headers), Verdict::Denied { status: 503, headers: vec![], with_body: false });
        assert_eq!(open.unavailable(), Verdict::Allowed { set: vec![] });
    }

    #[test]
    fn times_are_read() {
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("2.5s"), Some(Duration::from_millis(2500)));
        assert_eq!(duration("1m"), Some(Duration::from_secs(60)));
        for text in ["", "s", "1", "-1s", "0s", "1d", "1e9s", "NaNs"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
