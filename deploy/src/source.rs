//! Where a module comes from: what istiod admits as `url`, and what becomes of it later.

use crate::go_url::{GoUrl, NotUrl};

/// Why istiod refuses a `url`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlRefused {
    /// There is none.
    #[error("url field needs to be set")]
    Empty,
    /// It is none, even with `http://` in front.
    #[error("failed to parse url: {0}")]
    NotUrl(#[from] NotUrl),
    /// Neither `oci`, `http`, `https` nor `file`.
    #[error("url contains unsupported scheme: {0}")]
    Scheme(String),
}

/// The schemes that are admitted; none at all means `oci`.
const SCHEMES: [&str; 5] = ["", "file", "http", "https", "oci"];

/// Whether the API server's CEL rule and istiod's webhook admit it: both read it with Go's strict parser, and once more
/// with `http://` in front where that fails.
pub fn admit(url: &str) -> Result<(), UrlRefused> {
    if url.is_empty() {
        return Err(UrlRefused::Empty);
    }
    let parsed = strict(url).or_else(|_| strict(&format!("http://{url}")))?;
    if SCHEMES.contains(&parsed.scheme.as_str()) { Ok(()) } else { Err(UrlRefused::Scheme(parsed.scheme)) }
}

fn strict(url: &str) -> Result<GoUrl, NotUrl> {
    GoUrl::parse_request_uri(url)?;
    GoUrl::parse(url)
}

/// What istiod tells a proxy to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file in the proxy's container.
    Local {
        /// The name as Envoy will open it.
        filename: String,
    },
    /// Something to download.
    Remote(Remote),
}

/// Something that the agent downloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// The address in Envoy's configuration.
    pub uri: String,
    /// `oci`, `http`, `https`, or something that the agent cannot fetch.
    pub scheme: String,
    /// The registry or server with its port; empty if the address names none.
    pub host: String,
    /// For images: the reference, without scheme, query and credentials.
    pub reference: String,
}

impl Source {
    /// What istiod makes of an admitted `url`. It reads it a second time, without the leniency of [`admit`]; a plugin
    /// whose `url` it cannot read then is dropped, with no more than a line in istiod's log.
    pub fn resolve(url: &str) -> Result<Self, NotUrl> {
        let mut parsed = GoUrl::parse(url)?;
        if parsed.scheme == "file" {
            return Ok(Self::Local { filename: url.strip_prefix("file://").unwrap_or(url).to_owned() });
        }
        if parsed.scheme.is_empty() {
            "oci".clone_into(&mut parsed.scheme);
        }
        let uri = parsed.to_string();
        // The agent reads the address once more; where that fails there is nothing to fetch.
        let seen = GoUrl::parse(&uri).unwrap_or_default();
        let reference = format!("{}{}", seen.host, String::from_utf8_lossy(&seen.path));
        Ok(Self::Remote(Remote { uri, scheme: seen.scheme, host: seen.host, reference }))
    }
}

impl Remote {
    /// Whether the agent knows how to fetch it.
    #[must_use]
    pub fn is_fetchable(&self) -> bool {
        matches!(self.scheme.as_str(), "oci" | "http" | "https")
    }

    /// Whether it is an image in a registry.
    #[must_use]
    pub fn is_image(&self) -> bool {
        self.scheme == "oci"
    }

    /// Whether a proxy asks for it again at each change of the resource, if no policy is given. Only an image whose
    /// address ends with the literal `:latest`: one without any tag is kept.
    #[must_use]
    pub fn pulls_always(&self) -> bool {
        self.is_image() && self.reference.ends_with(":latest")
    }
}
