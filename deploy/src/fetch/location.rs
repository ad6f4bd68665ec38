//! Where a module is: what the URL of a plugin names.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use reqwest::Url;

use super::FetchError;
use crate::image::reference::Reference;

/// A URL, taken apart as Istio's agent does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A module, or an archive of one, on a web server.
    Http(Url),
    /// A module in an image.
    Image {
        /// The image.
        reference: Reference,
        /// The URL's host and path, without user and query.
        path: String,
    },
    /// A file on this machine.
    File(PathBuf),
}

impl Location {
    /// Takes a URL apart. Text without a scheme names an image.
    ///
    /// # Errors
    ///
    /// If the scheme is not `oci`, `http`, `https` or `file`, or what follows cannot be used.
    pub fn parse(url: &str) -> Result<Self, FetchError> {
        let (scheme, rest) = match url.split_once("://") {
            Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
            None => ("oci".to_owned(), url),
        };
        match scheme.as_str() {
            "oci" => image(rest),
            "file" => Ok(Self::File(rest.into())),
            "http" | "https" => {
                let parsed = Url::parse(url)
                    .map_err(|error| FetchError::Url { url: url.to_owned(), reason: error.to_string() })?;
                Ok(Self::Http(parsed))
            }
            _ => Err(FetchError::Scheme(url.to_owned())),
        }
    }

    /// The scheme that the policy looks at.
    pub(super) fn scheme(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Image { .. } => "oci",
            Self::File(_) => "file",
        }
    }

    /// The name that the module is cached under: the URL, or for an image its repository.
    pub(super) fn module_name(&self, url: &str) -> String {
        match self {
            Self::Image { reference, .. } => format!("oci://{}", reference.name()),
            Self::Http(_) | Self::File(_) => url.to_owned(),
        }
    }

    /// The path that the policy looks at.
    pub(super) fn path(&self) -> &str {
        match self {
            Self::Http(url) => url.path(),
            Self::Image { path, .. } => path,
            Self::File(_) => "",
        }
    }
}

/// Query and fragment are dropped, and so is a user: credentials do not belong into a URL.
fn image(rest: &str) -> Result<Location, FetchError> {
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = match host.rsplit_once('@') {
        // A digest after a bare name is no user.
        Some((_, digest)) if digest.starts_with("sha256:") => host,
        Some((_, host)) => host,
        None => host,
    };
    let path = percent_decode_str(path).decode_utf8_lossy();
    let path = if rest.contains('/') { format!("{host}/{path}") } else { host.to_owned() };
    Ok(Location::Image { reference: path.parse()?, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image_of(url: &str) -> String {
        match Location::parse(url) {
            Ok(Location::Image { reference, .. }) => reference.to_string(),
            other => panic!("{url}: {other:?}"),
        }
    }

    #[test]
    fn images_are_named_with_or_without_a_scheme() {
        assert_eq!(image_of("oci://ghcr.io/a/b:1"), "ghcr.io/a/b:1");
        assert_eq!(image_of("OCI://ghcr.io/a/b"), "ghcr.io/a/b:latest");
        assert_eq!(image_of("localhost:5000/a/b:1"), "localhost:5000/a/b:1");
        assert_eq!(image_of("oci://user:secret@ghcr.io/a/b:latest?x=1#y"), "ghcr.io/a/b:latest");
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(image_of(&format!("oci://ghcr.io/a/b@{digest}")), format!("ghcr.io/a/b@{digest}"));
        assert_eq!(image_of(&format!("foo@{digest}")), format!("index.docker.io/library/foo@{digest}"));
    }

    #[test]
    fn files_are_what_follows_the_literal_scheme() {
        assert_eq!(Location::parse("file:///opt/x.wasm").unwrap(), Location::File("/opt/x.wasm".into()));
        assert_eq!(Location::parse("file://x.wasm").unwrap(), Location::File("x.wasm".into()));
    }

    #[test]
    fn what_the_agent_cannot_fetch_is_refused() {
        for url in ["docker://ghcr.io/a/b", "s3://a/b", "/opt/x.wasm", "./x.wasm", "oci://", "oci:///a", "http://", ""]
        {
            assert!(Location::parse(url).is_err(), "{url}");
        }
    }
}
