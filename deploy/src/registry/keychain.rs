//! Where credentials for registries come from: Docker's configuration, its helpers, and the pull secrets of Kubernetes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;

use super::credentials::{BadCredentials, Credentials};
use super::helper;
use crate::image::reference::{DOCKER_HUB, Reference};

/// The name under which Docker keeps the credentials of Docker Hub.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// Where credentials come from.
#[derive(Clone)]
pub enum Keychain {
    /// Always the same, whatever the registry.
    Fixed(Credentials),
    /// Docker's and Podman's files on this machine, with their helpers.
    Machine(Vec<PathBuf>),
    /// The bytes of a secret's `.dockerconfigjson`, and nothing else.
    PullSecret(Vec<u8>),
    /// A pull secret that is named but cannot be read: nothing is pulled.
    UnreadableSecret,
}

impl fmt::Debug for Keychain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(credentials) => f.debug_tuple("Fixed").field(credentials).finish(),
            Self::Machine(paths) => f.debug_tuple("Machine").field(paths).finish(),
            Self::PullSecret(_) => f.write_str("PullSecret(..)"),
            Self::UnreadableSecret => f.write_str("UnreadableSecret"),
        }
    }
}

impl Keychain {
    /// Nothing for anybody.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::Fixed(Credentials::Anonymous)
    }

    /// The files that Docker and Podman use: `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`, then
    /// `$REGISTRY_AUTH_FILE` or `$XDG_RUNTIME_DIR/containers/auth.json`.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let docker = variable("DOCKER_CONFIG").or_else(|| variable("HOME").map(|home| home.join(".docker")));
        let podman = variable("REGISTRY_AUTH_FILE")
            .or_else(|| variable("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json")));
        Self::Machine(docker.map(|folder| folder.join("config.json")).into_iter().chain(podman).collect())
    }

    /// A pull secret as Istio hands it on: empty if it could not be read.
    #[must_use]
    pub fn of_pull_secret(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() { Self::UnreadableSecret } else { Self::PullSecret(bytes) }
    }

    /// The credentials for an image.
    ///
    /// # Errors
    ///
    /// If there are some, but they cannot be used.
    pub async fn resolve(&self, image: &Reference) -> Result<Credentials, BadCredentials> {
        match self {
            Self::Fixed(credentials) => Ok(credentials.clone()),
            Self::UnreadableSecret => Err(BadCredentials::NoSecret),
            Self::PullSecret(bytes) => {
                let config = Config::parse(bytes, "the image pull secret")?;
                if config.helper(image.registry()).is_some() {
                    return Err(BadCredentials::HelperInSecret(image.registry().to_owned()));
                }
                config.find(&[image.registry().to_owned()], "the image pull secret")
            }
            Self::Machine(paths) => {
                for path in paths {
                    let found = from_file(path, image).await?;
                    if found != Credentials::Anonymous {
                        return Ok(found);
                    }
                }
                Ok(Credentials::Anonymous)
            }
        }
    }
}

async fn from_file(path: &Path, image: &Reference) -> Result<Credentials, BadCredentials> {
    let name = format!("`{}`", path.display());
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Credentials::Anonymous),
        Err(error) => return Err(BadCredentials::Unreadable { source_name: name, reason: error.to_string() }),
    };
    let config = Config::parse(&bytes, &name)?;
    if let Some(program) = config.helper(image.registry()) {
        let asked = if image.registry() == DOCKER_HUB { DOCKER_HUB_KEY } else { image.registry() };
        let found = helper::get(program, asked).await?;
        if found != Credentials::Anonymous {
            return Ok(found);
        }
    }
    // Podman's files may name a repository or a part of its path.
    let mut scopes = Vec::new();
    let mut scope = image.name();
    while let Some((shorter, _)) = scope.clone().rsplit_once('/') {
        scopes.push(std::mem::replace(&mut scope, shorter.to_owned()));
    }
    scopes.push(scope);
    config.find(&scopes, &name)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    auths: BTreeMap<String, Option<Auth>>,
    #[serde(rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(rename = "credsStore")]
    store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    #[serde(alias = "identityToken")]
    identitytoken: Option<String>,
    #[serde(alias = "registryToken")]
    registrytoken: Option<String>,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Auth { .. }")
    }
}

impl Config {
    fn parse(bytes: &[u8], source_name: &str) -> Result<Self, BadCredentials> {
        // The library's message could show a piece of the secret.
        serde_json::from_slice(bytes).map_err(|error| BadCredentials::Unreadable {
            source_name: source_name.to_owned(),
            reason: format!("it is no such JSON (line {}, column {})", error.line(), error.column()),
        })
    }

    /// The helper for a registry, an empty name counting as none.
    fn helper(&self, registry: &str) -> Option<&str> {
        let own = self.helpers.iter().find(|(key, _)| host_of(key).is_some_and(|host| host == registry));
        own.map(|(_, helper)| helper).or(self.store.as_ref()).map(String::as_str).filter(|helper| !helper.is_empty())
    }

    /// The credentials under the first of the names that has some.
    fn find(&self, names: &[String], source_name: &str) -> Result<Credentials, BadCredentials> {
        for name in names {
            let entry = self.auths.get(name).or_else(|| {
                self.auths.iter().find(|(key, _)| host_of(key).as_ref() == Some(name)).map(|(_, auth)| auth)
            });
            if let Some(Some(auth)) = entry {
                let found = auth.credentials().map_err(|reason| BadCredentials::Unreadable {
                    source_name: format!("the entry for `{name}` in {source_name}"),
                    reason: reason.to_owned(),
                })?;
                if found != Credentials::Anonymous {
                    return Ok(found);
                }
            }
        }
        Ok(Credentials::Anonymous)
    }
}

/// The registry that a key stands for: a bare host, or a URL as old tools wrote it. A path other than the one of the
/// API's version names a repository, not the registry.
fn host_of(key: &str) -> Option<String> {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    matches!(path.trim_end_matches('/'), "" | "v1" | "v2")
        .then(|| if host == "docker.io" { DOCKER_HUB.to_owned() } else { host.to_owned() })
}

impl Auth {
    fn credentials(&self) -> Result<Credentials, &'static str> {
        let some = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        if let Some(token) = some(&self.registrytoken) {
            return Ok(Credentials::Bearer(token));
        }
        if let Some(token) = some(&self.identitytoken) {
            return Ok(Credentials::Identity(token));
        }
        if let Some(auth) = some(&self.auth) {
            let bytes = STANDARD.decode(auth.trim()).or_else(|_| STANDARD_NO_PAD.decode(auth.trim()));
            let text =
                bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or("`auth` is not base64 of text")?;
            let (username, password) = text.split_once(':').ok_or("`auth` holds no `user:password`")?;
            return Ok(Credentials::Basic {
                username: username.to_owned(),
                password: password.trim_matches('\0').to_owned(),
            });
        }
        match (some(&self.username), some(&self.password)) {
            (Some(username), Some(password)) => Ok(Credentials::Basic { username, password }),
            _ => Ok(Credentials::Anonymous),
        }
    }
}
