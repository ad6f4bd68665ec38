//! Compiled code on disk, so that a module is compiled once per machine and not once per start.
//!
//! Compiled code is run as it is, so whoever can write to the cache can run code as its user. Therefore the folder and
//! its files have to belong to the user and be writable by nobody else; and each file begins with a checksum over the
//! module, the compiler's settings and the code, which finds what a full disk or a crash has left behind. What does
//! not fit is compiled again and written anew. Whoever builds all day leaves no more than the last few hundred.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;

/// Others may not write; whether they may read does not matter.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// How many compiled modules stay; those go that nobody has asked for the longest.
const MOST: usize = 256;

/// Distinguishes the unfinished files of one process.
static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// A folder of compiled modules.
#[derive(Debug, Clone)]
pub struct CodeCache {
    folder: PathBuf,
    /// The user that the folder belongs to.
    owner: u32,
}

impl CodeCache {
    /// Opens the folder, and makes it if it is not there.
    ///
    /// # Errors
    ///
    /// It cannot be made or written to, or somebody else could write to it.
    pub fn at(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let folder = folder.into();
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let probe = Part::new(&folder)?;
        let owner = probe.file.metadata()?.uid();
        drop(probe);
        let facts = fs::metadata(&folder)?;
        if facts.uid() != owner || facts.mode() & WRITABLE_BY_OTHERS != 0 {
            let text = format!("others can write to `{}`: try `chmod go-w` on it", folder.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        Ok(Self { folder, owner })
    }

    /// The compiled module: from the cache, or compiled and kept there. A cache that does not work costs time only.
    pub(super) fn compile(&self, engine: &Engine, module: &[u8]) -> wasmtime::Result<wasmtime::Module> {
        let key = Key::of(engine, module);
        if let Some(compiled) = self.load(engine, &key) {
            return Ok(compiled);
        }
        let compiled = wasmtime::Module::new(engine, module)?;
        // The next start compiles it again.
        self.keep(&key, &compiled).ok();
        Ok(compiled)
    }

    fn load(&self, engine: &Engine, key: &Key) -> Option<wasmtime::Module> {
        let mut file = File::open(self.folder.join(key.name())).ok()?;
        let facts = file.metadata().ok()?;
        if facts.uid() != self.owner || facts.mode() & WRITABLE_BY_OTHERS != 0 {
            return None;
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).ok()?;
        let (sum, code) = bytes.split_first_chunk::<32>()?;
        if *sum != key.sum(code) {
            return None;
        }
        #[expect(unsafe_code, reason = "the code is what `keep` wrote: nobody else can write there, and the sum fits")]
        // SAFETY: `code` is the unchanged output of `Module::serialize` of this wasmtime with these settings.
        let compiled = unsafe { wasmtime::Module::deserialize(engine, code) };
        // Nothing but its place among those that go is lost where this fails.
        file.set_modified(SystemTime::now()).ok();
        compiled.ok()
    }

    fn keep(&self, key: &Key, compiled: &wasmtime::Module) -> wasmtime::Result<()> {
        let code = compiled.serialize()?;
        let mut part = Part::new(&self.folder)?;
        part.file.write_all(&key.sum(&code))?;
        part.file.write_all(&code)?;
        fs::rename(&part.path, self.folder.join(key.name()))?;
        self.keep_at_most(MOST);
        Ok(())
    }

    /// Removes what was asked for the longest ago. Another process may do so too, and what is in use stays open.
    fn keep_at_most(&self, most: usize) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let aged = entries.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())));
        let mut aged: Vec<_> = aged.filter(|(_, path)| path.extension().is_some_and(|end| end == "code")).collect();
        aged.sort();
        for (_, path) in aged.iter().take(aged.len().saturating_sub(most)) {
            fs::remove_file(path).ok();
        }
    }
}

/// What compiled code depends on.
struct Key {
    module: [u8; 32],
    settings: u64,
}

impl Key {
    fn of(engine: &Engine, module: &[u8]) -> Self {
        let mut settings = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut settings);
        Self { module: Sha256::digest(module).into(), settings: settings.finish() }
    }

    fn name(&self) -> String {
        let digest: String = self.module.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{digest}-{:016x}.code", self.settings)
    }

    fn sum(&self, code: &[u8]) -> [u8; 32] {
        let sum = Sha256::new().chain_update(self.module).chain_update(self.settings.to_le_bytes()).chain_update(code);
        sum.finalize().into()
    }
}

/// A file that is not finished; it is removed unless it was given its name.
struct Part {
    path: PathBuf,
    file: File,
}

impl Part {
    fn new(folder: &Path) -> io::Result<Self> {
        let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".{}-{number}.part", std::process::id()));
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        Ok(Self { path, file })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Gone already if it was finished.
        fs::remove_file(&self.path).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::wasm::engine::engine;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("wasmplugin-code-{name}-{}", std::process::id()));
        fs::remove_dir_all(&folder).ok();
        folder
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn what_was_compiled_is_found_again_and_what_was_damaged_is_not() {
        let (folder, engine) = (folder("again"), engine(false).unwrap());
        let cache = CodeCache::at(&folder).unwrap();
        let module = wat::parse_str("(module (func (export \"a\") (result i32) i32.const 7))").unwrap();
        let key = Key::of(engine, &module);
        assert!(cache.load(engine, &key).is_none());
        cache.compile(engine, &module).unwrap();
        assert!(cache.load(engine, &key).is_some());
        let [file] = &files(&folder)[..] else { panic!("one file is left") };
        let whole = fs::read(file).unwrap();
        for damage in [&whole[..whole.len() / 2], &[], b"x"] {
            fs::write(file, damage).unwrap();
            assert!(cache.load(engine, &key).is_none());
        }
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        fs::write(file, flipped).unwrap();
        assert!(cache.load(engine, &key).is_none());
        cache.compile(engine, &module).unwrap();
        assert_eq!(fs::read(file).unwrap().len(), whole.len(), "it is written anew");
        assert!(cache.load(engine, &key).is_some());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_nobody_asked_for_the_longest_goes() {
        let (folder, engine) = (folder("bound"), engine(false).unwrap());
        let cache = CodeCache::at(&folder).unwrap();
        let modules =
            ["a", "b", "c"].map(|name| wat::parse_str(format!("(module (func (export \"{name}\")))")).unwrap());
        let keys = modules.each_ref().map(|module| Key::of(engine, module));
        for (module, key) in modules.iter().zip(&keys) {
            cache.compile(engine, module).unwrap();
            let file = File::open(folder.join(key.name())).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
        assert!(cache.load(engine, &keys[1]).is_some());
        cache.keep_at_most(1);
        assert_eq!(keys.each_ref().map(|key| cache.load(engine, key).is_some()), [false, true, false]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_others_can_write_is_not_run() {
        let (folder, engine) = (folder("others"), engine(false).unwrap());
        let cache = CodeCache::at(&folder).unwrap();
        let module = wat::parse_str("(module)").unwrap();
        cache.compile(engine, &module).unwrap();
        let [file] = &files(&folder)[..] else { panic!("one file is left") };
        fs::set_permissions(file, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(cache.load(engine, &Key::of(engine, &module)).is_none());
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(CodeCache::at(&folder).unwrap_err().to_string().contains("chmod go-w"));
        fs::remove_dir_all(folder).unwrap();
    }
}
