//! The plugin's configuration as written: `AuthorizationPolicy` objects, and what they need to know about the mesh.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// The whole configuration of the plugin. Unknown fields are refused, since a misspelt field would be a rule that is not there.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The policies, as Kubernetes objects; their order does not matter.
    #[serde(default)]
    pub policies: Vec<Policy>,
    /// The namespace whose policies apply to every workload.
    #[serde(default = "root_namespace")]
    pub root_namespace: String,
    /// The trust domain of the mesh.
    #[serde(default = "trust_domain")]
    pub trust_domain: String,
    /// Further trust domains that stand for the mesh's own.
    #[serde(default)]
    pub trust_domain_aliases: Vec<String>,
    /// Where the address of the direct peer comes from. Needed where a policy uses `ipBlocks` or `source.ip`.
    pub source_ip: Option<SourceIp>,
    /// Where all URI names of the peer's certificate come from; otherwise the first one is taken from the connection.
    pub peer_principals: Option<FilterState>,
    /// The external authorizers that `CUSTOM` policies name.
    #[serde(default)]
    pub providers: BTreeMap<String, Provider>,
    /// What the plugin sits in.
    #[serde(default)]
    pub protocol: Protocol,
    /// Whose policies to take; all apply where this is absent.
    pub workload: Option<Workload>,
}

fn root_namespace() -> String {
    "istio-system".to_owned()
}

fn trust_domain() -> String {
    "cluster.local".to_owned()
}

impl Default for Config {
    fn default() -> Self {
        Self {
            policies: Vec::new(),
            root_namespace: root_namespace(),
            trust_domain: trust_domain(),
            trust_domain_aliases: Vec::new(),
            source_ip: None,
            peer_principals: None,
            providers: BTreeMap::new(),
            protocol: Protocol::default(),
            workload: None,
        }
    }
}

/// One `AuthorizationPolicy` object. What Kubernetes adds to an object (`apiVersion`, `kind`, `status`) is accepted.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// The object's metadata.
    pub metadata: Metadata,
    /// The policy proper; an empty one allows nothing.
    #[serde(default)]
    pub spec: Spec,
    #[serde(default, rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(default, rename = "kind")]
    _kind: IgnoredAny,
    #[serde(default, rename = "status")]
    _status: IgnoredAny,
}

/// What of an object's metadata matters here; Kubernetes keeps much more in it.
#[derive(Debug, Clone, Deserialize)]
pub struct Metadata {
    /// The name, part of the reported policy id.
    pub name: String,
    /// The namespace, part of the reported policy id and the home of bare service account names.
    pub namespace: String,
    /// Annotations; `istio.io/dry-run` is read.
    #[serde(default)]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// The spec of an `AuthorizationPolicy`, field by field as Istio's API has it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// Which workloads, by label.
    pub selector: Option<Selector>,
    /// Which gateway or waypoint.
    pub target_ref: Option<TargetRef>,
    /// Which gateways or waypoints.
    pub target_refs: Option<Vec<TargetRef>>,
    /// The rules, any of which makes the policy match; a null one is skipped.
    pub rules: Option<Vec<Option<Rule>>>,
    /// What a match does.
    pub action: Option<Action>,
    /// Whom a `CUSTOM` policy asks.
    pub provider: Option<ProviderName>,
}

/// Labels that a workload must have.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Selector {
    /// The labels and their values.
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
}

/// The resource that a policy is attached to.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetRef {
    /// The API group.
    pub group: Option<String>,
    /// The kind, such as `Gateway`.
    pub kind: Option<String>,
    /// The name of the object.
    pub name: Option<String>,
    /// The namespace of the object.
    pub namespace: Option<String>,
}

/// The name of an external authorizer.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderName {
    /// A key of the configuration's `providers`.
    #[serde(default)]
    pub name: String,
}

/// What a matching policy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Action {
    /// Asks an external authorizer; its "no" is final.
    Custom,
    /// Leaves a hint for the access log.
    Audit,
    /// Refuses.
    Deny,
    /// Allows, and refuses what no policy of this kind matches.
    #[default]
    Allow,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Custom => "CUSTOM",
            Self::Audit => "AUDIT",
            Self::Deny => "DENY",
            Self::Allow => "ALLOW",
        })
    }
}

