//! A plugin: as a filter of a chain, or as the one that runs on the main thread.

use std::path::PathBuf;

use bytes::Bytes;
use serde_json::{Value, json};

use super::message::{any, put, typed};
use crate::sandbox::Capabilities;
use crate::test::FailPolicy;

/// One plugin of the chain.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the names are those of Envoy's plugin configuration")]
pub struct Plugin {
    pub name: String,
    pub root_id: String,
    pub vm_id: String,
    pub module: PathBuf,
    pub configuration: Bytes,
    pub vm_configuration: Bytes,
    pub environment: Vec<(String, String)>,
    pub capabilities: Capabilities,
    pub fail: FailPolicy,
    pub allow_on_headers_stop_iteration: bool,
}

impl Plugin {
    /// A plugin without a configuration that has all functions, and is closed when it has trapped.
    pub fn new(name: impl Into<String>, module: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            root_id: String::new(),
            vm_id: String::new(),
            module: module.into(),
            configuration: Bytes::new(),
            vm_configuration: Bytes::new(),
            environment: Vec::new(),
            capabilities: Capabilities::ALL,
            fail: FailPolicy::Closed,
            allow_on_headers_stop_iteration: false,
        }
    }

    /// As a filter of that kind, `http` or `network`.
    pub fn render(&self, kind: &str) -> Value {
        let filter = typed(&format!("envoy.extensions.filters.{kind}.wasm.v3.Wasm"), json!({"config": self.config()}));
        json!({"name": format!("envoy.filters.{kind}.wasm"), "typed_config": filter})
    }

    /// As a bootstrap extension.
    pub fn render_singleton(&self) -> Value {
        let service = json!({"singleton": true, "config": self.config()});
        json!({
            "name": "envoy.bootstrap.wasm",
            "typed_config": typed("envoy.extensions.wasm.v3.WasmService", service),
        })
    }

    fn config(&self) -> Value {
        let mut vm = json!({
            "vm_id": self.vm_id,
            "runtime": "envoy.wasm.runtime.v8",
            "code": {"local": {"filename": self.module.to_string_lossy()}},
        });
        if !self.vm_configuration.is_empty() {
            put(&mut vm, "configuration", any(&self.vm_configuration));
        }
        if !self.environment.is_empty() {
            let values: serde_json::Map<_, _> =
                self.environment.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
            put(&mut vm, "environment_variables", json!({"key_values": values}));
        }
        let mut config = json!({
            "name": self.name,
            "root_id": self.root_id,
            "vm_config": vm,
        });
        // With the policy `FAIL_OPEN` Envoy 1.40 still refuses the request in which the plugin traps, and only those
        // after it pass; the older flag lets that one pass as well.
        let (key, value) = match self.fail {
            FailPolicy::Closed => ("failure_policy", json!("FAIL_CLOSED")),
            FailPolicy::Open => ("fail_open", json!(true)),
            FailPolicy::OpenLater => ("failure_policy", json!("FAIL_OPEN")),
            FailPolicy::Reload { .. } => ("failure_policy", json!("FAIL_RELOAD")),
        };
        put(&mut config, key, value);
        if let FailPolicy::Reload { backoff } = self.fail {
            let base = format!("{}s", backoff.as_secs_f64());
            put(&mut config, "reload_config", json!({"backoff": {"base_interval": base}}));
        }
        if let Some(names) = self.capabilities.names() {
            let allowed: serde_json::Map<_, _> = names.map(|name| (name.to_owned(), json!({}))).collect();
            // Envoy 1.40 would rather have it in the VM's configuration, where earlier ones do not know it.
            put(&mut config, "capability_restriction_config", json!({"allowed_capabilities": allowed}));
        }
        if !self.configuration.is_empty() {
            put(&mut config, "configuration", any(&self.configuration));
        }
        if self.allow_on_headers_stop_iteration {
            put(&mut config, "allow_on_headers_stop_iteration", json!(true));
        }
        config
    }
}
