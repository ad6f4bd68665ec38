//! Where requests go: the user's own server, or a small one that shows what reached it.

use std::fmt;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use wasmplugin_host::envoy::backend::Backend;
use wasmplugin_host::test::{Answer, Cluster, Request};

/// The server behind the proxy.
#[derive(Debug)]
pub(super) enum Upstream {
    /// Somebody else's.
    Given(SocketAddr),
    /// Our own; it stops when dropped.
    Mirror(Backend),
}

impl Upstream {
    /// Takes the address, or starts the small server.
    pub(super) fn start(given: Option<SocketAddr>) -> Result<Self> {
        match given {
            Some(address) => Ok(Self::Given(address)),
            None => Backend::start(Cluster::new("upstream", mirror))
                .map(Self::Mirror)
                .context("the upstream has no port to listen on"),
        }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        match self {
            Self::Given(address) => *address,
            Self::Mirror(backend) => backend.address(),
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(address) => write!(f, "http://{address}"),
            Self::Mirror(_) => f.write_str("a server that shows what reached it; name your own with `--upstream`"),
        }
    }
}

/// Shows a request as JSON.
pub(super) fn mirror(request: &Request) -> Answer {
    let text = |bytes: &[u8]| Value::from(String::from_utf8_lossy(bytes).into_owned());
    let fields = request.headers().iter().filter(|(name, _)| !name.starts_with(b":"));
    let headers: Map<_, _> =
        fields.map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), text(value))).collect();
    let shown = json!({
        "method": request.method(),
        "authority": request.authority(),
        "path": request.path(),
        "headers": headers,
        "body": text(&request.body()),
    });
    Answer::new(200).header("content-type", "application/json").body(format!("{shown:#}\n"))
}

#[cfg(test)]
mod tests {
    use wasmplugin_host::test::Headers;

    use super::*;

    #[test]
    fn the_mirror_shows_everything() {
        let headers = [(":method", "PUT"), (":path", "/a"), (":authority", "h"), ("x-a", "1")].into_iter().collect();
        let answer = mirror(&Request::new(headers, "hi", Headers::new()));
        let body: Vec<u8> = answer.pieces().flat_map(|piece| piece.to_vec()).collect();
        let shown: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            shown,
            json!({"method": "PUT", "authority": "h", "path": "/a", "headers": {"x-a": "1"}, "body": "hi"})
        );
    }
}
