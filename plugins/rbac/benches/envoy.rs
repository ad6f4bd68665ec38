//! What authorization costs a request in a real Envoy: Envoy's own RBAC filter beside this module, with few policies and
//! with many, and with many names of peers over mTLS. Nothing matches, so everything has to be looked at.
//!
//! `cargo bench --profile dev -p rbac --bench envoy` prints the CPU time per request and fails when a budget is missed.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Map, Value, json};
use wasmplugin_host::envoy::race::{Contestant, Race, Standing, Standings};
use wasmplugin_host::module::build::{self, Options};
use wasmplugin_host::test::Tls;

/// How many namespaces or principals a policy names.
const NAMES: usize = 5_000;

/// The baseline of each race.
const NOTHING: &str = "no filter";

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let module = module()?;
    let mut budgets = Budgets::default();
    paths(&module, &mut budgets)?;
    peers(&module, &mut budgets)?;
    Ok(if budgets.missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn module() -> Result<PathBuf, Box<dyn Error>> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let options = Options { directory: Some(root), quiet: true, ..Options::default() };
    Ok(build::build(&["rbac"], &options)?.into_iter().next().ok_or("the module was built")?.path)
}

/// One policy each for a path prefix and a method.
fn paths(module: &Path, budgets: &mut Budgets) -> Result<(), Box<dyn Error>> {
    let rule = |index: usize| json!({"to": [{"operation": {"paths": [format!("/api/v1/service-{index}/*")], "methods": ["GET"]}}]});
    let native = |index: usize| {
        let path =
            json!({"or_rules": {"rules": [{"url_path": {"path": {"prefix": format!("/api/v1/service-{index}/")}}}]}});
        let method =
            json!({"or_rules": {"rules": [{"header": {"name": ":method", "string_match": {"exact": "GET"}}}]}});
        json!({
            "permissions": [{"and_rules": {"rules": [path, method]}}],
            "principals": [{"and_ids": {"ids": [{"any": true}]}}],
        })
    };
    let mut contestants = vec![Contestant::new(NOTHING)];
    for count in [1, 1_000, 10_000] {
        contestants.push(Contestant::new(format!("native, {count}")).filter(native_filter(count, native)));
        contestants.push(Contestant::new(format!("rbac, {count}")).plugin(module, &configuration(count, rule)));
    }
    let contestants = contestants.into_iter().map(|one| one.request([(":path", "/api/v1/nothing?a=b")])).collect();
    println!("policies for a path prefix and a method");
    let standings = Race::default().run(contestants)?;
    print!("{standings}");
    let over = |name: &str| over(&standings, name);
    budgets.at_most("1 policy, us over no filter", over("rbac, 1")?, 15.0);
    budgets.at_most("1,000 policies, of native", over("rbac, 1000")? / over("native, 1000")?, 1.0);
    budgets.at_most("10,000 policies, of native", over("rbac, 10000")? / over("native, 10000")?, 0.02);
    budgets.at_most("10,000 policies, of one policy", over("rbac, 10000")? / over("rbac, 1")?, 1.5);
    Ok(())
}

/// One policy with many namespaces, or many principals, asked by a peer that is none of them.
fn peers(module: &Path, budgets: &mut Budgets) -> Result<(), Box<dyn Error>> {
    let tls = Tls {
        mutual: true,
        peer_uris: vec!["spiffe://cluster.local/ns/elsewhere/sa/client".to_owned()],
        local_uris: vec!["spiffe://cluster.local/ns/foo/sa/server".to_owned()],
        ..Tls::default()
    };
    let namespaces: Vec<_> = (0..NAMES).map(|index| format!("team-{index}")).collect();
    let principals: Vec<_> = (0..NAMES).map(|index| format!("cluster.local/ns/team-{index}/sa/default")).collect();
    let in_namespace = |name: &String| json!({"safe_regex": {"regex": format!(".*/ns/{name}/.*")}});
    let is_principal = |name: &String| json!({"exact": format!("spiffe://{name}")});
    let native = |matchers: Vec<Value>| {
        let ids: Vec<_> =
            matchers.iter().map(|matcher| json!({"authenticated": {"principal_name": matcher}})).collect();
        native_filter(1, |_| {
            json!({
                "permissions": [{"and_rules": {"rules": [{"any": true}]}}],
                "principals": [{"and_ids": {"ids": [{"or_ids": {"ids": ids}}]}}],
            })
        })
    };
    let ours = |field: &str, names: &[String]| configuration(1, |_| json!({"from": [{"source": {field: names}}]}));
    let contestants = [
        Contestant::new(NOTHING),
        Contestant::new("native, namespaces").filter(native(namespaces.iter().map(in_namespace).collect())),
        Contestant::new("rbac, namespaces").plugin(module, &ours("namespaces", &namespaces)),
        Contestant::new("native, principals").filter(native(principals.iter().map(is_principal).collect())),
        Contestant::new("rbac, principals").plugin(module, &ours("principals", &principals)),
    ];
    println!("{NAMES} names of peers over mTLS");
    let standings = Race::default().run(contestants.into_iter().map(|one| one.tls(tls.clone())).collect())?;
    print!("{standings}");
    let over = |name: &str| over(&standings, name);
    for what in ["namespaces", "principals"] {
        let ratio = over(&format!("rbac, {what}"))? / over(&format!("native, {what}"))?;
        budgets.at_most(&format!("{NAMES} {what}, of native"), ratio, 0.05);
    }
    Ok(())
}

fn over(standings: &Standings, name: &str) -> Result<f64, Box<dyn Error>> {
    let of = |name: &str| standings.of(name).ok_or_else(|| format!("`{name}` was not in the race"));
    Ok(Standing::over(of(name)?, of(NOTHING)?))
}

/// The module's configuration with that many policies that refuse.
fn configuration(count: usize, rule: impl Fn(usize) -> Value) -> Value {
    let policy = |index: usize| {
        json!({
            "metadata": {"name": format!("policy-{index}"), "namespace": "foo"},
            "spec": {"action": "DENY", "rules": [rule(index)]},
        })
    };
    json!({"policies": (0..count).map(policy).collect::<Vec<_>>()})
}

/// The same as istiod would write it for Envoy.
fn native_filter(count: usize, policy: impl Fn(usize) -> Value) -> Value {
    let policies: Map<_, _> =
        (0..count).map(|index| (format!("ns[foo]-policy[policy-{index}]-rule[0]"), policy(index))).collect();
    json!({
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {"action": "DENY", "policies": policies},
            "shadow_rules_stat_prefix": "istio_dry_run_allow_",
        },
    })
}

#[derive(Default)]
struct Budgets {
    missed: usize,
}

impl Budgets {
    fn at_most(&mut self, what: &str, value: f64, budget: f64) {
        let within = value <= budget;
        self.missed += usize::from(!within);
        println!("{what}: {value:.3}, {} the budget of {budget}", if within { "within" } else { "OVER" });
    }
}
