//! Where a key set is fetched: an `http` or `https` URI, and the cluster that leads there.

use std::net::IpAddr;

/// A URI of which a callout can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Uri {
    pub(crate) https: bool,
    /// As written: host, and port if there is one.
    pub(crate) authority: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Path and query.
    pub(crate) path: String,
}

/// Longer URIs are refused, as the resource's definition does; in bytes.
const MAX_BYTES: usize = 2048;

impl Uri {
    /// Reads a URI; the error says what is wrong with it. Addresses of one link, where clouds keep their metadata, are
    /// refused as istiod refuses them.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > MAX_BYTES {
            return Err("is longer than 2048 bytes");
        }
        if text.bytes().any(|byte| byte <= b' ' || byte >= 0x7f || matches!(byte, b'"' | b'<' | b'>' | b'\\')) {
            return Err("has a character that no URI has");
        }
        let (https, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err("begins neither with `http://` nor with `https://`"),
        };
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("has a user name");
        }
        let (host, port) = host_and_port(authority, https)?;
        if is_link_local(host) {
            return Err("names a link-local address");
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { https, authority: authority.to_owned(), host: host.to_owned(), port, path })
    }

    pub(crate) fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }
}

fn host_and_port(authority: &str, https: bool) -> Result<(&str, u16), &'static str> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || (host.contains([':', '[', ']']) && !bracketed) {
        return Err("has no valid host");
    }
    match port {
        None => Ok((host, if https { 443 } else { 80 })),
        Some(port) => match port.parse() {
            Ok(number @ 1..) if !port.starts_with('+') => Ok((host, number)),
            _ => Err("has no valid port"),
        },
    }
}

fn is_link_local(host: &str) -> bool {
    match host.trim_start_matches('[').trim_end_matches(']').parse() {
        Ok(IpAddr::V4(address)) => address.is_link_local(),
        Ok(IpAddr::V6(address)) => {
            let mapped = address.to_ipv4_mapped().is_some_and(|address| address.is_link_local());
            let [first, second, ..] = address.segments();
            mapped || first & 0xffc0 == 0xfe80 || (first, second) == (0xfd00, 0x0ec2)
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_uri_are_found() {
        for (text, scheme, host, port, path) in [
            ("https://idp.example.com/jwks", "https", "idp.example.com", 443, "/jwks"),
            ("http://idp:8080", "http", "idp", 8080, "/"),
            ("https://idp?a=b#c", "https", "idp", 443, "/?a=b"),
            ("http://[::1]:80/x", "http", "[::1]", 80, "/x"),
            ("http://[::1]/x", "http", "[::1]", 80, "/x"),
        ] {
            let uri = Uri::parse(text).unwrap();
            assert_eq!((uri.scheme(), uri.host.as_str(), uri.port, uri.path.as_str()), (scheme, host, port, path));
        }
    }

    #[test]
    fn what_no_callout_can_be_made_of_is_refused() {
        for text in [
            "",
            "idp",
            "ftp://idp",
            "HTTPS://idp",
            "http://",
            "http://:80",
            "http://a:b",
            "http://a:0",
            "http://a:+1",
            "http://a:65536",
            "http://a:",
            "http://u@h/",
            "http://a b",
            "http://a\r\n",
            "http://::1/",
            "http://169.254.169.254/latest",
            "http://[fe80::1]/",
            "http://[fd00:ec2::254]/",
            "http://[::ffff:169.254.169.254]/",
        ] {
            assert!(Uri::parse(text).is_err(), "{text}");
        }
        assert!(Uri::parse(&format!("http://idp/{}", "a".repeat(2048))).is_err());
    }
}
