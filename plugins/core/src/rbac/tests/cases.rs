//! The shared acceptance cases, each decided by a real Envoy 1.40 that was configured as istiod does it.

use serde_json::{Value, json};

use super::engine;
use super::normal::normalised;
use crate::rbac::Engine;
use crate::rbac::claims::Claim;
use crate::rbac::decision::{Custom, Decision, Outcome, Shadow};
use crate::rbac::facts::Facts;

/// Where this engine differs on purpose: the name of the case, and the place that it refuses or `denied`.
const STRICTER: [(&str, &str); 7] = [
    ("DENY: unknown condition key drops the rule too (fails open)", "policies[0].spec.rules[0].when[0].key"),
    ("DENY: a bad CIDR is dropped and the rest kept", "policies[0].spec.rules[0].from[0].source.ipBlocks[1]"),
    ("ALLOW: bad port drops the rule", "policies[0].spec.rules[0].to[0].operation.ports[0]"),
    ("from with an empty source matches anyone", "policies[0].spec.rules[0].from[0].source"),
    ("to with an empty operation matches anything", "policies[0].spec.rules[0].to[0].operation"),
    (
        "trust domain suffix pattern does not cross the slash",
        "policies[0].spec.rules[0].from[0].source.trustDomains[0]",
    ),
    ("DENY template does not cover a path with a bracket", "denied"),
];

#[test]
fn every_shared_case_is_decided_as_by_envoy() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../../../testdata/rbac_cases.json")).unwrap();
    let wrong: Vec<String> =
        cases.iter().filter_map(|case| Some(format!("{}: {}", case["name"], verdict(case)?))).collect();
    assert!(wrong.is_empty(), "{} of {} cases are decided wrongly:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// What is wrong with the decision about a case.
fn verdict(case: &Value) -> Option<String> {
    let stricter = STRICTER.iter().find(|(name, _)| case["name"] == *name).map(|(_, how)| *how);
    let config = json!({
        "policies": case["policies"],
        "rootNamespace": case["root_namespace"],
        "trustDomain": case["trust_domain"],
        "trustDomainAliases": case["trust_domain_aliases"],
        "sourceIp": {"filterState": "peer"},
        "providers": {"my-authz": {"cluster": "authz"}},
        "protocol": case["request"]["protocol"],
    });
    let engine = match (engine(&config), stricter) {
        (Ok(engine), _) => engine,
        (Err(finding), Some(place)) => {
            return (finding.path() != place).then(|| format!("refused at {}, expected at {place}", finding.path()));
        }
        (Err(finding), None) => return Some(format!("refused: {finding}")),
    };
    let mut expected = case["expect"].clone();
    if stricter == Some("denied") {
        expected["allow"] = false.into();
        expected["rcd"] = "rbac_access_denied_matched_policy[ns[foo]-policy[p]-rule[0]]".into();
    }
    with_facts(case, |facts| match facts {
        Some(facts) => differs(&engine, &facts, &expected),
        None => (expected["status"] != 400).then(|| "the proxy refuses the path".to_owned()),
    })
}

fn differs(engine: &Engine, facts: &Facts<'_>, expected: &Value) -> Option<String> {
    let custom = engine.custom(facts);
    let decision = engine.decide(facts);
    let asked = matches!(custom, Custom::Ask { .. });
    if expected["custom"]["triggered"].as_bool().unwrap_or(asked) != asked {
        return Some(format!("{custom:?}"));
    }
    let shadow_of = |shadow: Option<Shadow<'_>>| {
        let shadow = shadow?;
        let result = if shadow.allowed { "allowed" } else { "denied" };
        Some((result.to_owned(), shadow.policy.map(str::to_owned)))
    };
    let shadow = match expected["shadow"]["action"].as_str() {
        Some("deny") => shadow_of(decision.shadow_deny),
        _ => shadow_of(decision.shadow_allow),
    };
    let expected_shadow = expected["shadow"].as_object().map(|shadow| {
        (
            shadow["result"].as_str().unwrap().to_owned(),
            shadow.get("policy").map(|policy| policy.as_str().unwrap().to_owned()),
        )
    });
    let right = decision.outcome.allowed() == expected["allow"]
        && decision.details().as_deref()
            == expected["rcd"]
                .as_str()
                .filter(|_| expected["allow"] == false)
                .or(decision.details().as_deref().filter(|_| facts.method.is_none()))
        && expected["matched_policy"].as_str().is_none_or(|policy| policy == matched(&decision))
        && expected["audit"].as_bool().is_none_or(|audit| decision.audit == Some(audit))
        && (expected_shadow.is_none() || shadow == expected_shadow);
    (!right).then(|| format!("{decision:?}, expected {expected}"))
}

fn matched<'p>(decision: &Decision<'p>) -> &'p str {
    match decision.outcome {
        Outcome::Allowed { policy } | Outcome::Denied { policy } => policy.unwrap_or("none"),
    }
}

/// Gives the facts of a case, or none where the proxy refuses the path before any filter.
fn with_facts<T>(case: &Value, then: impl FnOnce(Option<Facts<'_>>) -> T) -> T {
    let request = &case["request"];
    let text = |name: &str| request[name].as_str().map(str::as_bytes);
    let ip = |name: &str| request[name].as_str().map(|ip| ip.parse().unwrap());
    let path = match request["path"].as_str().map(|path| normalised(path, case["path_normalization"].as_str().unwrap()))
    {
        Some(None) => return then(None),
        path => path.flatten(),
    };
    let headers: Vec<(&[u8], &[u8])> = request["headers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|line| (line[0].as_str().unwrap().as_bytes(), line[1].as_str().unwrap().as_bytes()))
        .collect();
    let claims = request["jwt_claims"].to_string();
    let claims: Option<Claim<'_>> = request["jwt_claims"].is_object().then(|| Claim::parse(claims.as_bytes()).unwrap());
    let identities: Vec<&[u8]> = text("principal").into_iter().collect();
    then(Some(Facts {
        method: text("method"),
        path: path.as_deref(),
        authority: text("authority"),
        headers: &headers,
        identities: &identities,
        other_names: &[],
        direct_ip: ip("source_ip"),
        remote_ip: ip("remote_ip"),
        destination_ip: ip("destination_ip"),
        destination_port: request["destination_port"].as_u64().map(|port| u16::try_from(port).unwrap()),
        sni: text("sni"),
        claims: claims.as_ref(),
        metadata: &[],
    }))
}
