//! What one request or connection looks like to a rule, and which of it the rules look at.

use std::net::{IpAddr, SocketAddr};

use super::claims::Claim;
use super::matcher::Reach;
use super::policy::{Attribute, Clause};
use crate::order;

/// One request, or one connection. Whatever is `None` or empty is missing: it fails every `x` and passes every `notX`.
///
/// Only what [`Needs`] names has to be filled in.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts<'a> {
    /// `:method`.
    pub method: Option<&'a [u8]>,
    /// `:path`, normalised by the proxy, with its query.
    pub path: Option<&'a [u8]>,
    /// `:authority`, with its port.
    pub authority: Option<&'a [u8]>,
    /// All header lines, one entry each. Lines named `:method`, `:path`, `:authority` or `host` are passed over.
    pub headers: &'a [(&'a [u8], &'a [u8])],
    /// The URI names of the peer's certificate.
    pub identities: &'a [&'a [u8]],
    /// The other names of the peer's certificate: DNS names and the subject. They count only where a match can only refuse.
    pub other_names: &'a [&'a [u8]],
    /// The address of the peer of the TCP connection.
    pub direct_ip: Option<IpAddr>,
    /// The address of the client, after `x-forwarded-for` and the proxy protocol.
    pub remote_ip: Option<IpAddr>,
    /// The local address of the connection.
    pub destination_ip: Option<IpAddr>,
    /// The local port of the connection.
    pub destination_port: Option<u16>,
    /// The server name that the client asked for, in lower case as Envoy has it.
    pub sni: Option<&'a [u8]>,
    /// The claims of the verified token.
    pub claims: Option<&'a Claim<'a>>,
    /// Dynamic metadata of other filters.
    pub metadata: &'a [Metadata<'a>],
}

/// One value of dynamic metadata.
#[derive(Debug, Clone)]
pub struct Metadata<'a> {
    /// The filter, such as `envoy.filters.http.ext_authz`.
    pub namespace: &'a str,
    /// The key in it.
    pub key: &'a str,
    /// The value.
    pub value: Claim<'a>,
}

impl<'a> Facts<'a> {
    /// The path up to its query or fragment.
    pub(super) fn plain_path(&self) -> Option<&'a [u8]> {
        self.path.map(|path| path.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default())
    }

    /// The header lines as rules see them: those of the request line by their own facts, all others as they are.
    pub(super) fn lines(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let own = [
            (&b":method"[..], self.method),
            (b":path", self.path),
            (b":authority", self.authority),
            (b"host", self.authority),
        ];
        let others = self
            .headers
            .iter()
            .copied()
            .filter(move |(name, _)| !own.iter().any(|(own, _)| own.eq_ignore_ascii_case(name)));
        own.into_iter().filter_map(|(name, value)| Some((name, value?))).chain(others)
    }

    /// The issuer and the subject of the token, if it has both as text.
    pub(super) fn token(&self) -> Option<(&'a str, &'a str)> {
        let claims = self.claims?;
        Some((claims.at(["iss"])?.text()?, claims.at(["sub"])?.text()?))
    }
}

/// Which facts the rules look at; a shell asks the proxy for no others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is named as the one of `Facts` that it asks for")]
pub struct Needs {
    pub method: bool,
    pub path: bool,
    pub authority: bool,
    pub headers: bool,
    pub identities: bool,
    pub other_names: bool,
    pub direct_ip: bool,
    pub remote_ip: bool,
    pub destination_ip: bool,
    pub destination_port: bool,
    pub sni: bool,
    /// The paths of claims; issuer and subject among them where a rule looks at the principal of a token.
    pub claims: Vec<Vec<String>>,
    /// The namespaces and keys of dynamic metadata.
    pub metadata: Vec<(String, String)>,
}

impl Needs {
    pub(super) fn of<'c>(clauses: impl Iterator<Item = &'c Clause>) -> Self {
        let mut needs = Self::default();
        for clause in clauses {
            match &clause.attribute {
                Attribute::Method => needs.method = true,
                Attribute::Path => needs.path = true,
                Attribute::Host => needs.authority = true,
                Attribute::Header(name) => match &**name {
                    ":method" => needs.method = true,
                    ":path" => needs.path = true,
                    ":authority" | "host" => needs.authority = true,
                    _ => needs.headers = true,
                },
                Attribute::Identity => {
                    needs.identities = true;
                    needs.other_names |= clause.reach == Reach::Every;
                }
                Attribute::Token => needs.claims.extend(["iss", "sub"].map(|name| vec![name.to_owned()])),
                Attribute::Claim(path) => {
                    needs.claims.push(path.clone());
                }
                Attribute::DirectIp => needs.direct_ip = true,
                Attribute::RemoteIp => needs.remote_ip = true,
                Attribute::DestinationIp => needs.destination_ip = true,
                Attribute::DestinationPort => needs.destination_port = true,
                Attribute::Sni => needs.sni = true,
                Attribute::Metadata { namespace, key } => {
                    needs.metadata.push((namespace.clone(), key.clone()));
                }
            }
        }
        order::sort(&mut needs.claims, Ord::cmp);
        needs.claims.dedup();
        order::sort(&mut needs.metadata, Ord::cmp);
        needs.metadata.dedup();
        needs
    }
}

/// Reads an address as Envoy's properties give it: `10.0.0.1:80`, `[::1]:80`, or without a port.
pub fn address(text: &[u8]) -> Option<(IpAddr, Option<u16>)> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some((address.ip(), Some(address.port())));
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().map(|address| (address, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_with_and_without_port() {
        assert_eq!(address(b"1.2.3.4:80"), Some(("1.2.3.4".parse().unwrap(), Some(80))));
        assert_eq!(address(b"[::1]:0"), Some(("::1".parse().unwrap(), Some(0))));
        assert_eq!(address(b"::1"), Some(("::1".parse().unwrap(), None)));
        assert_eq!(address(b"1.2.3.4"), Some(("1.2.3.4".parse().unwrap(), None)));
        assert_eq!((address(b""), address(b"pipe"), address(b"\xff")), (None, None, None));
    }

    #[test]
    fn the_request_line_wins_over_lines_of_its_names() {
        let facts = Facts { authority: Some(b"a"), headers: &[(b"Host", b"b"), (b"x", b"1")], ..Facts::default() };
        let lines: Vec<_> = facts.lines().collect();
        assert_eq!(lines, [(&b":authority"[..], &b"a"[..]), (b"host", b"a"), (b"x", b"1")]);
    }
}
