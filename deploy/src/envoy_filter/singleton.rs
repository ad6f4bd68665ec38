//! Singletons: one VM per proxy, outside of any chain, which Istio offers no resource for.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{ConfigPatch, EnvoyFilter, EnvoyFilterSpec, Patch, WorkloadSelector};
use crate::envoy;
use crate::resource::{EnvSource, EnvVar, Metadata};

/// A singleton.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Singleton {
    /// Name and namespace.
    pub metadata: Metadata,
    /// Labels of the pods that run it; every pod of the namespace if empty.
    pub labels: BTreeMap<String, String>,
    /// Which plugin of the module is meant.
    pub root_id: String,
    /// What it is configured with.
    pub config: Option<Map<String, Value>>,
    /// Its environment.
    pub env: Vec<EnvVar>,
    /// Other modules reach its queues and shared data only with the same one.
    pub vm_id: String,
    /// Where its module lies.
    pub mount: Mount,
    /// Tags that its metrics need, each the name of a label and its regex.
    pub stats_tags: Vec<(String, String)>,
}

/// How the module gets into the proxy's container: the bootstrap knows files only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mount {
    /// The volume's source as in a pod, e.g. `{"configMap": {"name": "bg"}}`.
    pub volume: Value,
    /// The folder in the container.
    pub folder: String,
    /// The name of the file in it.
    pub file: String,
}

impl Mount {
    /// A volume made of a ConfigMap, which may hold 1 MiB.
    #[must_use]
    pub fn config_map(name: &str) -> Self {
        Self {
            volume: json!({ "configMap": { "name": name } }),
            folder: format!("/var/local/wasm/{name}"),
            file: "plugin.wasm".to_owned(),
        }
    }

    /// The file as Envoy opens it.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}", self.folder.trim_end_matches('/'), self.file)
    }

    /// The annotations that pods need for it. A pod has one of each: with several singletons the lists are joined.
    #[must_use]
    pub fn annotations(&self, name: &str) -> BTreeMap<String, String> {
        let mut volume = Map::new();
        volume.insert("name".into(), name.into());
        volume.extend(self.volume.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())));
        let mount = json!([{ "name": name, "mountPath": self.folder, "readOnly": true }]);
        BTreeMap::from([
            ("sidecar.istio.io/userVolume".to_owned(), Value::from(vec![Value::from(volume)]).to_string()),
            ("sidecar.istio.io/userVolumeMount".to_owned(), mount.to_string()),
        ])
    }
}

/// The EnvoyFilter that starts a singleton with the proxy. It is read at the start of a pod only.
#[must_use]
pub fn singleton(singleton: &Singleton) -> EnvoyFilter {
    let mut config = Map::new();
    config.insert("name".into(), singleton.metadata.name.clone().into());
    if !singleton.root_id.is_empty() {
        config.insert("root_id".into(), singleton.root_id.clone().into());
    }
    if let Some(text) = singleton.config.as_ref().map(envoy::configuration_text) {
        let value = json!({ "@type": "type.googleapis.com/google.protobuf.StringValue", "value": text });
        config.insert("configuration".into(), value);
    }
    let mut vm = Map::new();
    vm.insert("vm_id".into(), singleton.vm_id.clone().into());
    vm.insert("runtime".into(), "envoy.wasm.runtime.v8".into());
    vm.insert("code".into(), json!({ "local": { "filename": singleton.mount.path() } }));
    if !singleton.env.is_empty() {
        vm.insert("environment_variables".into(), environment(&singleton.env));
    }
    config.insert("vm_config".into(), vm.into());

    let mut value = Map::new();
    if !singleton.stats_tags.is_empty() {
        let tag = |(name, regex): &(String, String)| json!({ "tag_name": name, "regex": regex });
        value.insert(
            "stats_config".into(),
            json!({ "stats_tags": singleton.stats_tags.iter().map(tag).collect::<Value>() }),
        );
    }
    value.insert(
        "bootstrap_extensions".into(),
        json!([{
            "name": "envoy.bootstrap.wasm",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.wasm.v3.WasmService",
                "singleton": true,
                "config": config,
            },
        }]),
    );
    let labels = singleton.labels.clone();
    EnvoyFilter {
        metadata: singleton.metadata.clone(),
        spec: EnvoyFilterSpec {
            workload_selector: (!labels.is_empty()).then_some(WorkloadSelector { labels }),
            config_patches: vec![ConfigPatch {
                apply_to: "BOOTSTRAP".to_owned(),
                matches: Value::Null,
                patch: Patch { operation: "MERGE".to_owned(), value: value.into() },
            }],
            ..EnvoyFilterSpec::default()
        },
    }
}

fn environment(variables: &[EnvVar]) -> Value {
    let (host, own): (Vec<_>, Vec<_>) = variables.iter().partition(|variable| variable.value_from == EnvSource::Host);
    let mut environment = Map::new();
    if !own.is_empty() {
        let values: Value =
            own.iter().map(|one| (one.name.clone(), Value::from(one.value.clone().unwrap_or_default()))).collect();
        environment.insert("key_values".into(), values);
    }
    if !host.is_empty() {
        environment.insert("host_env_keys".into(), host.iter().map(|one| one.name.clone()).collect());
    }
    environment.into()
}
