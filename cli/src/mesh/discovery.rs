//! The files in which a real Envoy discovers, as from istiod, its clusters, its listeners and the configurations of plugins.
//!
//! Envoy reads a file again when another one is moved to its place, so it never sees half of one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tempfile::{NamedTempFile, TempDir};
use wasmplugin_deploy::image::digest::Digest;
use wasmplugin_host::envoy::config;

use super::plugin_config::Wanted;

const CLUSTERS: &str = "clusters.json";
const LISTENERS: &str = "listeners.json";

/// A folder with these files, which nobody else can read; it is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Discovery {
    folder: TempDir,
    /// The file of each plugin by the name of its resource. Who comes again after having been gone gets another one: for Envoy
    /// it is then a new plugin, also while the listener that had it before is not quite gone.
    plugins: BTreeMap<String, PathBuf>,
    /// How many files plugins have had.
    made: usize,
    modules: BTreeSet<PathBuf>,
    /// The plugins and modules that were asked for since the rest was forgotten.
    asked: (BTreeSet<String>, BTreeSet<PathBuf>),
}

impl Discovery {
    pub(crate) fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("wasmplugin-discovery-").tempdir();
        Ok(Self {
            folder: folder.context("cannot make a temporary folder")?,
            plugins: BTreeMap::new(),
            made: 0,
            modules: BTreeSet::new(),
            asked: Default::default(),
        })
    }

    /// Where Envoy finds clusters and listeners.
    pub(crate) fn sources(&self) -> Value {
        let source = |name| source(&self.folder.path().join(name));
        json!({"cds_config": source(CLUSTERS), "lds_config": source(LISTENERS)})
    }

    /// A filter of that kind, `http` or `network`, that is told only where its configuration is found.
    pub(crate) fn filter(&mut self, resource: &str, kind: &str) -> Value {
        let path = self.plugins.entry(resource.to_owned()).or_insert_with(|| {
            self.made += 1;
            self.folder.path().join(format!("plugin-{}.json", self.made))
        });
        self.asked.0.insert(resource.to_owned());
        // The agent may put a filter of Envoy's own in a plugin's place.
        let kinds = ["wasm.v3.Wasm", "rbac.v3.RBAC"];
        let kinds = kinds.map(|name| format!("type.googleapis.com/envoy.extensions.filters.{kind}.{name}"));
        json!({"name": resource, "config_discovery": {"config_source": source(path), "type_urls": kinds}})
    }

    /// A file with these bytes that stays as it is, whatever happens to the one that they were read from.
    pub(crate) fn module(&mut self, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.folder.path().join(format!("{}.wasm", Digest::of(bytes).hex()));
        if self.modules.insert(path.clone()) {
            place(&path, bytes)?;
        }
        self.asked.1.insert(path.clone());
        Ok(path)
    }

    /// The file of a module that is known to be refused: what there is of it, or one that is not there.
    pub(crate) fn flawed(&self, module: Option<&Wanted>) -> PathBuf {
        match module {
            Some(Wanted::File(file)) => file.clone(),
            _ => self.folder.path().join("none.wasm"),
        }
    }

    pub(crate) fn put_clusters(&self, clusters: &[Value]) -> Result<()> {
        self.put(&self.folder.path().join(CLUSTERS), "envoy.config.cluster.v3.Cluster", clusters)
    }

    pub(crate) fn put_listeners(&self, listeners: &[Value]) -> Result<()> {
        self.put(&self.folder.path().join(LISTENERS), "envoy.config.listener.v3.Listener", listeners)
    }

    /// The configuration of a plugin that a filter has been made for.
    pub(crate) fn put_plugin(&self, resource: &str, config: &Value) -> Result<()> {
        let Some(path) = self.plugins.get(resource) else { return Ok(()) };
        let resource = json!({"name": resource, "typed_config": config});
        self.put(path, "envoy.config.core.v3.TypedExtensionConfig", &[resource])
    }

    fn put(&self, path: &Path, kind: &str, resources: &[Value]) -> Result<()> {
        let resources: Vec<_> = resources.iter().map(|resource| config::typed(kind, resource.clone())).collect();
        place(path, json!({"resources": resources}).to_string().as_bytes())
    }

    /// Forgets the plugins and modules that nobody has asked for since this was last done.
    pub(crate) fn forget_the_rest(&mut self) {
        let (plugins, modules) = std::mem::take(&mut self.asked);
        let gone = self.plugins.extract_if(.., |resource, _| !plugins.contains(resource)).map(|(_, path)| path);
        let gone = gone.chain(self.modules.extract_if(.., |path| !modules.contains(path)));
        for path in gone {
            // What cannot be removed goes with the folder.
            fs::remove_file(path).ok();
        }
    }
}

fn source(path: &Path) -> Value {
    let source = json!({"path": path});
    json!({"path_config_source": source, "resource_api_version": "V3", "initial_fetch_timeout": "0s"})
}

/// Puts a file in its place as a whole.
fn place(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut file = NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write `{}`", path.display()))
}
