//! The pull secret that a plugin names, made of a Docker configuration: one registry's credentials and no other's.

use serde_json::{Value, json};

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
    fn what_is_missing_is_told() {
        assert_eq!(for_registry(CONFIG, "other"), Err(NoCredentials::Missing("other".to_owned())));
        assert_eq!(for_registry(CONFIG, "empty.example"), Err(NoCredentials::Missing("empty.example".to_owned())));
        let helper = r#"{"auths": {"r": {}}, "credsStore": "desktop"}"#;
        assert_eq!(for_registry(helper, "r"), Err(NoCredentials::Helper("r".to_owned())));
        assert!(matches!(for_registry("no", "r"), Err(NoCredentials::NotJson(_))));
    }
}
