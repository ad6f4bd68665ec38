//! Lists of hosts, as `WASM_INSECURE_REGISTRIES` writes them, and what an address says about a host.

use std::net::IpAddr;
use std::str::FromStr;

/// Hosts with their ports, or all of them: `localhost:5000,registry.test` or `*`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostList {
    all: bool,
    hosts: Vec<String>,
}

impl HostList {
    /// Every host.
    #[must_use]
    pub fn all() -> Self {
        Self { all: true, hosts: Vec::new() }
    }

    /// Whether the host, with its port where it has one, is in the list, letter by letter.
    #[must_use]
    pub fn contains(&self, host: &str) -> bool {
        self.all || self.hosts.iter().any(|known| known == host)
    }
}

impl FromStr for HostList {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hosts = text.split(',').map(str::trim).filter(|host| !host.is_empty());
        let (stars, hosts): (Vec<_>, Vec<_>) = hosts.map(str::to_owned).partition(|host| host == "*");
        Ok(Self { all: !stars.is_empty(), hosts })
    }
}

/// Whether a host is this machine or in a private network by its name alone: where plain HTTP is expected.
#[must_use]
pub fn is_local(host: &str) -> bool {
    let name = without_port(host);
    name == "localhost"
        || name.ends_with(".localhost")
        || match address(name) {
            Some(IpAddr::V4(address)) => address.is_loopback() || address.is_private(),
            Some(IpAddr::V6(address)) => address.is_loopback(),
            None => false,
        }
}

/// Whether an address belongs to this machine, a private network, or a cloud's metadata service.
#[must_use]
pub fn is_internal(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_unspecified() || is_metadata(address),
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_unique_local()
                || is_metadata(address)
                || v6.to_ipv4_mapped().is_some_and(|v4| is_internal(IpAddr::V4(v4)))
        }
    }
}

/// Whether an address is link-local, where the clouds keep their metadata services, or one of those elsewhere.
#[must_use]
pub fn is_metadata(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local() || [[100, 100, 100, 200], [168, 63, 129, 16]].contains(&v4.octets()),
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local()
                || v6.segments() == [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254]
                || v6.to_ipv4_mapped().is_some_and(|v4| is_metadata(IpAddr::V4(v4)))
        }
    }
}

/// The address that a host is written as, if it is one.
#[must_use]
pub fn address(name: &str) -> Option<IpAddr> {
    name.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// The host alone.
#[must_use]
pub fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_hosts_exactly_or_all() {
        let list: HostList = " a.test , b.test:5000,".parse().unwrap();
        assert!(list.contains("a.test") && list.contains("b.test:5000"));
        assert!(!list.contains("b.test") && !list.contains("a.test:443") && !list.contains(""));
        assert!("x,*".parse::<HostList>().unwrap().contains("anything"));
        assert!(!HostList::default().contains("a.test"));
    }

    #[test]
    fn local_hosts_are_told_by_their_names() {
        for host in [
            "localhost",
            "localhost:5000",
            "a.localhost:1",
            "127.0.0.1:5000",
            "[::1]:5000",
            "10.1.2.3",
            "192.168.0.1:80",
        ] {
            assert!(is_local(host), "{host}");
        }
        for host in ["ghcr.io", "localhost.example", "8.8.8.8:5000", "172.32.0.1", "169.254.169.254"] {
            assert!(!is_local(host), "{host}");
        }
    }
}