/// One rule: some source, some operation and every condition.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Who; any entry suffices.
    pub from: Option<Vec<From>>,
    /// What; any entry suffices.
    pub to: Option<Vec<To>>,
    /// Under which circumstances; all entries are needed.
    pub when: Option<Vec<Condition>>,
}

/// An entry of `from`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct From {
    /// The source.
    pub source: Option<Source>,
}

/// An entry of `to`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct To {
    /// The operation.
    pub operation: Option<Operation>,
}

/// A list of values of one field; absent and empty mean the same.
pub type Values = Option<Vec<String>>;

/// Who asks; all fields given are needed, of each some value.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(missing_docs, reason = "the names are those of Istio's API, which documents them")]
pub struct Source {
    pub principals: Values,
    pub not_principals: Values,
    pub request_principals: Values,
    pub not_request_principals: Values,
    pub namespaces: Values,
    pub not_namespaces: Values,
    pub service_accounts: Values,
    pub not_service_accounts: Values,
    pub trust_domains: Values,
    pub not_trust_domains: Values,
    pub ip_blocks: Values,
    pub not_ip_blocks: Values,
    pub remote_ip_blocks: Values,
    pub not_remote_ip_blocks: Values,
}

/// What is asked; all fields given are needed, of each some value.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(missing_docs, reason = "the names are those of Istio's API, which documents them")]
pub struct Operation {
    pub hosts: Values,
    pub not_hosts: Values,
    pub ports: Values,
    pub not_ports: Values,
    pub methods: Values,
    pub not_methods: Values,
    pub paths: Values,
    pub not_paths: Values,
}

/// One `when`: an attribute, values that it must have and values that it must not have.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Condition {
    /// The name of the attribute, such as `request.headers[x-tenant]`.
    #[serde(default)]
    pub key: String,
    /// Some of these.
    pub values: Values,
    /// None of these.
    pub not_values: Values,
}

/// Where the address of the direct peer comes from: no property of a stock Envoy holds it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SourceIp {
    /// From `source.address`: right where nothing is ever forwarded.
    Downstream,
    /// From filter state which an earlier filter wrote, under this key.
    FilterState(String),
}

/// A place in Envoy's filter state.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FilterState {
    /// The key of the filter state.
    pub filter_state: String,
}

/// An external authorizer over HTTP, in the words of the mesh's `envoyExtAuthzHttp`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Provider {
    /// The cluster to call.
    pub cluster: String,
    /// What is put before the path of the request in the check.
    #[serde(default)]
    pub path_prefix: String,
    /// How long to wait, as in `500ms` or `2.5s`; ten minutes by default, as Istio has it.
    pub timeout: Option<String>,
    /// Whether a request passes when the authorizer cannot be reached or answers 5xx.
    #[serde(default)]
    pub fail_open: bool,
    /// The status of the refusal when the authorizer fails; 403 by default.
    pub status_on_error: Option<String>,
    /// The request's headers that the check carries; names, or with one `*` at an end.
    #[serde(default)]
    pub include_request_headers_in_check: Vec<String>,
    /// The answer's headers that replace those of an allowed request.
    #[serde(default)]
    pub headers_to_upstream_on_allow: Vec<String>,
    /// The answer's headers that a refusal carries; all of them where the list is empty.
    #[serde(default)]
    pub headers_to_downstream_on_deny: Vec<String>,
}

/// What the plugin sits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// An HTTP filter chain: all attributes exist.
    #[default]
    Http,
    /// A network filter chain: only those of the connection exist.
    Tcp,
}

/// The workload that the plugin serves.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::Spec;

    /// Read by position, an empty list would be a rule that matches everything.
    #[test]
    fn a_list_is_no_object() {
        for spec in [
            "[]",
            r#"{"rules": [[]]}"#,
            r#"{"rules": [{"from": [[]]}]}"#,
            r#"{"rules": [{"to": [{"operation": []}]}]}"#,
        ] {
            assert!(serde_json::from_str::<Spec>(spec).is_err(), "{spec}");
        }
    }
}
