//! The plugin's configuration as written: `AuthorizationPolicy` objects, and what they need to know about the mesh.
//!
//! Every object is read strictly: an unknown field, a list in its place, or a field given twice is an error with its
//! place. A misspelt field would be a rule that is not there, and an empty list read as an empty rule one that matches
//! everything. Null is as good as nothing.

mod policy;
#[cfg(test)]
mod tests;

pub(super) use policy::{Condition, DRY_RUN, Listed, Policy, Rule};

use crate::finding::{At, Finding};
use crate::json::{Json, list, map, once, unknown};

/// The whole configuration of the plugin. The policies stay text until they are compiled, one at a time: ten thousand of
/// them would take more memory as objects than they do compiled.
#[derive(Debug, Clone)]
pub struct Config<'j> {
    /// The policies, as a list of Kubernetes objects; their order does not matter.
    policies: Option<Json<'j>>,
    /// The namespace whose policies apply to every workload.
    pub root_namespace: String,
    /// The trust domain of the mesh.
    pub trust_domain: String,
    /// Further trust domains that stand for the mesh's own.
    pub trust_domain_aliases: Vec<String>,
    /// Where the address of the direct peer comes from. Needed where a policy uses `ipBlocks` or `source.ip`.
    pub source_ip: Option<SourceIp>,
    /// The filter state that holds all URI names of the peer's certificate; otherwise the first one is taken from the
    /// connection.
    pub peer_principals: Option<String>,
    /// The external authorizers that `CUSTOM` policies name.
    pub providers: Vec<(String, Provider)>,
    /// What the plugin sits in.
    pub protocol: Protocol,
    /// Whose policies to take; all apply where this is absent.
    pub workload: Option<Workload>,
}

impl<'j> Config<'j> {
    /// Reads all but the policies, and makes sure that these are JSON too. No text at all means no policies.
    pub fn read(text: &'j [u8]) -> Result<Self, Finding> {
        let (mut policies, mut root_namespace, mut trust_domain, mut aliases) = (None, None, None, None);
        let (mut source_ip, mut peer_principals, mut providers) = (None, None, None);
        let (mut protocol, mut workload) = (None, None);
        if !text.trim_ascii().is_empty() {
            let mut json = Json::new(text)?;
            json.object(At::Whole, &mut |json, name, at| match name {
                "policies" => once(&mut policies, json, at, |json, at| {
                    let list = json.clone();
                    json.list(at, &mut |json, at| json.skip(at)).map(|()| list)
                }),
                "rootNamespace" => once(&mut root_namespace, json, at, name_of),
                "trustDomain" => once(&mut trust_domain, json, at, name_of),
                "trustDomainAliases" => once(&mut aliases, json, at, |json, at| list(json, at, name_of)),
                "sourceIp" => once(&mut source_ip, json, at, SourceIp::read),
                "peerPrincipals" => once(&mut peer_principals, json, at, filter_state),
                "providers" => once(&mut providers, json, at, |json, at| map(json, at, Provider::read)),
                "protocol" => once(&mut protocol, json, at, Protocol::read),
                "workload" => once(&mut workload, json, at, Workload::read),
                _ => unknown(at),
            })?;
            json.end()?;
        }
        Ok(Self {
            policies,
            root_namespace: root_namespace.unwrap_or_else(|| "istio-system".to_owned()),
            trust_domain: trust_domain.unwrap_or_else(|| "cluster.local".to_owned()),
            trust_domain_aliases: aliases.unwrap_or_default(),
            source_ip,
            peer_principals,
            providers: providers.unwrap_or_default(),
            protocol: protocol.unwrap_or_default(),
            workload,
        })
    }

    /// Reads the policies, each with its place.
    pub(super) fn policies(
        &self,
        each: &mut dyn FnMut(&Policy<'j>, At<'_>) -> Result<(), Finding>,
    ) -> Result<(), Finding> {
        let Some(mut json) = self.policies.clone() else { return Ok(()) };
        json.list(At::Field(&At::Whole, "policies"), &mut |json, at| each(&Policy::read(json, at)?, at))
    }
}

/// Where the address of the direct peer comes from: no property of a stock Envoy holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceIp {
    /// From `source.address`: right where nothing is ever forwarded.
    Downstream,
    /// From filter state which an earlier filter wrote, under this key.
    FilterState(String),
}

impl SourceIp {
    fn read(json: &mut Json<'_>, at: At<'_>) -> Result<Self, Finding> {
        if json.is_text()? {
            return match &*json.text(at)? {
                "downstream" => Ok(Self::Downstream),
                other => Err(at.finding(format!("`{other}` is neither `downstream` nor an object with `filterState`"))),
            };
        }
        filter_state(json, at).map(Self::FilterState)
    }
}

