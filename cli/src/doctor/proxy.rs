//! How the modules in a running proxy fare, from what Envoy and Istio's agent count.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::diagnosis::Diagnosis;
use crate::client::{self, Request};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The prefix of the filter that Istio's agent puts in the place of a module that it could not fetch, where failing closes.
const DENY: &str = "wasm-default-deny";
/// The same where failing opens.
const ALLOW: &str = "wasm-default-allow";

const AGENT_LOG: &str = "look at `kubectl logs POD -c istio-proxy`, and try `--image` with the same Secret";

/// Whether an Envoy lives, and what its counters say about Wasm.
pub(super) fn envoy(address: SocketAddr) -> Vec<Diagnosis> {
    let name = format!("envoy {address}");
    let (info, stats) = match (server_info(address), get(address, "/stats")) {
        (Ok(info), Ok(stats)) => (info, stats),
        (Err(error), _) | (_, Err(error)) => {
            let help = "start it, or reach it with `kubectl port-forward POD 15000`";
            return vec![Diagnosis::fail(name, format!("{error:#}"), help)];
        }
    };
    let text = |field: &str| info.get(field).and_then(Value::as_str).unwrap_or_default();
    // Such as `<commit>/1.40.0/Clean/RELEASE/BoringSSL`.
    let version = text("version").split('/').nth(1).unwrap_or_else(|| text("version"));
    let said = format!("version {version}, {}, up {}", text("state"), text("uptime_current_epoch"));
    let lives = match text("state") {
        "LIVE" => Diagnosis::ok(name.clone(), said),
        _ => Diagnosis::fail(name.clone(), said, "it takes no requests yet, or no longer: look at its log"),
    };
    std::iter::once(lives).chain(wasm(&format!("wasm {address}"), &stats)).collect()
}

/// What counters such as `wasm.envoy.wasm.runtime.v8.active: 3` say.
fn wasm(name: &str, stats: &str) -> Vec<Diagnosis> {
    let counters: Vec<(&str, u64)> = stats
        .lines()
        .filter_map(|line| line.rsplit_once(": ").and_then(|(name, value)| Some((name, value.trim().parse().ok()?))))
        .collect();
    let runtime = |last: &str| -> u64 {
        let of_runtime = |name: &str| name.starts_with("wasm.") && name.contains(".runtime.") && name.ends_with(last);
        counters.iter().filter(|(name, _)| of_runtime(name)).map(|(_, value)| value).sum()
    };
    let (active, created) = (runtime(".active"), runtime(".created"));
    let said = format!("{active} VMs are active, of {created} that were created");
    let mut found = vec![match active {
        0 => Diagnosis::warn(name, said, "no plugin runs there: does one select this workload?"),
        _ => Diagnosis::ok(name, said),
    }];
    let replaced = |prefix: &str| stats.lines().any(|line| line.contains(prefix));
    if replaced(DENY) {
        let said = "a module could not be fetched: the agent refuses all of its requests with 403";
        found.push(Diagnosis::fail(name, said, AGENT_LOG));
    }
    if replaced(ALLOW) {
        let said = "a module could not be fetched: the agent lets all of its requests pass without it";
        found.push(Diagnosis::fail(name, said, AGENT_LOG));
    }
    let about_wasm = |name: &str| name.starts_with("wasm.") || name.starts_with("extension_config_discovery.");
    for (counter, value) in counters.iter().filter(|(name, value)| *value > 0 && about_wasm(name)) {
        let help = match counter.rsplit('.').next().unwrap_or_default() {
            "config_fail" | "update_rejected" => {
                "the plugin refused its configuration, or the module cannot be loaded: \
                try `cargo wasmplugin check MODULE --config FILE`"
            }
            "vm_reload_failure" => "a plugin that has trapped does not start again: look at Envoy's log",
            "remote_load_fetch_failures" => "Envoy could not fetch a module by itself: look at its log",
            _ => continue,
        };
        found.push(Diagnosis::warn(name, format!("`{counter}` is {value}"), help));
    }
    found
}

