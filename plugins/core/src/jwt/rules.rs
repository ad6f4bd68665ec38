//! Rules: what the policies say, checked, merged and made ready for requests.

use std::time::Duration;

use super::config::{ClaimToHeader, Config, JwtRule, Spec};
use super::extract::Locations;
use super::jwks::KeySet;
use super::keys::{KeySets, Source};
use super::outputs::Outputs;
use super::selection;
use super::uri::Uri;
use crate::duration;
use crate::finding::{At, Finding};

/// One accepted issuer.
#[derive(Debug)]
pub(crate) struct Rule {
    /// Any issuer when empty.
    pub(crate) issuer: String,
    /// Without scheme and trailing slash; any audience when empty.
    audiences: Vec<String>,
    pub(crate) keys: Keys,
    pub(crate) locations: Locations,
    pub(crate) strip: bool,
    pub(crate) outputs: Outputs,
}

/// Where a rule's keys are.
#[derive(Debug)]
pub(crate) enum Keys {
    Inline(KeySet),
    /// The index of a fetched set.
    Remote(usize),
    /// Nobody knows where: the issuer is no URL. istiod then hands out a key whose private half does not exist.
    Nowhere,
}

impl Rule {
    /// Whether a token for these audiences is meant for us: one leading `http://` or `https://` and one trailing slash
    /// do not count.
    pub(crate) fn accepts_audience(&self, audiences: &[String]) -> bool {
        self.audiences.is_empty() || audiences.iter().any(|one| self.audiences.iter().any(|other| *other == bare(one)))
    }
}

fn bare(audience: &str) -> &str {
    let rest = audience.strip_prefix("https://").or_else(|| audience.strip_prefix("http://")).unwrap_or(audience);
    rest.strip_suffix('/').unwrap_or(rest)
}

/// The rules of all policies that apply, sorted by issuer as istiod sorts them, and the sets that they fetch.
pub(crate) fn compile(config: &Config) -> Result<(Vec<Rule>, KeySets), Finding> {
    let cache = cache_duration(config)?;
    let mut sets = KeySets::new(cache, config.jwks_fetch.clusters.clone());
    let mut rules = Vec::new();
    for (index, policy) in config.policies.iter().enumerate() {
        let list = At::Field(&At::Whole, "policies");
        let object = At::Element(&list, index);
        let spec = At::Field(&object, "spec");
        check_spec(&policy.spec, spec)?;
        if config.workload.is_some() && policy.metadata.namespace.is_empty() {
            let metadata = At::Field(&object, "metadata");
            return Err(At::Field(&metadata, "namespace").finding("must be given, since `workload` selects by it"));
        }
        let applies = selection::applies(policy, config);
        for (index, rule) in policy.spec.jwt_rules.iter().enumerate() {
            let list = At::Field(&spec, "jwtRules");
            let rule = Draft { rule, at: At::Element(&list, index) }.compile(&mut sets)?;
            if applies {
                rules.push(rule);
            }
        }
    }
    rules.sort_by(|one, other| one.issuer.cmp(&other.issuer));
    Ok((rules, sets))
}

fn cache_duration(config: &Config) -> Result<Duration, Finding> {
    let text = config.jwks_fetch.cache_duration.as_deref().unwrap_or("300s");
    match duration::parse(text) {
        Some(duration) if duration >= Duration::from_secs(1) => Ok(duration),
        _ => Err(At::Field(&At::Field(&At::Whole, "jwksFetch"), "cacheDuration")
            .finding(format!("`{text}` is no span of at least `1s`, such as `300s`"))),
    }
}

/// What the definition of the resource limits.
const MAX_RULES: usize = 4096;
const MAX_SPACE_DELIMITED: usize = 64;

fn check_spec(spec: &Spec, at: At<'_>) -> Result<(), Finding> {
    let scopes = [spec.selector.is_some(), spec.target_ref.is_some(), !spec.target_refs.is_empty()];
    if scopes.iter().filter(|scope| **scope).count() > 1 {
        return Err(at.finding("only one of `selector`, `targetRef` and `targetRefs` can be set"));
    }
    if spec.jwt_rules.len() > MAX_RULES {
        return Err(At::Field(&at, "jwtRules").finding(format!("more than {MAX_RULES} rules")));
    }
    Ok(())
}

/// A rule as written, and where that is.
struct Draft<'a> {
    rule: &'a JwtRule,
    at: At<'a>,
}

