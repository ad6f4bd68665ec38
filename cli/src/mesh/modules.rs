//! Modules for a mesh: from this workspace, from files, or fetched as Istio's agent would; each is compiled once.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use wasmplugin_deploy::cache::Cache;
use wasmplugin_deploy::fetch::{FetchOptions, Fetcher, ModuleRequest};
use wasmplugin_deploy::image::digest::Digest;
use wasmplugin_deploy::registry::keychain::Keychain;
use wasmplugin_host::sandbox::Capabilities;
use wasmplugin_host::wasm;

use super::plan::Proxy;
use super::plugin_config::Wanted;
use crate::code;
use crate::workspace::Workspace;

/// A module, ready to run.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) module: Arc<wasm::Module>,
    /// What was compiled.
    pub(crate) bytes: Bytes,
}

impl Loaded {
    /// What has to become a label of its metrics: name and expression.
    pub(crate) fn stats_tags(&self) -> Vec<(String, String)> {
        self.module.info().stats_tags().unwrap_or_default()
    }

    /// What a plugin of this module lacks with these capabilities, in words.
    pub(crate) fn lacks(&self, plugin: &str, capabilities: &Capabilities) -> Option<String> {
        let info = self.module.info();
        let taken = |names: &mut dyn Iterator<Item = &String>| {
            let taken = names.filter(|name| !capabilities.allow(name)).map(|name| format!("`{name}`"));
            taken.collect::<Vec<_>>().join(", ")
        };
        let callbacks = taken(&mut info.callbacks.iter());
        let restrictable =
            info.imports.iter().filter(|import| import.module != "env" || import.name.starts_with("proxy_"));
        let calls = taken(&mut restrictable.map(|import| &import.name));
        let mut lacks = Vec::new();
        if !callbacks.is_empty() {
            lacks.push(format!("callbacks of its module, which are never called: {callbacks}"));
        }
        if !calls.is_empty() {
            lacks.push(format!("calls that its module may make, which fail: {calls}"));
        }
        (!lacks.is_empty()).then(|| format!("the capabilities of `{plugin}` leave out {}", lacks.join("; and ")))
    }
}

/// What decides whether a fetch can succeed: the URL, the digest that is wanted, and the pull secret.
type Asked = (String, Option<Digest>, Option<Vec<u8>>);

/// All modules of this process.
pub(crate) struct Library {
    runtime: tokio::runtime::Runtime,
    fetcher: Fetcher,
    /// By the digest of their bytes, so that equal modules share a VM.
    compiled: HashMap<Digest, Arc<wasm::Module>>,
    /// Why modules could not be fetched: a plan asks for the same one in several places, and each fetch has tries and pauses.
    unfetched: HashMap<Asked, Failure>,
    workspace: Option<Workspace>,
}

impl Library {
    /// A library with this user's cache.
    pub(crate) fn open() -> Result<Self> {
        let folder = Cache::default_folder().unwrap_or_else(|| std::env::temp_dir().join("wasmplugin"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let fetcher = Fetcher::new(Cache::open(&folder)?, Keychain::of_this_machine(), FetchOptions::default())?;
        Ok(Self { runtime, fetcher, compiled: HashMap::new(), unfetched: HashMap::new(), workspace: None })
    }

    /// Prepares for a plan: builds those of these plugins and examples of the workspace that changed, in one run of cargo.
    /// What could not be fetched before is asked for again.
    pub(crate) fn build<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) -> Result<()> {
        self.unfetched.clear();
        let mut names: Vec<_> = names.into_iter().map(str::to_owned).collect();
        names.sort();
        names.dedup();
        if names.is_empty() {
            return Ok(());
        }
        let workspace = match self.workspace.take() {
            Some(workspace) => workspace,
            None => Workspace::here()?,
        };
        if let Some(unknown) = names.iter().find(|name| !workspace.sources.contains_key(*name)) {
            let known: Vec<_> = workspace.sources.keys().map(|name| format!("`{name}`")).collect();
            anyhow::bail!("there is no plugin or example `{unknown}` to build; there are {}", known.join(", "));
        }
        let built = crate::modules::finish(&workspace, &names);
        self.workspace = Some(workspace);
        built.map(|_| ()).context("the modules cannot be built")
    }

    /// The sources of a plugin or example of the workspace.
    pub(crate) fn workspace(&self) -> Option<&Workspace> {
        self.workspace.as_ref()
    }

    /// The module.
    pub(crate) fn get(&mut self, wanted: &Wanted) -> Result<Loaded, Failure> {
        match wanted {
            Wanted::Build(name) => {
                let folder = self.workspace.as_ref().map(Workspace::modules).unwrap_or_default();
                self.read(&folder.join(format!("{name}.wasm")))
            }
            Wanted::File(file) => self.read(file),
            Wanted::Fetch(request) => self.fetch(request),
            Wanted::Script(_) => Err(Failure::Refused("a script runs in a real Envoy alone".to_owned())),
        }
    }

    fn read(&mut self, file: &Path) -> Result<Loaded, Failure> {
        let module =
            wasmplugin_host::module::Module::read(file).map_err(|error| Failure::Refused(error.to_string()))?;
        self.compile(module)
    }

    fn fetch(&mut self, request: &ModuleRequest) -> Result<Loaded, Failure> {
        let asked = (request.url.clone(), request.sha256.clone(), request.pull_secret.clone());
        if let Some(failure) = self.unfetched.get(&asked) {
            return Err(failure.clone());
        }
        let fetched = self.runtime.block_on(self.fetcher.module(request)).map_err(|error| {
            let failure = Failure::NotFetched(error.to_string());
            self.unfetched.insert(asked, failure.clone());
            failure
        })?;
        let module = wasmplugin_host::module::Module::from_bytes(&request.url, fetched.bytes);
        let module = module.map_err(|error| Failure::Refused(error.to_string()))?;
        self.compile(module)
    }

    fn compile(&mut self, source: wasmplugin_host::module::Module) -> Result<Loaded, Failure> {
        let bytes = source.bytes().clone();
        let digest = Digest::of(&bytes);
        if let Some(module) = self.compiled.get(&digest) {
            return Ok(Loaded { module: Arc::clone(module), bytes });
        }
        let module = code::compile(source).map_err(|error| Failure::Refused(error.to_string()))?;
        let module = Arc::new(module);
        self.compiled.insert(digest, Arc::clone(&module));
        Ok(Loaded { module, bytes })
    }

    /// What has to become a label of a metric of a proxy: what its plan says, then what its modules ask for, each once.
    pub(crate) fn stats_tags(&mut self, proxy: &Proxy) -> Vec<(String, String)> {
        let mut tags = proxy.stats_tags.clone();
        for plugin in proxy.plugins() {
            // What has no module is told elsewhere.
            let of_module = self.get(&plugin.module).map(|loaded| loaded.stats_tags()).unwrap_or_default();
            for tag in of_module {
                if !tags.iter().any(|(name, _)| *name == tag.0) {
                    tags.push(tag);
                }
            }
        }
        tags
    }

    /// Forgets modules that nothing runs any more.
    pub(crate) fn tidy(&mut self) {
        self.compiled.retain(|_, module| Arc::strong_count(module) > 1);
    }
}

/// Why there is no module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The agent could not have it: what Istio puts in its place decides.
    NotFetched(String),
    /// The proxy would not take it.
    Refused(String),
}
