//! What request authentication costs a request in a real Envoy: Envoy's own filter, which verifies every time as Istio sets
//! it up, beside this module with a verdict that it remembers and with a token that it never saw.
//!
//! `cargo bench --profile dev -p jwt --bench envoy` prints the CPU time per request and fails when a budget is missed.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};
use wasmplugin_host::envoy::race::{Contestant, Race, Standing, Standings};
use wasmplugin_host::module::build::{self, Options};

/// The baseline of the race.
const NOTHING: &str = "no filter";

/// The shared cases whose token and keys are used.
const CASES: &str = include_str!("../../core/testdata/jwt_cases.json");

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let module = module()?;
    let cases: Vec<Value> = serde_json::from_str(CASES)?;
    let mut contestants = vec![Contestant::new(NOTHING)];
    for algorithm in ["RS256", "ES256", "PS256", "EdDSA"] {
        contestants.extend(of_algorithm(&module, &cases, algorithm)?);
    }
    let standings = Race::default().run(contestants)?;
    print!("{standings}");
    let over = |name: &str| over(&standings, name);
    let budgets = [
        ("RS256 remembered, of native", over("RS256, remembered")? / over("RS256, native")?, 1.0),
        ("RS256 at first sight, of native", over("RS256, first sight")? / over("RS256, native")?, 1.5),
        ("ES256 at first sight, of native", over("ES256, first sight")? / over("ES256, native")?, 1.5),
    ];
    let mut missed = false;
    for (what, value, budget) in budgets {
        missed |= value > budget;
        println!("{what}: {value:.2}, {} the budget of {budget}", if value > budget { "OVER" } else { "within" });
    }
    Ok(if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn module() -> Result<PathBuf, Box<dyn Error>> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let options = Options { directory: Some(root), quiet: true, ..Options::default() };
    Ok(build::build(&["jwt"], &options)?.into_iter().next().ok_or("the module was built")?.path)
}

/// Envoy's filter, the module, and the module when it remembers nothing: so it sees every token for the first time.
fn of_algorithm(module: &Path, cases: &[Value], algorithm: &str) -> Result<[Contestant; 3], Box<dyn Error>> {
    let name = format!("alg {algorithm} valid");
    let named = |case: &&Value| case.get("name").and_then(Value::as_str) == Some(&name);
    let case = cases.iter().find(named).ok_or_else(|| format!("there is no case `{name}`"))?;
    let rule = case.pointer("/rules/0").ok_or("a case has a rule")?;
    let bearer =
        case.pointer("/request/headers/0/1").and_then(Value::as_str).ok_or("the case's request has a token")?;
    let policies = json!([{"metadata": {"name": "race", "namespace": "foo"}, "spec": {"jwtRules": [rule]}}]);
    let forgetful = json!({"policies": policies, "verdictCache": {"tokens": 0}});
    let contestants = [
        Contestant::new(format!("{algorithm}, native")).filter(native(rule)),
        Contestant::new(format!("{algorithm}, remembered")).plugin(module, &json!({ "policies": policies })),
        Contestant::new(format!("{algorithm}, first sight")).plugin(module, &forgetful),
    ];
    Ok(contestants.map(|one| one.request([("authorization", bearer)])))
}

/// The rule as istiod would write it for Envoy.
fn native(rule: &Value) -> Value {
    let provider = json!({
        "issuer": rule.get("issuer"),
        "local_jwks": {"inline_string": rule.get("jwks")},
        "payload_in_metadata": "payload",
        "normalize_payload_in_metadata": {"space_delimited_claims": ["permission", "scope"]},
        "from_headers": [{"name": "Authorization", "value_prefix": "Bearer "}],
        "from_params": ["access_token"],
    });
    json!({
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"origins-0": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": {"requires_any": {"requirements": [
                {"provider_name": "origins-0"},
                {"allow_missing": {}},
            ]}}}],
            "bypass_cors_preflight": true,
        },
    })
}

fn over(standings: &Standings, name: &str) -> Result<f64, Box<dyn Error>> {
    let of = |name: &str| standings.of(name).ok_or_else(|| format!("`{name}` was not in the race"));
    Ok(Standing::over(of(name)?, of(NOTHING)?))
}