/// Reads `{"filterState": "<key>"}`.
fn filter_state(json: &mut Json<'_>, at: At<'_>) -> Result<String, Finding> {
    let mut key = None;
    json.object(at, &mut |json, name, at| match name {
        "filterState" => once(&mut key, json, at, name_of),
        _ => unknown(at),
    })?;
    key.ok_or_else(|| At::Field(&at, "filterState").finding("must be given"))
}

/// An external authorizer over HTTP, in the words of the mesh's `envoyExtAuthzHttp`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provider {
    /// The cluster to call.
    pub cluster: String,
    /// What is put before the path of the request in the check.
    pub path_prefix: String,
    /// How long to wait, as in `500ms` or `2.5s`; ten minutes by default, as Istio has it.
    pub timeout: Option<String>,
    /// Whether a request passes when the authorizer cannot be reached or answers 5xx.
    pub fail_open: bool,
    /// The status of the refusal when the authorizer fails; 403 by default.
    pub status_on_error: Option<String>,
    /// The request's headers that the check carries; names, or with one `*` at an end.
    pub include_request_headers_in_check: Vec<String>,
    /// The answer's headers that replace those of an allowed request.
    pub headers_to_upstream_on_allow: Vec<String>,
    /// The answer's headers that a refusal carries; all of them where the list is empty.
    pub headers_to_downstream_on_deny: Vec<String>,
}

impl Provider {
    fn read(json: &mut Json<'_>, at: At<'_>) -> Result<Self, Finding> {
        let (mut cluster, mut path_prefix, mut timeout, mut fail_open) = (None, None, None, None);
        let (mut status_on_error, mut sent, mut to_upstream, mut to_downstream) = (None, None, None, None);
        json.object(at, &mut |json, name, at| match name {
            "cluster" => once(&mut cluster, json, at, name_of),
            "pathPrefix" => once(&mut path_prefix, json, at, text),
            "timeout" => once(&mut timeout, json, at, text),
            "failOpen" => once(&mut fail_open, json, at, Json::flag),
            "statusOnError" => once(&mut status_on_error, json, at, text),
            "includeRequestHeadersInCheck" => once(&mut sent, json, at, texts),
            "headersToUpstreamOnAllow" => once(&mut to_upstream, json, at, texts),
            "headersToDownstreamOnDeny" => once(&mut to_downstream, json, at, texts),
            _ => unknown(at),
        })?;
        Ok(Self {
            cluster: cluster.ok_or_else(|| At::Field(&at, "cluster").finding("must be given"))?,
            path_prefix: path_prefix.unwrap_or_default(),
            timeout,
            fail_open: fail_open.unwrap_or_default(),
            status_on_error,
            include_request_headers_in_check: sent.unwrap_or_default(),
            headers_to_upstream_on_allow: to_upstream.unwrap_or_default(),
            headers_to_downstream_on_deny: to_downstream.unwrap_or_default(),
        })
    }
}

/// What the plugin sits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// An HTTP filter chain: all attributes exist.
    #[default]
    Http,
    /// A network filter chain: only those of the connection exist.
    Tcp,
}

impl Protocol {
    fn read(json: &mut Json<'_>, at: At<'_>) -> Result<Self, Finding> {
        match &*json.text(at)? {
            "http" => Ok(Self::Http),
            "tcp" => Ok(Self::Tcp),
            other => Err(at.finding(format!("`{other}` is neither `http` nor `tcp`"))),
        }
    }
}

/// The workload that the plugin serves.
#[derive(Debug, Clone, Default)]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: Vec<(String, String)>,
}

impl Workload {
    fn read(json: &mut Json<'_>, at: At<'_>) -> Result<Self, Finding> {
        let (mut namespace, mut labels) = (None, None);
        json.object(at, &mut |json, name, at| match name {
            "namespace" => once(&mut namespace, json, at, name_of),
            "labels" => once(&mut labels, json, at, |json, at| map(json, at, text)),
            _ => unknown(at),
        })?;
        Ok(Self {
            namespace: namespace.ok_or_else(|| At::Field(&at, "namespace").finding("must be given"))?,
            labels: labels.unwrap_or_default(),
        })
    }
}

/// Reads a text.
fn text(json: &mut Json<'_>, at: At<'_>) -> Result<String, Finding> {
    json.text(at).map(Into::into)
}

/// Reads a list of texts.
fn texts(json: &mut Json<'_>, at: At<'_>) -> Result<Vec<String>, Finding> {
    list(json, at, text)
}

/// Reads a text that has at least one character.
fn name_of(json: &mut Json<'_>, at: At<'_>) -> Result<String, Finding> {
    let name = json.text(at)?;
    if name.is_empty() {
        return Err(at.finding("must not be empty"));
    }
    Ok(name.into())
}
