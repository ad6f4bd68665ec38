//! The pull secret that a plugin names: made of a Docker configuration, with one registry's credentials and no other's, and read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::yaml::Node;

/// The only type of Secret that istiod hands to proxies.
pub const SECRET_TYPE: &str = "kubernetes.io/dockerconfigjson";

/// Where such a Secret keeps its Docker configuration.
const KEY: &str = ".dockerconfigjson";

/// Why a Secret is no pull secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    /// It has another type.
    #[error(
        "the Secret has the type `{0}`, and Istio takes only `{SECRET_TYPE}`: make it with `kubectl create secret docker-registry`"
    )]
    Type(String),
    /// Nothing is in it.
    #[error("the Secret has no `{KEY}`")]
    Empty,
    /// It is not written as Kubernetes writes it.
    #[error("`data[\"{KEY}\"]` of the Secret is not base64")]
    NotBase64,
}

/// The Docker configuration in a Secret, as istiod hands it on.
///
/// # Errors
///
/// If the Secret has another type, or does not hold one.
pub fn docker_config(secret: &Node) -> Result<Vec<u8>, BadSecret> {
    let kind = secret.get("type").and_then(Node::text).unwrap_or("Opaque");
    if kind != SECRET_TYPE {
        return Err(BadSecret::Type(kind.to_owned()));
    }
    // What is written in plain counts, as for the API server.
    if let Some(plain) = secret.at_path(&["stringData", KEY]).and_then(Node::text) {
        return Ok(plain.as_bytes().to_vec());
    }
    let encoded = secret.at_path(&["data", KEY]).and_then(Node::text).ok_or(BadSecret::Empty)?;
    STANDARD.decode(encoded.split_whitespace().collect::<String>()).map_err(|_| BadSecret::NotBase64)
}

/// Why a Docker configuration makes no pull secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoCredentials {
    /// It cannot be read.
    #[error("the Docker configuration is not JSON: {0}")]
    NotJson(String),
    /// Its passwords are elsewhere.
    #[error(
        "the Docker configuration keeps the password of `{0}` in a credential helper, which no proxy has; log in \
            without \
         one, e.g. with `DOCKER_CONFIG=$(mktemp -d) docker login {0}`"
    )]
    Helper(String),
    /// It knows other registries only.
    #[error("the Docker configuration has no credentials for `{0}`; log in with `docker login {0}`")]
    Missing(String),
}

/// A Docker configuration with nothing but the credentials of that registry, whose key is written as istiod's agent
/// looks it up.
pub fn for_registry(docker_config: &str, registry: &str) -> Result<String, NoCredentials> {
    let config: Value =
        serde_json::from_str(docker_config).map_err(|error| NoCredentials::NotJson(error.to_string()))?;
    let auths = config.get("auths").and_then(Value::as_object);
    let wanted = host(registry);
    let found = auths.into_iter().flatten().find(|(key, _)| host(key) == wanted).map(|(_, entry)| entry);
    let usable = found.filter(|entry| {
        ["auth", "password", "identitytoken", "registrytoken"]
            .iter()
            .any(|name| entry.get(name).and_then(Value::as_str).is_some_and(|text| !text.is_empty()))
    });
    let helper =
        config.get("credsStore").is_some() || config.get("credHelpers").and_then(|it| it.get(registry)).is_some();
    match usable {
        Some(entry) => {
            let key = if wanted == DOCKER_HUB { "https://index.docker.io/v1/" } else { wanted };
            Ok(json!({ "auths": { key: entry } }).to_string())
        }
        None if helper => Err(NoCredentials::Helper(wanted.to_owned())),
        None => Err(NoCredentials::Missing(wanted.to_owned())),
    }
}

const DOCKER_HUB: &str = "index.docker.io";

/// The host of a key, in which Docker has also written schemes and paths.
fn host(key: &str) -> &str {
    let key = key.split_once("://").map_or(key, |(_, rest)| rest);
    match key.split('/').next().unwrap_or_default() {
        "docker.io" | "registry-1.docker.io" => DOCKER_HUB,
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "YTpi"}, "r.example:5000": {"auth": "Yzpk"}, "empty.example": {}}}"#;

    #[test]
    fn one_registry_and_no_other() {
        assert_eq!(for_registry(CONFIG, "r.example:5000").unwrap(), r#"{"auths":{"r.example:5000":{"auth":"Yzpk"}}}"#);
        assert_eq!(
            for_registry(CONFIG, "docker.io").unwrap(),
            r#"{"auths":{"https://index.docker.io/v1/":{"auth":"YTpi"}}}"#
        );
    }

    #[test]
    fn a_secret_is_read_as_the_api_server_reads_it() {
        let read = |text: &str| docker_config(&crate::yaml::read(text).remove(0).unwrap().root);
        let encoded = format!("type: {SECRET_TYPE}\ndata:\n  {KEY}: |\n    e3\n    0=\n");
        assert_eq!(read(&encoded).unwrap(), b"{}");
        assert_eq!(read(&format!("{encoded}stringData: {{{KEY}: plain}}")).unwrap(), b"plain");
        assert_eq!(read(&format!("{{type: {SECRET_TYPE}}}")), Err(BadSecret::Empty));
        assert_eq!(read(&format!("{{type: {SECRET_TYPE}, data: {{{KEY}: '!'}}}}")), Err(BadSecret::NotBase64));
        assert_eq!(read("{data: {}}"), Err(BadSecret::Type("Opaque".to_owned())));
    }

    #[test]
    fn what_is_missing_is_told() {
        assert_eq!(for_registry(CONFIG, "other"), Err(NoCredentials::Missing("other".to_owned())));
        assert_eq!(for_registry(CONFIG, "empty.example"), Err(NoCredentials::Missing("empty.example".to_owned())));
        let helper = r#"{"auths": {"r": {}}, "credsStore": "desktop"}"#;
        assert_eq!(for_registry(helper, "r"), Err(NoCredentials::Helper("r".to_owned())));
        assert!(matches!(for_registry("no", "r"), Err(NoCredentials::NotJson(_))));
    }
}
