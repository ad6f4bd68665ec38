//! Addresses as they are typed.

use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// An address with its port, such as `127.0.0.1:8080` or `localhost:3000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address(SocketAddr);

impl Address {
    /// As sockets take it.
    pub(crate) fn socket(&self) -> SocketAddr {
        self.0
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        if !bare.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
            return Err("expected a host and a port, such as `127.0.0.1:8080` or `localhost:3000`".to_owned());
        }
        let mut found =
            bare.to_socket_addrs().map_err(|error| format!("the host is not known: {error}"))?.collect::<Vec<_>>();
        // `localhost` is mostly both, and servers on it mostly listen on the older one.
        found.sort_by_key(SocketAddr::is_ipv6);
        found.first().copied().map(Self).ok_or_else(|| "the host has no address".to_owned())
    }
}

/// A cluster's name and the address of its server, such as `auth=localhost:9000`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedAddress {
    /// What plugins call it.
    pub(crate) name: String,
    /// Where its server listens.
    pub(crate) address: Address,
}

impl FromStr for NamedAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.rsplit_once('=') {
            Some((name, address)) if !name.is_empty() => Ok(Self { name: name.to_owned(), address: address.parse()? }),
            _ => Err("expected a name and an address, such as `auth=localhost:9000`".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for text in ["127.0.0.1:80", "http://127.0.0.1:80/", "localhost:80"] {
            assert_eq!(text.parse::<Address>().unwrap().socket(), SocketAddr::from(([127, 0, 0, 1], 80)), "{text}");
        }
        assert_eq!("[::1]:80".parse::<Address>().unwrap().socket().port(), 80);
        for text in ["", "80", "localhost", ":80", "localhost:http", "localhost:99999"] {
            assert!(text.parse::<Address>().unwrap_err().contains("expected a host"), "{text}");
        }
    }

    #[test]
    fn a_cluster_may_have_any_name() {
        let cluster: NamedAddress = "outbound|80||a=b.c=127.0.0.1:9".parse().unwrap();
        assert_eq!(cluster.name, "outbound|80||a=b.c");
        assert!("=127.0.0.1:9".parse::<NamedAddress>().is_err());
        assert!("127.0.0.1:9".parse::<NamedAddress>().is_err());
    }
}
