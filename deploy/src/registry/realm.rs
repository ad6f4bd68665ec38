//! Where a registry may send its clients for a token.
//!
//! A registry names the token server in its answer, so a hostile one could point into the network of whoever pulls.
//! Istio's agent refuses such realms, and so do we.

use reqwest::Url;

use super::hosts::{self, HostList};

/// The names of cloud metadata services.
const METADATA_NAMES: [&str; 4] =
    ["metadata", "metadata.google.internal", "metadata.goog", "instance-data.ec2.internal"];

/// A token server that is not asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the registry names `{realm}` as its token server, which {problem}; {fix}")]
pub struct BadRealm {
    realm: String,
    problem: &'static str,
    fix: &'static str,
}

/// Checks the realm of a bearer challenge; `allowed` hosts may be internal.
///
/// # Errors
///
/// If it is no `http` or `https` URL, or its host is this machine, a metadata service, or a private or link-local
/// address.
pub fn check(realm: &str, allowed: &HostList) -> Result<Url, BadRealm> {
    const REPORT: &str = "report it to whoever runs the registry";
    const ALLOW: &str = "Istio refuses it as well; here `--allow-realm HOST` permits it";
    let bad = |problem, fix| BadRealm { realm: realm.chars().take(200).collect(), problem, fix };
    let url = Url::parse(realm).map_err(|_| bad("is no URL", REPORT))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("is neither http nor https", REPORT));
    }
    let Some(host) = url.host_str() else { return Err(bad("has no host", REPORT)) };
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let with_port = url.port().map_or_else(|| name.clone(), |port| format!("{name}:{port}"));
    if allowed.contains(&with_port) {
        return Ok(url);
    }
    if name == "localhost" || name.ends_with(".localhost") {
        return Err(bad("is this machine", ALLOW));
    }
    if METADATA_NAMES.contains(&name.as_str()) {
        return Err(bad("is a cloud's metadata service", ALLOW));
    }
    match hosts::address(&name) {
        Some(address) if hosts::is_internal(address) => Err(bad("is a private or link-local address", ALLOW)),
        _ => Ok(url),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_token_servers_are_asked() {
        for realm in ["https://auth.docker.io/token", "http://auth.example/token", "https://8.8.8.8/token"] {
            assert!(check(realm, &HostList::default()).is_ok(), "{realm}");
        }
    }

    #[test]
    fn internal_ones_are_not() {
        for realm in [
            "ftp://a.example/",
            "file:///etc/passwd",
            "no url",
            "https://localhost/t",
            "http://LOCALHOST:80/",
            "http://a.localhost./",
            "http://169.254.169.254/latest",
            "http://metadata.google.internal/",
            "http://10.0.0.1/",
            "http://192.168.1.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://[::1]/",
            "http://[fe80::1]/",
            "http://[fd00::1]/",
            "http://[::ffff:10.0.0.1]/",
            "http://0.0.0.0/",
            "http://100.100.100.200/",
        ] {
            assert!(check(realm, &HostList::default()).is_err(), "{realm}");
        }
    }

    #[test]
    fn an_internal_one_can_be_allowed_by_name() {
        let allowed = "127.0.0.1:5001".parse().unwrap();
        assert!(check("http://127.0.0.1:5001/token", &allowed).is_ok());
        assert!(check("http://127.0.0.1:5002/token", &allowed).is_err());
    }
}