impl Draft<'_> {
    fn error(&self, field: &str, reason: impl Into<String>) -> Finding {
        At::Field(&self.at, field).finding(reason)
    }

    fn compile(&self, sets: &mut KeySets) -> Result<Rule, Finding> {
        let rule = self.rule;
        if rule.issuer.as_deref() == Some("") {
            return Err(self.error("issuer", "empty; leave it out to accept any issuer"));
        }
        self.check_lists()?;
        let payload = rule.output_payload_to_header.as_deref().filter(|name| !name.is_empty());
        if let Some(name) = payload.filter(|name| !is_header_name(name)) {
            return Err(self.error("outputPayloadToHeader", invalid_name(name)));
        }
        Ok(Rule {
            issuer: rule.issuer.clone().unwrap_or_default(),
            audiences: rule.audiences.iter().map(|audience| bare(audience).to_owned()).collect(),
            keys: self.keys(sets)?,
            locations: Locations::new(&rule.from_headers, &rule.from_params, &rule.from_cookies),
            strip: !rule.forward_original_token,
            outputs: Outputs::new(payload, &rule.output_claim_to_headers, &rule.space_delimited_claims),
        })
    }

    fn check_lists(&self) -> Result<(), Finding> {
        let rule = self.rule;
        let texts = [
            ("audiences", &rule.audiences),
            ("fromParams", &rule.from_params),
            ("fromCookies", &rule.from_cookies),
            ("spaceDelimitedClaims", &rule.space_delimited_claims),
        ];
        for (field, texts) in texts {
            if let Some(index) = texts.iter().position(String::is_empty) {
                return Err(self.error(&format!("{field}[{index}]"), "empty"));
            }
        }
        if rule.space_delimited_claims.len() > MAX_SPACE_DELIMITED {
            return Err(self.error("spaceDelimitedClaims", format!("more than {MAX_SPACE_DELIMITED} claims")));
        }
        for (index, header) in rule.from_headers.iter().enumerate() {
            if !is_header_name(&header.name) {
                return Err(self.error(&format!("fromHeaders[{index}].name"), invalid_name(&header.name)));
            }
        }
        for (index, ClaimToHeader { header, claim }) in rule.output_claim_to_headers.iter().enumerate() {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            if header.is_empty() || !header.bytes().all(plain) {
                return Err(self.error(&format!("outputClaimToHeaders[{index}].header"), invalid_name(header)));
            }
            if claim.is_empty() {
                return Err(self.error(&format!("outputClaimToHeaders[{index}].claim"), "empty"));
            }
        }
        Ok(())
    }

    fn keys(&self, sets: &mut KeySets) -> Result<Keys, Finding> {
        let rule = self.rule;
        let timeout = self.timeout()?;
        let uri = |field: &str, text: &str| {
            Uri::parse(text).map_err(|reason| self.error(field, format!("`{text}` {reason}")))
        };
        let jwks_uri = rule.jwks_uri.as_deref().filter(|text| !text.is_empty());
        let jwks_uri = jwks_uri.map(|text| uri("jwksUri", text)).transpose()?;
        if rule.issuer.is_none() && jwks_uri.is_none() {
            return Err(self.error("jwksUri", "missing; a rule without `issuer` has to say where its keys are"));
        }
        if let Some(jwks) = rule.jwks.as_deref().filter(|jwks| !jwks.is_empty()) {
            return KeySet::parse(jwks.as_bytes())
                .map(Keys::Inline)
                .map_err(|error| self.error("jwks", error.to_string()));
        }
        let source = match (jwks_uri, &rule.issuer) {
            (Some(uri), _) => Source::Set(uri),
            (None, Some(issuer)) => {
                let base = issuer.strip_suffix('/').unwrap_or(issuer);
                match Uri::parse(&format!("{base}/.well-known/openid-configuration")) {
                    Ok(uri) => Source::Discovery(uri),
                    Err(_) => return Ok(Keys::Nowhere),
                }
            }
            (None, None) => return Ok(Keys::Nowhere),
        };
        Ok(Keys::Remote(sets.add(source, timeout)))
    }

    fn timeout(&self) -> Result<Duration, Finding> {
        let text = self.rule.timeout.as_deref().unwrap_or("5s");
        match duration::parse(text) {
            Some(timeout) if timeout >= Duration::from_millis(1) => Ok(timeout),
            _ => Err(self.error("timeout", format!("`{text}` is no span of at least `1ms`, such as `5s`"))),
        }
    }
}

fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn invalid_name(name: &str) -> String {
    format!("`{name}` is not the name of a header")
}

#[cfg(test)]
mod tests;
