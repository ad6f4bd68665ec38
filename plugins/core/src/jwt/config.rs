//! The plugin's configuration as it is written: `RequestAuthentication` objects, and how keys are fetched.
//!
//! Every object is read strictly: an unknown field, a list in its place, or a field given twice is an error with its
//! place, since a misspelt field would be a check that is not made. Null is as good as nothing.

use super::cache::CacheLimits;
use crate::finding::{At, Finding};
use crate::json::{Json, list, map, once, unknown};
use crate::target::TargetRef;

/// The configuration of the JWT plugin.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The `RequestAuthentication` objects, unchanged.
    pub policies: Vec<Policy>,
    /// How key sets are fetched.
    pub jwks_fetch: JwksFetch,
    /// How many verdicts are remembered.
    pub verdict_cache: CacheLimits,
    /// Whose policies apply; without it all do.
    pub workload: Option<Workload>,
    /// The namespace whose policies apply to the workloads of all, `istio-system` by default; only counts with `workload`.
    pub root_namespace: String,
    /// Whether to decide and count only: whoever carries decisions out then refuses and changes nothing.
    pub dry_run: bool,
}

impl Config {
    /// Reads a configuration from JSON; nothing at all is an empty one.
    pub fn from_json(text: &[u8]) -> Result<Self, Finding> {
        let (mut policies, mut jwks_fetch, mut verdict_cache) = (None, None, None);
        let (mut workload, mut root_namespace, mut dry_run) = (None, None, None);
        if !text.trim_ascii().is_empty() {
            let mut json = Json::new(text)?;
            json.object(At::Whole, &mut |json, name, at| match name {
                "policies" => once(&mut policies, json, at, |json, at| list(json, at, Policy::read)),
                "jwksFetch" => once(&mut jwks_fetch, json, at, JwksFetch::read),
                "verdictCache" => once(&mut verdict_cache, json, at, verdict_cache_limits),
                "workload" => once(&mut workload, json, at, Workload::read),
                "rootNamespace" => once(&mut root_namespace, json, at, string),
                "dryRun" => once(&mut dry_run, json, at, Json::flag),
                _ => unknown(at),
            })?;
            json.end()?;
        }
        Ok(Self {
            policies: policies.unwrap_or_default(),
            jwks_fetch: jwks_fetch.unwrap_or_default(),
            verdict_cache: verdict_cache.unwrap_or_default(),
            workload,
            root_namespace: root_namespace.unwrap_or_else(|| "istio-system".to_owned()),
            dry_run: dry_run.unwrap_or_default(),
        })
    }
}

/// Reads how much is remembered.
fn verdict_cache_limits(json: &mut Json<'_>, at: At<'_>) -> Result<CacheLimits, Finding> {
    let (mut tokens, mut bytes) = (None, None);
    json.object(at, &mut |json, name, at| match name {
        "tokens" => once(&mut tokens, json, at, count),
        "bytes" => once(&mut bytes, json, at, count),
        _ => unknown(at),
    })?;
    let default = CacheLimits::default();
    Ok(CacheLimits { tokens: tokens.unwrap_or(default.tokens), bytes: bytes.unwrap_or(default.bytes) })
}

/// How key sets are fetched.
#[derive(Debug, Clone, Default)]
pub struct JwksFetch {
    /// The cluster for a `host` or `host:port`; without an entry it is `outbound|<port>||<host>`, as istiod names it.
    pub clusters: Vec<(String, String)>,
    /// How long a fetched set is used, from 1 s up; 300 s by default, as in Envoy.
    pub cache_duration: Option<String>,
}

impl JwksFetch {
    fn read(json: &mut Json<'_>, at: At<'_>) -> Result<Self, Finding> {
        let (mut clusters, mut cache_duration) = (None, None);
        json.object(at, &mut |json, name, at| match name {
            "clusters" => once(&mut clusters, json, at, |json, at| map(json, at, string)),
            "cacheDuration" => once(&mut cache_duration, json, at, string),
            _ => unknown(at),
        })?;
        Ok(Self { clusters: clusters.unwrap_or_default(), cache_duration })
    }
}

/// The workload that the plugin runs in.
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
            "namespace" => once(&mut namespace, json, at, string),
            "labels" => once(&mut labels, json, at, |json, at| map(json, at, string)),
            _ => unknown(at),
        })?;
        Ok(Self { namespace: needed(namespace, at, "namespace")?, labels: labels.unwrap_or_default() })
    }
}

