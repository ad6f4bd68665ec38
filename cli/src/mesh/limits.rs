//! How much a plugin may use where a mesh says so, which no resource of Istio's can: `limits` of `mesh.yaml`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use wasmplugin_deploy::resource::TRANSLATED;
use wasmplugin_host::limits::Limits;

use crate::duration;

/// Stands for every plugin that has no entry of its own.
const ALL_OTHERS: &str = "*";

/// What plugins may use, by their names: `<namespace>.<name>` of a resource, or what an EnvoyFilter calls them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct PluginLimits(BTreeMap<String, Allowance>);

/// What one plugin may use; the host's usual limits where nothing is said.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Allowance {
    /// Linear memory of each of its VMs, as a quantity of Kubernetes: `64Mi`.
    #[serde(default, deserialize_with = "memory")]
    memory: Option<u64>,
    /// Time of one callback: `50ms`, `2s`.
    #[serde(default, deserialize_with = "time")]
    time: Option<Duration>,
    /// Host calls of one callback.
    host_calls: Option<u32>,
}

impl PluginLimits {
    /// The limits of a plugin of that name.
    pub(crate) fn of(&self, plugin: &str) -> Limits {
        let own = self.0.get(resource(plugin)).or_else(|| self.0.get(ALL_OTHERS));
        let Allowance { memory, time, host_calls } = own.copied().unwrap_or_default();
        Limits {
            memory: memory.unwrap_or(Limits::USUAL.memory),
            time: time.or(Limits::USUAL.time),
            host_calls: host_calls.or(Limits::USUAL.host_calls),
            ..Limits::USUAL
        }
    }

    /// The entries that are about none of these plugins.
    pub(crate) fn idle<'a>(&self, plugins: impl IntoIterator<Item = &'a str>) -> Vec<&str> {
        let plugins: BTreeSet<_> = plugins.into_iter().map(resource).collect();
        let names = self.0.keys().map(String::as_str);
        names.filter(|name| *name != ALL_OTHERS && !plugins.contains(name)).collect()
    }
}

/// What a plugin is called here: without what istiod puts behind the name of a WasmPlugin.
fn resource(plugin: &str) -> &str {
    plugin.strip_suffix(TRANSLATED).unwrap_or(plugin)
}

fn memory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let units = [("Ki", 10), ("Mi", 20), ("Gi", 30)];
    let bytes = units.iter().find_map(|(unit, shift)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(1 << shift)
    });
    bytes.filter(|bytes| *bytes > 0).map(Some).ok_or_else(|| {
        D::Error::custom(format!(
            "`{text}` is no size of memory; write a whole number of `Ki`, `Mi` or `Gi`, e.g. `64Mi`"
        ))
    })
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    duration::argument(&text).map(Some).map_err(|help| D::Error::custom(format!("`{text}` is no time; {help}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(limits: serde_json::Value) -> Result<PluginLimits, String> {
        serde_json::from_value(limits).map_err(|error| error.to_string())
    }

    #[test]
    fn a_plugin_has_its_own_limits_or_those_of_all_others() {
        let limits = read(json!({
            "team.quota": {"memory": "64Mi", "time": "50ms", "hostCalls": 100},
            "*": {"time": "2s"},
        }));
        let limits = limits.unwrap();
        let own = limits.of("team.quota");
        let expected = (64 << 20, Some(Duration::from_millis(50)), Some(100));
        assert_eq!((own.memory, own.time, own.host_calls), expected);
        assert_eq!(limits.of("other"), Limits { time: Some(Duration::from_secs(2)), ..Limits::USUAL });
        assert_eq!(limits.of(&format!("team.quota{TRANSLATED}")), own);
        assert_eq!(limits.idle(["team.quotas"]), ["team.quota"]);
        assert!(limits.idle(["team.quota"]).is_empty());
        assert_eq!(PluginLimits::default().of("other"), Limits::USUAL);
    }

    #[test]
    fn what_is_no_size_or_time_is_refused() {
        for bad in ["", "0Mi", "-1Mi", "64", "64M", "1.5Gi", "99999999999Gi"] {
            assert!(read(json!({"p": {"memory": bad}})).unwrap_err().contains("`64Mi`"), "{bad}");
        }
        for bad in ["", "0s", "1", "1h", "-1s", "99999999999999999999s"] {
            assert!(read(json!({"p": {"time": bad}})).unwrap_err().contains("`5s`"), "{bad}");
        }
        assert!(read(json!({"p": {"cpu": "1"}})).unwrap_err().contains("unknown field `cpu`"));
    }
}
