//! `rbac` beside Envoy's own filters in one real Envoy: random policies, random requests, and every decision alike.
//!
//! The native filters stand before the plugin as istiod would configure them (`istiod`), but only say what they would do.
//! What the plugin does differently on purpose (its README lists it) is not among what is made up here (`random`).
//! `RBAC_SETS=200` tries as many sets of policies, others in each run.

mod istiod;
mod random;

use std::error::Error;

use proptest::collection::vec;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::{Value, json};
use wasmplugin_host::envoy::config::typed;
use wasmplugin_host::test::{Engine, Failure, Proxy, Response, Tls};

use self::istiod::native;
use self::random::{Attempt, Scene, attempt, scene};
use crate::engines::Outcome;
use crate::rbac::{PLUGIN, policy};
use crate::rbac_cases::reports;
use crate::rbac_jwt_authn::jwt_authn;
use crate::tokens::token;

/// Sets of policies, and requests to each of them.
const SETS: usize = 6;
const REQUESTS: usize = 120;

/// The header of responses that says what the filter of an action would have done, and because of which policy.
fn verdict_header(action: &str, what: &str) -> (String, String) {
    let name = format!("x-{}-{what}", action.to_lowercase());
    (name, format!("%DYNAMIC_METADATA(envoy.filters.http.rbac:{action}_shadow_{what})%"))
}

const RESULT: &str = "engine_result";
const POLICY: &str = "effective_policy_id";

/// Writes the verdicts of the native filters into the response, whoever makes it.
fn telling() -> Value {
    let mutations: Vec<_> = ["DENY", "ALLOW"]
        .iter()
        .flat_map(|action| [verdict_header(action, RESULT), verdict_header(action, POLICY)])
        .map(|(key, value)| json!({"append": {"header": {"key": key, "value": value}}}))
        .collect();
    let message = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation";
    let config = json!({"mutations": {"response_mutations": mutations}});
    json!({"name": "envoy.filters.http.header_mutation", "typed_config": typed(message, config)})
}

fn start(scene: &Scene) -> Result<Proxy, Box<dyn Error>> {
    let policies: Vec<_> = scene
        .policies
        .iter()
        .enumerate()
        .map(|(place, made)| policy(&format!("p{place}"), json!({"action": made.action, "rules": made.rules})))
        .collect();
    let mut proxy = PLUGIN
        .on(Engine::Envoy)
        .config(json!({"policies": policies}))
        .client((scene.client, 4000).into())
        .envoy_filter(telling())
        .envoy_filter(jwt_authn(&["idp"], &json!({})));
    for action in ["DENY", "ALLOW"].into_iter().filter(|action| scene.has(action)) {
        proxy = proxy.envoy_filter(native(action, &policies));
    }
    if let Some(peer) = scene.peer {
        let peer_uris: Vec<_> = Some(peer.to_owned()).into_iter().filter(|uri| !uri.is_empty()).collect();
        let requested_server_name = scene.server_name.to_owned();
        proxy = proxy.tls(Tls { mutual: !peer_uris.is_empty(), peer_uris, requested_server_name, ..Tls::default() });
    }
    Ok(proxy.start().map_err(|error| format!("{error}: {policies:#?}"))?)
}

fn send(proxy: &mut Proxy, attempt: &Attempt) -> Result<Response, Failure> {
    let mut request = proxy.request(attempt.method, attempt.path).header(":authority", attempt.authority);
    for value in &attempt.headers {
        request = request.header("x-t", *value);
    }
    if let Some(claims) = &attempt.claims {
        request = request.header("authorization", format!("Bearer {}", token("idp", claims)));
    }
    request.send()
}

/// What the native filters would have answered, and the policy that they would have named.
fn expected(answer: &Response, scene: &Scene) -> (&'static str, String) {
    let told = |action: &str, what: &str| answer.header(&verdict_header(action, what).0).unwrap_or_default().to_owned();
    if told("DENY", RESULT) == "denied" {
        return ("denied", told("DENY", POLICY));
    }
    match told("ALLOW", RESULT).as_str() {
        "denied" => ("denied", "none".to_owned()),
        "allowed" => ("allowed", told("ALLOW", POLICY)),
        "" if !scene.has("ALLOW") => ("allowed", "none".to_owned()),
        other => panic!("the native filter says `{other}`"),
    }
}

/// How many requests of a set of policies are allowed, and what differs.
fn differences(scene: &Scene, attempts: &[Attempt]) -> Result<(usize, Vec<String>), Box<dyn Error>> {
    let mut proxy = start(scene)?;
    let mut wanted = Vec::with_capacity(attempts.len());
    for attempt in attempts {
        let answer = send(&mut proxy, attempt)?;
        let (outcome, id) = expected(&answer, scene);
        let status = if outcome == "allowed" { 200 } else { 403 };
        wanted.push((answer.status() == status, format!("{outcome}, matched policy {id}")));
    }
    let reports = reports(&mut proxy, attempts.len());
    assert_eq!(reports.len(), attempts.len(), "every request is reported");
    let allowed = wanted.iter().filter(|(_, wanted)| wanted.starts_with("allowed")).count();
    let all = attempts.iter().zip(wanted).zip(reports);
    let different = all
        .filter(|((_, (is_right, wanted)), report)| !is_right || report.last() != Some(wanted))
        .map(|((attempt, (_, wanted)), report)| format!("{attempt:?}: {wanted} natively, here {report:?}"));
    Ok((allowed, different.collect()))
}

fn made<S: Strategy>(strategy: &S, runner: &mut TestRunner) -> Result<S::Value, String> {
    strategy.new_tree(runner).map(|tree| tree.current()).map_err(|reason| reason.to_string())
}

#[test]
fn random_policies_decide_as_natively() -> Outcome {
    let sets = std::env::var("RBAC_SETS").ok().map(|sets| sets.parse::<usize>()).transpose()?;
    let seed = if sets.is_some() { RngSeed::Random } else { RngSeed::Fixed(40) };
    let mut runner = TestRunner::new(Config { rng_seed: seed, ..Config::default() });
    let sets = sets.unwrap_or(SETS);
    let mut allowed = 0;
    for _ in 0..sets {
        let (scene, attempts) = made(&(scene(), vec(attempt(), REQUESTS)), &mut runner)?;
        let (passed, wrong) = differences(&scene, &attempts)?;
        assert!(wrong.is_empty(), "{} of {REQUESTS} differ:\n{}\nunder {scene:#?}", wrong.len(), wrong.join("\n"));
        allowed += passed;
    }
    let share = allowed * 100 / (sets * REQUESTS);
    assert!((5..95).contains(&share), "{share} % are allowed, so that little was compared");
    Ok(())
}
