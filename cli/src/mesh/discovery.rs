//! What a real Envoy discovers after its start, as from istiod: the configurations of plugins, each in a file.
//!
//! A plugin that refuses its configuration then does not keep Envoy from starting: its requests get 500, as in a cluster.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use wasmplugin_host::envoy::config;

/// Distinguishes the folders of one process.
static MADE: AtomicU32 = AtomicU32::new(0);

/// A folder with these files; it is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Discovery {
    folder: PathBuf,
    files: usize,
}

impl Discovery {
    pub(crate) fn new() -> Result<Self> {
        loop {
            let number = MADE.fetch_add(1, Ordering::Relaxed);
            let folder = std::env::temp_dir().join(format!("wasmplugin-discovery-{}-{number}", std::process::id()));
            match fs::create_dir(&folder) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                made => {
                    made.with_context(|| format!("cannot make `{}`", folder.display()))?;
                    return Ok(Self { folder, files: 0 });
                }
            }
        }
    }

    /// The filter that is told only where its configuration, that of `filter`, is found.
    pub(crate) fn discovered(&mut self, filter: &Value) -> Result<Value> {
        let name = format!("plugin-{}", self.files);
        self.files += 1;
        let configuration = filter.get("typed_config").cloned().unwrap_or_default();
        let kind = configuration.get("@type").cloned().unwrap_or_default();
        let resource = json!({"name": name, "typed_config": configuration});
        let resource = config::typed("envoy.config.core.v3.TypedExtensionConfig", resource);
        let path = self.folder.join(format!("{name}.json"));
        let text = json!({"resources": [resource]}).to_string();
        fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
        let source = json!({"path_config_source": {"path": path}, "resource_api_version": "V3"});
        Ok(json!({"name": name, "config_discovery": {"config_source": source, "type_urls": [kind]}}))
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        // What is left in the temporary folder does no harm.
        let _removed = fs::remove_dir_all(&self.folder);
    }
}
