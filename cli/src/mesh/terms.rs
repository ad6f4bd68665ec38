//! The terms that Envoy's `PluginConfig` runs a plugin on: what becomes of requests when it fails, and which functions
//! it has.

use std::time::Duration;

use serde_json::Value;
use wasmplugin_host::sandbox::Capabilities;
use wasmplugin_host::worker::FailPolicy;

use super::envoy_filter::field;

/// The shortest pause that Envoy takes.
const SHORTEST_BACKOFF: Duration = Duration::from_millis(1);

/// What becomes of requests when the plugin has failed; an error is why Envoy would not take the configuration.
pub(super) fn fail_policy(config: &Value) -> Result<FailPolicy, String> {
    let open = field(config, "fail_open", "failOpen").and_then(Value::as_bool).unwrap_or_default();
    let backoff = reload_backoff(config)?;
    let named = match field(config, "failure_policy", "failurePolicy") {
        None | Some(Value::Null) => None,
        Some(policy) => match policy.as_str().map_or_else(|| policy.to_string(), str::to_owned).as_str() {
            "UNSPECIFIED" | "0" => None,
            "FAIL_RELOAD" | "1" => Some(FailPolicy::Reload { backoff }),
            "FAIL_CLOSED" | "2" => Some(FailPolicy::Closed),
            "FAIL_OPEN" | "3" => Some(FailPolicy::OpenLater),
            other => return Err(format!("there is no `failure_policy` `{other}`")),
        },
    };
    match (named, open) {
        (Some(_), true) => Err("only one of `fail_open` and `failure_policy` can be set".to_owned()),
        (None, true) => Ok(FailPolicy::Open),
        (policy, false) => Ok(policy.unwrap_or_default()),
    }
}

/// How long a VM that is to be reloaded stays down; `max_interval` has no effect, as in Envoy.
fn reload_backoff(config: &Value) -> Result<Duration, String> {
    let backoff = field(config, "reload_config", "reloadConfig").and_then(|reload| reload.get("backoff"));
    let Some(backoff) = backoff.filter(|backoff| !backoff.is_null()) else { return Ok(Duration::from_secs(1)) };
    let base = field(backoff, "base_interval", "baseInterval").and_then(Value::as_str).and_then(seconds);
    base.filter(|base| *base >= SHORTEST_BACKOFF)
        .ok_or_else(|| "`reload_config.backoff` needs a `base_interval` of at least `0.001s`".to_owned())
}

/// The functions that the plugin has. What the VM's configuration says holds, even an empty list, which is all; the
/// older field of the plugin's own counts where that says nothing.
pub(super) fn capabilities(config: &Value, vm: &Value) -> Result<Capabilities, String> {
    let restriction = |config| {
        field(config, "capability_restriction_config", "capabilityRestrictionConfig").filter(|it| !it.is_null())
    };
    let Some(restriction) = restriction(vm).or_else(|| restriction(config)) else { return Ok(Capabilities::ALL) };
    let misshapen = || "`capability_restriction_config` needs `allowed_capabilities`, names with `{}` each".to_owned();
    let fields = restriction.as_object().ok_or_else(misshapen)?;
    if !fields.keys().all(|name| name == "allowed_capabilities" || name == "allowedCapabilities") {
        // What is misspelt must not let the plugin have everything.
        return Err(misshapen());
    }
    match fields.values().next() {
        None | Some(Value::Null) => Ok(Capabilities::ALL),
        Some(Value::Object(allowed)) => Ok(Capabilities::only(allowed.keys().cloned())),
        Some(_) => Err(misshapen()),
    }
}

/// A duration of protobuf as JSON writes it, such as `30s`.
pub(super) fn seconds(text: &str) -> Option<Duration> {
    text.strip_suffix('s')?.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn failures_are_read_as_envoy_reads_them() {
        assert_eq!(fail_policy(&json!({})), Ok(FailPolicy::Closed));
        assert_eq!(fail_policy(&json!({"fail_open": true})), Ok(FailPolicy::Open));
        assert_eq!(fail_policy(&json!({"failurePolicy": "FAIL_OPEN"})), Ok(FailPolicy::OpenLater));
        assert_eq!(fail_policy(&json!({"failure_policy": 2})), Ok(FailPolicy::Closed));
        assert!(fail_policy(&json!({"failure_policy": "FAIL_CLOSED", "fail_open": true})).is_err());
        assert!(fail_policy(&json!({"failure_policy": "FAIL_CLOSE"})).unwrap_err().contains("`FAIL_CLOSE`"));
    }

    #[test]
    fn the_pause_before_a_reload_is_at_least_a_millisecond() {
        let policy =
            |backoff| fail_policy(&json!({"failure_policy": "FAIL_RELOAD", "reload_config": {"backoff": backoff}}));
        let reload = |millis| Ok(FailPolicy::Reload { backoff: Duration::from_millis(millis) });
        assert_eq!(policy(Value::Null), reload(1000));
        assert_eq!(policy(json!({"base_interval": "0.25s", "max_interval": "9s"})), reload(250));
        assert_eq!(policy(json!({"baseInterval": "5s"})), reload(5000));
        for refused in [json!({}), json!({"base_interval": "0s"}), json!({"base_interval": "soon"})] {
            assert!(policy(refused.clone()).is_err(), "{refused}");
        }
        let unused = json!({"reload_config": {"backoff": {"base_interval": "0s"}}});
        assert!(fail_policy(&unused).is_err(), "Envoy looks at it whatever the policy is");
    }

    #[test]
    fn the_restriction_of_the_vm_goes_before_that_of_the_plugin() {
        let read = |plugin: Value, vm: Value| {
            let named = |restriction| json!({"capability_restriction_config": restriction});
            capabilities(&named(plugin), &named(vm))
        };
        let only = |names: &[&str]| Ok(Capabilities::only(names.iter().copied()));
        let (log, time) =
            (json!({"allowed_capabilities": {"proxy_log": {}}}), json!({"allowedCapabilities": {"t": null}}));
        assert_eq!(read(Value::Null, Value::Null), only(&[]));
        assert_eq!(read(log.clone(), Value::Null), only(&["proxy_log"]));
        assert_eq!(read(log.clone(), time), only(&["t"]));
        assert_eq!(read(log, json!({"allowed_capabilities": {}})), only(&[]));
        for refused in
            [json!([]), json!({"allowed": {"proxy_log": {}}}), json!({"allowed_capabilities": ["proxy_log"]})]
        {
            assert!(read(refused.clone(), Value::Null).is_err(), "{refused}");
        }
    }
}
