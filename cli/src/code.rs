//! Modules compiled for this machine: what was compiled once is found on disk the next time.

use std::sync::LazyLock;

use wasmplugin_deploy::cache::Cache;
use wasmplugin_host::module::{LoadError, Module};
use wasmplugin_host::wasm::{self, CodeCache, Settings};

/// Compiles a module, or takes what this user's cache has of it. A cache that does not work costs time only, and is said once.
pub(crate) fn compile(source: Module) -> Result<wasm::Module, LoadError> {
    static CACHE: LazyLock<Option<CodeCache>> = LazyLock::new(cache);
    match &*CACHE {
        Some(cache) => wasm::Module::cached(source, cache),
        None => wasm::Module::compile(source, Settings::default()),
    }
}

fn cache() -> Option<CodeCache> {
    let folder = Cache::default_folder().unwrap_or_else(|| std::env::temp_dir().join("wasmplugin"));
    let cache = CodeCache::at(folder.join("code"));
    cache.inspect_err(|error| log::warn!("compiled modules are not kept: {error}")).ok()
}
