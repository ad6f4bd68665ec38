//! Modules that tests load: each file is compiled once per process, however many tests use it.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use crate::wasm::Module;

/// A file as it stood when it was compiled.
type Key = (PathBuf, Option<SystemTime>, u64);
type Slot = Arc<OnceLock<Result<Arc<Module>, String>>>;

/// The module in a file.
pub(super) fn load(path: &Path) -> Result<Arc<Module>, String> {
    static COMPILED: OnceLock<Mutex<HashMap<Key, Slot>>> = OnceLock::new();

    let (changed, size) = fs::metadata(path).map(|facts| (facts.modified().ok(), facts.len())).unwrap_or_default();
    let slot = {
        // A slot per file: two tests wait for each other only when they want the same one.
        let mut compiled = COMPILED.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(compiled.entry((path.to_path_buf(), changed, size)).or_default())
    };
    slot.get_or_init(|| Module::read(path).map(Arc::new).map_err(|error| error.to_string())).clone()
}
