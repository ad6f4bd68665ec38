//! Names of images, read as Istio's agent reads them.
//!
//! The rules are those of go-containerregistry's weak validation, which differ from Docker's grammar: the first part is
//! a registry exactly if it contains a dot or a colon, so `localhost/a` is an image on Docker Hub.

use std::fmt;
use std::str::FromStr;

use super::digest::Digest;

/// What Docker Hub calls its registry.
pub const DOCKER_HUB: &str = "index.docker.io";

/// The tag of an image that is named without one.
const DEFAULT_TAG: &str = "latest";

/// Where an image is: a registry, a repository in it, and a tag or a digest there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Text that names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` names no image: {problem}; write it as `registry.example/repository:tag` or `..@sha256:<digest>`")]
pub struct BadReference {
    text: String,
    problem: &'static str,
}

impl Reference {
    /// The registry's host, with its port if there is one; `index.docker.io` for Docker Hub.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository in the registry.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `latest` where neither a tag nor a digest was written.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of the manifest, where one was written.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What the registry is asked for: the digest, or else the tag.
    #[must_use]
    pub fn identifier(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => DEFAULT_TAG.to_owned(),
        }
    }

    /// The same repository, without tag and digest.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The same repository, at a digest.
    #[must_use]
    pub fn at(&self, digest: &Digest) -> Self {
        Self { tag: None, digest: Some(digest.clone()), ..self.clone() }
    }

    /// The same repository, at a tag.
    #[must_use]
    pub fn tagged(&self, tag: impl Into<String>) -> Self {
        Self { tag: Some(tag.into()), digest: None, ..self.clone() }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Reference {
    type Err = BadReference;

    fn from_str(text: &str) -> Result<Self, BadReference> {
        parse(text).map_err(|problem| BadReference { text: text.to_owned(), problem })
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (
            rest,
            Some(digest.parse().map_err(|_| "the digest is not `sha256:` and 64 lower-case hexadecimal digits")?),
        ),
        None => (text, None),
    };
    // A colon before the last slash belongs to the registry's port.
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    if let Some(tag) = tag
        && !(1..=128).contains(&tag.len())
    {
        return Err("the tag is empty or longer than 128 characters");
    }
    if tag.is_some_and(|tag| !tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))) {
        return Err("the tag has characters other than letters, digits, `_`, `-` and `.`");
    }
    let (registry, repository) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) => (first, rest),
        _ => (DOCKER_HUB, name),
    };
    check_registry(registry)?;
    let registry = if registry == "docker.io" { DOCKER_HUB } else { registry };
    if repository.len() > 255 {
        return Err("the repository is longer than 255 characters");
    }
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-./".contains(&byte);
    if !repository.bytes().all(letter) {
        return Err("the repository has characters other than lower-case letters, digits, `_`, `-`, `.` and `/`");
    }
    // Go's client would send these as they are; a server, or a client on the way, would walk up the path.
    if repository.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("the repository has an empty part, `.` or `..`");
    }
    let official = registry == DOCKER_HUB && !repository.contains('/');
    let repository = if official { format!("library/{repository}") } else { repository.to_owned() };
    let tag = match (tag, &digest) {
        (Some(tag), _) => Some(tag.to_owned()),
        (None, Some(_)) => None,
        (None, None) => Some(DEFAULT_TAG.to_owned()),
    };
    Ok(Reference { registry: registry.to_owned(), repository, tag, digest })
}

fn check_registry(registry: &str) -> Result<(), &'static str> {
    const PROBLEM: &str = "the registry is no host with an optional port";
    let (host, port) = match registry.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or(PROBLEM)?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| PROBLEM)?;
            ("v6", port)
        }
        None => match registry.split_once(':') {
            Some((host, _)) => (host, registry.get(host.len()..).unwrap_or_default()),
            None => (registry, ""),
        },
    };
    let letters = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    let port = port.strip_prefix(':').map_or(port.is_empty(), |digits| digits.parse::<u16>().is_ok());
    if letters && host.bytes().any(|byte| byte.is_ascii_alphanumeric()) && port { Ok(()) } else { Err(PROBLEM) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, String, String) {
        let reference: Reference = text.parse().unwrap();
        (reference.registry.clone(), reference.repository.clone(), reference.identifier())
    }

    #[test]
    fn docker_hub_is_where_no_registry_is_named() {
        let hub = |repository: &str, tag: &str| (DOCKER_HUB.to_owned(), repository.to_owned(), tag.to_owned());
        assert_eq!(parts("foo"), hub("library/foo", "latest"));
        assert_eq!(parts("docker.io/foo:1"), hub("library/foo", "1"));
        assert_eq!(parts("me/foo:1"), hub("me/foo", "1"));
        assert_eq!(parts("localhost/foo"), hub("localhost/foo", "latest"));
    }

    #[test]
    fn ports_and_addresses_are_part_of_the_registry() {
        let at = |registry: &str| (registry.to_owned(), "a/b".to_owned(), "v1".to_owned());
        for registry in ["ghcr.io", "localhost:5000", "host-name:5000", "192.168.0.1:5000", "[::1]:5000"] {
            assert_eq!(parts(&format!("{registry}/a/b:v1")), at(registry));
        }
    }

    #[test]
    fn a_digest_is_asked_for_in_place_of_the_tag() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let reference: Reference = format!("ghcr.io/a/b:1@{digest}").parse().unwrap();
        assert_eq!(reference.identifier(), digest);
        assert_eq!(reference.to_string(), format!("ghcr.io/a/b:1@{digest}"));
        assert_eq!(reference.name(), "ghcr.io/a/b");
    }

    #[test]
    fn what_names_no_image_is_refused() {
        for text in [
            "",
            "/opt/x.wasm",
            "./x.wasm",
            "ghcr.io/A",
            "ghcr.io/a b",
            "ghcr.io/a:",
            "ghcr.io/a@sha256:1",
            "x/y ",
            "ghcr.io/a/../b",
            "ghcr.io//ab",
            "host:port/ab",
            "a.b:99999/ab",
            "[::1/ab",
            "us er@a.b/cd",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