/// A `RequestAuthentication` object. What else Kubernetes has in an object (`apiVersion`, `kind`, `status`) is passed over.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Its name and namespace.
    pub metadata: Metadata,
    /// Its specification.
    pub spec: Spec,
}

impl Policy {
    fn read(json: &mut Json<'_>, at: At<'_>) -> Result<Self, Finding> {
        let (mut metadata, mut spec) = (None, None);
        json.object(at, &mut |json, name, at| match name {
            "metadata" => once(&mut metadata, json, at, Metadata::read),
            "spec" => once(&mut spec, json, at, Spec::read),
            "apiVersion" | "kind" | "status" => json.skip(at),
            _ => unknown(at),
        })?;
        Ok(Self { metadata: metadata.unwrap_or_default(), spec: spec.unwrap_or_default() })
    }
}

/// The parts of an object's metadata that count; Kubernetes adds many more.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    /// The object's name.
    pub name: String,
    /// The object's namespace.
    pub namespace: String,
}

impl Metadata {
    fn read(json: &mut Json<'_>, at: At<'_>) -> Result<Self, Finding> {
        let (mut own_name, mut namespace) = (None, None);
        json.object(at, &mut |json, name, at| match name {
            "name" => once(&mut own_name, json, at, string),
            "namespace" => once(&mut namespace, json, at, string),
            _ => json.skip(at),
        })?;
        Ok(Self { name: own_name.unwrap_or_default(), namespace: namespace.unwrap_or_default() })
    }
}

/// The specification of a `RequestAuthentication`.
#[derive(Debug, Clone, Default)]
pub struct Spec {
    /// Which workloads of the namespace, by labels that they must have; all without it.
    pub selector: Option<Vec<(String, String)>>,
    /// Which gateway; the older form with one entry.
    pub target_ref: Option<TargetRef>,
    /// Which gateways.
    pub target_refs: Vec<TargetRef>,
    /// What is accepted.
    pub jwt_rules: Vec<JwtRule>,
}

impl Spec {
    fn read(json: &mut Json<'_>, at: At<'_>) -> Result<Self, Finding> {
        let (mut selector, mut target_ref, mut target_refs, mut jwt_rules) = (None, None, None, None);
        json.object(at, &mut |json, name, at| match name {
            "selector" => once(&mut selector, json, at, match_labels),
            "targetRef" => once(&mut target_ref, json, at, TargetRef::read),
            "targetRefs" => once(&mut target_refs, json, at, |json, at| list(json, at, TargetRef::read)),
            "jwtRules" => once(&mut jwt_rules, json, at, |json, at| list(json, at, JwtRule::read)),
            _ => unknown(at),
        })?;
        let (target_refs, jwt_rules) = (target_refs.unwrap_or_default(), jwt_rules.unwrap_or_default());
        Ok(Self { selector, target_ref, target_refs, jwt_rules })
    }
}

/// Reads a workload selector.
fn match_labels(json: &mut Json<'_>, at: At<'_>) -> Result<Vec<(String, String)>, Finding> {
    let mut labels = None;
    json.object(at, &mut |json, name, at| match name {
        "matchLabels" => once(&mut labels, json, at, |json, at| map(json, at, string)),
        _ => unknown(at),
    })?;
    Ok(labels.unwrap_or_default())
}

/// One issuer that is accepted, and what becomes of its tokens.
#[derive(Debug, Clone, Default)]
pub struct JwtRule {
    /// Must equal `iss`; any issuer without it.
    pub issuer: Option<String>,
    /// Of these `aud` must have one; anything does when empty.
    pub audiences: Vec<String>,
    /// Where the keys are; by default where the issuer's OpenID configuration says.
    pub jwks_uri: Option<String>,
    /// The keys themselves; wins over `jwksUri`.
    pub jwks: Option<String>,
    /// Headers that may hold a token.
    pub from_headers: Vec<HeaderLocation>,
    /// Query parameters that may hold a token.
    pub from_params: Vec<String>,
    /// Cookies that may hold a token.
    pub from_cookies: Vec<String>,
    /// A header that the payload is passed on in.
    pub output_payload_to_header: Option<String>,
    /// Whether the upstream gets the token too.
    pub forward_original_token: bool,
    /// Headers that single claims are passed on in.
    pub output_claim_to_headers: Vec<ClaimToHeader>,
    /// How long a fetch of keys may take; 5 s by default.
    pub timeout: Option<String>,
    /// Claims whose text is a list with blanks between; always `scope` and `permission`.
    pub space_delimited_claims: Vec<String>,
}