/// What Istio's agent has counted.
pub(super) fn agent(address: SocketAddr) -> Diagnosis {
    let name = format!("agent {address}");
    match get(address, "/stats/prometheus") {
        Ok(text) => fetches(&name, &text),
        Err(error) => Diagnosis::fail(name, format!("{error:#}"), "reach it with `kubectl port-forward POD 15020`"),
    }
}

/// What lines such as `istio_agent_wasm_remote_fetch_count{result="success"} 1` say.
fn fetches(name: &str, text: &str) -> Diagnosis {
    let counts = |line: &str| -> Option<(String, u64)> {
        let (labels, value) = line.strip_prefix("istio_agent_wasm_remote_fetch_count{")?.rsplit_once("} ")?;
        let result = labels.split(',').find_map(|label| label.strip_prefix("result="))?;
        Some((result.trim_matches('"').to_owned(), value.trim().parse().ok()?))
    };
    let counts: Vec<_> = text.lines().filter_map(counts).filter(|(_, count)| *count > 0).collect();
    if counts.is_empty() {
        return Diagnosis::ok(name, "it has fetched no module yet");
    }
    let said = counts.iter().map(|(result, count)| format!("{count} {result}")).collect::<Vec<_>>().join(", ");
    let said = format!("modules fetched: {said}");
    if counts.iter().all(|(result, _)| result == "success") {
        return Diagnosis::ok(name, said);
    }
    Diagnosis::warn(name, said, AGENT_LOG)
}

fn server_info(address: SocketAddr) -> Result<Value> {
    let text = get(address, "/server_info")?;
    serde_json::from_str(&text).with_context(|| format!("{address} is no admin interface of an Envoy"))
}

fn get(address: SocketAddr, path: &str) -> Result<String> {
    let response = client::send(address, &Request { method: "GET", path, ..Request::default() }, PATIENCE)?;
    ensure!(response.status == 200, "{address} answers `{path}` with {}", response.status);
    Ok(response.text())
}

#[cfg(test)]
mod tests {
    use super::super::diagnosis::State;
    use super::*;

    fn states(stats: &str) -> Vec<(State, String)> {
        wasm("wasm", stats).into_iter().map(|one| (one.state, one.said)).collect()
    }

    #[test]
    fn vms_are_counted() {
        let stats =
            "wasm.envoy.wasm.runtime.v8.active: 3\nwasm.envoy.wasm.runtime.v8.created: 6\nwasmcustom.active: 9\n";
        assert_eq!(states(stats), [(State::Ok, "3 VMs are active, of 6 that were created".to_owned())]);
        assert_eq!(states("")[0].0, State::Warn);
    }

    #[test]
    fn what_went_wrong_is_told() {
        let stats = "wasm.envoy.wasm.runtime.v8.active: 1\n\
            http.inbound_0.0.0.0_8080;.rbac.wasm-default-deny.denied: 4\n\
            extension_config_discovery.http_filter.extensions.istio.io/wasmplugin/a.b.config_fail: 2\n\
            wasm.a.b.vm_reload_failure: 0\n";
        let told = states(stats);
        assert_eq!(told.iter().map(|(state, _)| *state).collect::<Vec<_>>(), [State::Ok, State::Fail, State::Warn]);
        assert!(told[2].1.ends_with(".config_fail` is 2"), "{told:?}");
    }

    #[test]
    fn fetches_are_told_by_their_result() {
        let line =
            |result: &str, count: u32| format!("istio_agent_wasm_remote_fetch_count{{result=\"{result}\"}} {count}\n");
        assert_eq!(fetches("a", &line("success", 2)), Diagnosis::ok("a", "modules fetched: 2 success"));
        let failed = fetches("a", &(line("success", 2) + &line("download_failure", 1)));
        assert_eq!(
            (failed.state, failed.said.as_str()),
            (State::Warn, "modules fetched: 2 success, 1 download_failure")
        );
        assert_eq!(fetches("a", "").state, State::Ok);
    }
}
