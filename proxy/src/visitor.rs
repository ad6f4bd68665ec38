//! Who asks the admin port: what people's requests contain is shown only to this machine, and not to pages of others.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{self, HeaderMap, HeaderName};
use hyper::http::uri::Authority;

/// A field that a page of another origin cannot send without being allowed to, and nobody is.
const PROOF: HeaderName = HeaderName::from_static("x-wasmplugin-admin");
/// What browsers say about where a request comes from.
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why somebody may not see or change recordings; nothing if they may.
///
/// A page of another origin could make a browser on this machine ask for it: directly (its `origin` tells), or by a name
/// of its own that leads to this machine (its `host` tells).
pub(crate) fn refusal(peer: SocketAddr, headers: &HeaderMap, changes: bool) -> Option<&'static str> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if !peer.ip().to_canonical().is_loopback() {
        return Some(
            "recordings are shown on this machine only; use a tunnel, such as `ssh -L` or `kubectl port-forward`",
        );
    }
    let host = text(header::HOST).unwrap_or_default();
    if !is_this_machine(host) {
        return Some(
            "recordings are shown only where the admin port is asked for as `localhost` or by an address such as `127.0.0.1`",
        );
    }
    let stranger = of_another_page(headers);
    if stranger.is_none() && changes && !headers.contains_key(PROOF) {
        return Some("this changes something, so it needs the header `x-wasmplugin-admin: 1`");
    }
    stranger
}

/// Why a page of another origin may not have a browser ask for something; nothing where no browser says that one does.
pub(crate) fn of_another_page(headers: &HeaderMap) -> Option<&'static str> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let own = format!("http://{}", text(header::HOST).unwrap_or_default());
    let other_site = text(SITE).is_some_and(|site| !matches!(site, "same-origin" | "none"));
    let other_origin = headers.contains_key(header::ORIGIN) && text(header::ORIGIN) != Some(&own);
    (other_site || other_origin).then_some("a page of another origin may not ask for this")
}

/// Whether a `host` names this machine in a way that no stranger's name server can.
fn is_this_machine(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(peer: &str, headers: &[(&'static str, &'static str)], changes: bool) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        refusal(SocketAddr::new(peer.parse().unwrap(), 1), &map, changes).is_some()
    }

    #[test]
    fn only_this_machine_may_look() {
        for host in ["127.0.0.1:9", "localhost:9", "LOCALHOST", "[::1]:9", "127.8.0.1"] {
            assert!(!refused("127.0.0.1", &[("host", host)], false), "{host}");
        }
        assert!(!refused("::ffff:127.0.0.1", &[("host", "[::1]")], false));
        assert!(refused("10.0.0.1", &[("host", "127.0.0.1:9")], false));
    }

    #[test]
    fn pages_of_others_may_not() {
        for host in ["evil.example:9", "10.0.0.1", "localhost.evil.example", "", "127.0.0.1.nip.io"] {
            assert!(refused("127.0.0.1", &[("host", host)], false), "{host}");
        }
        let host = ("host", "127.0.0.1:9");
        for other in [
            ("origin", "http://evil.example"),
            ("origin", "null"),
            ("origin", "https://127.0.0.1:9"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert!(refused("127.0.0.1", &[host, other, ("x-wasmplugin-admin", "1")], true), "{other:?}");
        }
        assert!(refused("127.0.0.1", &[host], true), "a form of another page looks like this");
        assert!(!refused("127.0.0.1", &[host, ("origin", "http://127.0.0.1:9"), ("x-wasmplugin-admin", "1")], true));
    }
}