impl JwtRule {
    fn read(json: &mut Json<'_>, at: At<'_>) -> Result<Self, Finding> {
        let (mut issuer, mut audiences, mut jwks_uri, mut jwks, mut timeout) = (None, None, None, None, None);
        let (mut from_headers, mut from_params, mut from_cookies) = (None, None, None);
        let (mut payload, mut forward, mut claims, mut space_delimited) = (None, None, None, None);
        json.object(at, &mut |json, name, at| match name {
            "issuer" => once(&mut issuer, json, at, string),
            "audiences" => once(&mut audiences, json, at, strings),
            "jwksUri" | "jwks_uri" => once(&mut jwks_uri, json, at, string),
            "jwks" => once(&mut jwks, json, at, string),
            "fromHeaders" => once(&mut from_headers, json, at, |json, at| list(json, at, HeaderLocation::read)),
            "fromParams" => once(&mut from_params, json, at, strings),
            "fromCookies" => once(&mut from_cookies, json, at, strings),
            "outputPayloadToHeader" => once(&mut payload, json, at, string),
            "forwardOriginalToken" => once(&mut forward, json, at, Json::flag),
            "outputClaimToHeaders" => once(&mut claims, json, at, |json, at| list(json, at, ClaimToHeader::read)),
            "timeout" => once(&mut timeout, json, at, string),
            "spaceDelimitedClaims" => once(&mut space_delimited, json, at, strings),
            _ => unknown(at),
        })?;
        Ok(Self {
            issuer,
            audiences: audiences.unwrap_or_default(),
            jwks_uri,
            jwks,
            from_headers: from_headers.unwrap_or_default(),
            from_params: from_params.unwrap_or_default(),
            from_cookies: from_cookies.unwrap_or_default(),
            output_payload_to_header: payload,
            forward_original_token: forward.unwrap_or_default(),
            output_claim_to_headers: claims.unwrap_or_default(),
            timeout,
            space_delimited_claims: space_delimited.unwrap_or_default(),
        })
    }
}

/// A header that may hold a token.
#[derive(Debug, Clone, Default)]
pub struct HeaderLocation {
    /// The header's name in any case.
    pub name: String,
    /// What stands before the token, anywhere in the value.
    pub prefix: String,
}

impl HeaderLocation {
    fn read(json: &mut Json<'_>, at: At<'_>) -> Result<Self, Finding> {
        let (mut own_name, mut prefix) = (None, None);
        json.object(at, &mut |json, name, at| match name {
            "name" => once(&mut own_name, json, at, string),
            "prefix" => once(&mut prefix, json, at, string),
            _ => unknown(at),
        })?;
        Ok(Self { name: needed(own_name, at, "name")?, prefix: prefix.unwrap_or_default() })
    }
}

/// A claim that is passed on in a header.
#[derive(Debug, Clone, Default)]
pub struct ClaimToHeader {
    /// The header's name in any case.
    pub header: String,
    /// The claim; dots lead into objects.
    pub claim: String,
}

impl ClaimToHeader {
    fn read(json: &mut Json<'_>, at: At<'_>) -> Result<Self, Finding> {
        let (mut header, mut claim) = (None, None);
        json.object(at, &mut |json, name, at| match name {
            "header" => once(&mut header, json, at, string),
            "claim" => once(&mut claim, json, at, string),
            _ => unknown(at),
        })?;
        Ok(Self { header: needed(header, at, "header")?, claim: needed(claim, at, "claim")? })
    }
}

fn string(json: &mut Json<'_>, at: At<'_>) -> Result<String, Finding> {
    json.text(at).map(String::from)
}

fn strings(json: &mut Json<'_>, at: At<'_>) -> Result<Vec<String>, Finding> {
    list(json, at, string)
}

/// Reads a number of things, from 0 up.
fn count(json: &mut Json<'_>, at: At<'_>) -> Result<usize, Finding> {
    let text = json.number(at)?;
    text.parse().map_err(|_| at.finding(format!("`{text}` is no whole number from 0 up")))
}

fn needed<T>(value: Option<T>, at: At<'_>, name: &str) -> Result<T, Finding> {
    value.ok_or_else(|| At::Field(&at, name).finding("must be given"))
}
