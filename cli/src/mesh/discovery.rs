//! What a real Envoy discovers after its start, as from istiod: the configurations of plugins, each in a file.
//!
//! A plugin that refuses its configuration then does not keep Envoy from starting: its requests get 500, as in a cluster.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tempfile::TempDir;
use wasmplugin_host::envoy::config;

/// A folder with these files, which nobody else can read; it is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Discovery {
    folder: TempDir,
    files: usize,
}

impl Discovery {
    pub(crate) fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("wasmplugin-discovery-").tempdir();
        Ok(Self { folder: folder.context("cannot make a temporary folder")?, files: 0 })
    }

    /// The filter that is told only where its configuration, that of `filter`, is found.
    pub(crate) fn discovered(&mut self, filter: &Value) -> Result<Value> {
        let name = format!("plugin-{}", self.files);
        self.files += 1;
        let configuration = filter.get("typed_config").cloned().unwrap_or_default();
        let kind = configuration.get("@type").cloned().unwrap_or_default();
        let resource = json!({"name": name, "typed_config": configuration});
        let resource = config::typed("envoy.config.core.v3.TypedExtensionConfig", resource);
        let path = self.folder.path().join(format!("{name}.json"));
        let text = json!({"resources": [resource]}).to_string();
        fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
        let source = json!({"path_config_source": {"path": path}, "resource_api_version": "V3"});
        Ok(json!({"name": name, "config_discovery": {"config_source": source, "type_urls": [kind]}}))
    }
}
