//! The plugin's configuration as it is written: `RequestAuthentication` objects, and how keys are fetched.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use super::object;

/// The configuration of the JWT plugin; unknown fields are refused.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The `RequestAuthentication` objects, unchanged.
    #[serde(default, deserialize_with = "object::list")]
    pub policies: Vec<Policy>,
    /// How key sets are fetched.
    #[serde(default, deserialize_with = "object::object")]
    pub jwks_fetch: JwksFetch,
    /// Whose policies apply; without it all do.
    #[serde(default, deserialize_with = "object::optional")]
    pub workload: Option<Workload>,
    /// The namespace whose policies apply to the workloads of all; only counts with `workload`.
    #[serde(default = "istio_system")]
    pub root_namespace: String,
    /// Whether to decide and count only: whoever carries decisions out then refuses and changes nothing.
    #[serde(default)]
    pub dry_run: bool,
}

fn istio_system() -> String {
    "istio-system".to_owned()
}

impl Config {
    /// Reads a configuration from JSON; nothing at all is an empty one.
    pub fn from_json(text: &[u8]) -> Result<Self, ConfigError> {
        if text.trim_ascii().is_empty() {
            return Ok(Self { root_namespace: istio_system(), ..Self::default() });
        }
        let mut json = serde_json::Deserializer::from_slice(text);
        let mut track = serde_path_to_error::Track::new();
        let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
        let config = object::object(tracked).map_err(|error: serde_json::Error| {
            let path = track.path().to_string();
            ConfigError::new(if path == "." { String::new() } else { path }, error.to_string())
        })?;
        json.end().map_err(|error| ConfigError::new("", error.to_string()))?;
        Ok(config)
    }
}

/// How key sets are fetched.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JwksFetch {
    /// The cluster for a `host` or `host:port`; without an entry it is `outbound|<port>||<host>`, as istiod names it.
    #[serde(default)]
    pub clusters: BTreeMap<String, String>,
    /// How long a fetched set is used, from 1 s up; 300 s by default, as in Envoy.
    #[serde(default)]
    pub cache_duration: Option<String>,
}

/// The workload that the plugin runs in.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Workload {
    /// Its namespace.
    #[serde(default)]
    pub namespace: String,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// A `RequestAuthentication` object.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Its name and namespace.
    #[serde(default, deserialize_with = "object::object")]
    pub metadata: Metadata,
    /// Its specification.
    #[serde(default, deserialize_with = "object::object")]
    pub spec: Spec,
}

/// The parts of an object's metadata that count; Kubernetes adds many more.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Metadata {
    /// The object's name.
    #[serde(default)]
    pub name: String,
    /// The object's namespace.
    #[serde(default)]
    pub namespace: String,
}

/// The specification of a `RequestAuthentication`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// Which workloads of the namespace; all without it.
    #[serde(default, deserialize_with = "object::optional")]
    pub selector: Option<Selector>,
    /// Which gateway; the older form with one entry.
    #[serde(default, deserialize_with = "object::optional")]
    pub target_ref: Option<TargetRef>,
    /// Which gateways.
    #[serde(default, deserialize_with = "object::list")]
    pub target_refs: Vec<TargetRef>,
    /// What is accepted.
    #[serde(default, deserialize_with = "object::list")]
    pub jwt_rules: Vec<JwtRule>,
}

/// Labels that a workload must have.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Selector {
    /// Every one of these.
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
}

/// A gateway, service or service entry that a policy is about.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetRef {
    /// Its API group.
    #[serde(default)]
    pub group: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace; that of the policy by default.
    #[serde(default)]
    pub namespace: String,
}

/// One issuer that is accepted, and what becomes of its tokens.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JwtRule {
    /// Must equal `iss`; any issuer without it.
    #[serde(default)]
    pub issuer: Option<String>,
    /// Of these `aud` must have one; anything does when empty.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// Where the keys are; by default where the issuer's OpenID configuration says.
    #[serde(default, alias = "jwks_uri")]
    pub jwks_uri: Option<String>,
    /// The keys themselves; wins over `jwksUri`.
    #[serde(default)]
    pub jwks: Option<String>,
    /// Headers that may hold a token.
    #[serde(default, deserialize_with = "object::list")]
    pub from_headers: Vec<HeaderLocation>,
    /// Query parameters that may hold a token.
    #[serde(default)]
    pub from_params: Vec<String>,
    /// Cookies that may hold a token.
    #[serde(default)]
    pub from_cookies: Vec<String>,
    /// A header that the payload is passed on in.
    #[serde(default)]
    pub output_payload_to_header: Option<String>,
    /// Whether the upstream gets the token too.
    #[serde(default)]
    pub forward_original_token: bool,
    /// Headers that single claims are passed on in.
    #[serde(default, deserialize_with = "object::list")]
    pub output_claim_to_headers: Vec<ClaimToHeader>,
    /// How long a fetch of keys may take; 5 s by default.
    #[serde(default)]
    pub timeout: Option<String>,
    /// Claims whose text is a list with blanks between; always `scope` and `permission`.
    #[serde(default)]
    pub space_delimited_claims: Vec<String>,
}

/// A header that may hold a token.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderLocation {
    /// The header's name in any case.
    pub name: String,
    /// What stands before the token, anywhere in the value.
    #[serde(default)]
    pub prefix: String,
}

/// A claim that is passed on in a header.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimToHeader {
    /// The header's name in any case.
    pub header: String,
    /// The claim; dots lead into objects.
    pub claim: String,
}

/// Why a configuration is refused: where it is wrong, and what is wrong there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    path: String,
    reason: String,
}

impl ConfigError {
    pub(crate) fn new(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { path: path.into(), reason: reason.into() }
    }

    /// The place, such as `policies[0].spec.jwtRules[1].issuer`; empty for the whole.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong there.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.reason) } else { write!(f, "`{}`: {}", self.path, self.reason) }
    }
}

impl std::error::Error for ConfigError {}
