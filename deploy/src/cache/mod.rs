//! The cache of modules: content-addressed files, and an index that survives restarts.
//!
//! ```text
//! <root>/blobs/<sha256 of the bytes>.wasm              a module, once, whatever it is called
//!        modules/<sha256 of the name>/<checksum>.json  a module's name and version, and its bytes' digest
//!        urls/<sha256 of the URL>.json                 what the URL stood for
//!        locks/, lock, tmp/                            between processes; what is being written
//! ```
//!
//! The rules are those of Istio's agent: a module is known by its name (the URL, or the repository of an image) and its
//! checksum; a URL is asked again as [`PullPolicy`] says. Unlike the agent's, the index is on disk, equal bytes are
//! stored once, and processes share a cache. Every file is written aside and renamed, and bytes are compared with their
//! digest whenever they are read, so a process may be killed and a disk may be full at any time.

mod lock;
mod metrics;
mod policy;
mod record;
mod store;
mod transfer;

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::image::digest::Digest;
pub use metrics::{ConversionResult, FetchResult, Metrics};
pub use policy::PullPolicy;
pub use record::{ModuleRecord, UrlRecord};
pub use transfer::TransferError;

/// Istio's expiry of a module that nobody asks for (`WASM_MODULE_EXPIRY`).
pub const EXPIRY: Duration = Duration::from_secs(24 * 60 * 60);

/// Istio's interval between two purges (`WASM_PURGE_INTERVAL`).
pub const PURGE_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// After that a file that is being written belongs to a process that died.
const ABANDONED: Duration = Duration::from_secs(60 * 60);

type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// A cache. Cheap to clone; clones, and other processes with the same folder, share everything but the metrics.
#[derive(Clone)]
pub struct Cache {
    root: PathBuf,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("root", &self.root).finish_non_exhaustive()
    }
}

/// The cache's folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {act} `{path}` in the module cache: {source}{}", advice(source))]
pub struct CacheError {
    act: &'static str,
    path: String,
    source: io::Error,
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "; make room, for example with `cargo wasmplugin cache gc`"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; name a folder of your own with `WASMPLUGIN_CACHE`"
        }
        _ => "",
    }
}

impl CacheError {
    fn at(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self { act, path, source }
    }
}

/// What is looked for.
#[derive(Debug, Clone)]
pub(crate) struct Lookup<'a> {
    /// The URL, word for word.
    pub(crate) url: &'a str,
    /// The module's name.
    pub(crate) name: &'a str,
    /// The checksum, if the version is pinned.
    pub(crate) checksum: Option<&'a Digest>,
    /// Whether a change of the resource makes the URL be asked again.
    pub(crate) heeds_changes: bool,
    /// Who asks.
    pub(crate) resource: &'a str,
    /// In which version of itself.
    pub(crate) version: &'a str,
}

/// A module from the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedModule {
    /// What the index says.
    pub record: ModuleRecord,
    /// Its bytes, which are those of the digest.
    pub bytes: Bytes,
    /// Where they are.
    pub path: PathBuf,
}

/// A line of [`Cache::list`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What the index says.
    pub record: ModuleRecord,
    /// The URLs that stand for it.
    pub urls: Vec<String>,
    /// When it was last asked for.
    pub last_used: SystemTime,
    /// Where the bytes are.
    pub path: PathBuf,
    index: PathBuf,
}

/// What [`Cache::purge`] and [`Cache::remove`] have removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Modules, by name and checksum.
    pub modules: u64,
    /// Bytes on the disk.
    pub bytes: u64,
}

impl Cache {
    /// The folder of this user's cache: `$WASMPLUGIN_CACHE`, or `wasmplugin` in `$XDG_CACHE_HOME` or `~/.cache`.
    #[must_use]
    pub fn default_folder() -> Option<PathBuf> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        variable("WASMPLUGIN_CACHE").or_else(|| {
            let caches = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
            caches.map(|caches| caches.join("wasmplugin"))
        })
    }

    /// Opens a cache, making its folder if it is not there.
    ///
    /// # Errors
    ///
    /// If the folder cannot be made.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, CacheError> {
        Self::with_clock(root, Arc::new(SystemTime::now))
    }

    /// As [`Cache::open`], with another clock.
    ///
    /// # Errors
    ///
    /// As for [`Cache::open`].
    pub fn with_clock(
        root: impl Into<PathBuf>,
        clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    ) -> Result<Self, CacheError> {
        let cache = Self { root: root.into(), clock, metrics: Arc::default() };
        // Private images are no less private here.
        let made = |path: &Path| {
            use std::os::unix::fs::DirBuilderExt as _;
            fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(CacheError::at("make", path))
        };
        for folder in ["blobs", "modules", "urls", "locks", "tmp"] {
            made(&cache.root.join(folder))?;
        }
        cache.count();
        Ok(cache)
    }

    /// The cache's folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What has happened to modules.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Waits until nobody else fetches a module of that name. The lock ends with whoever holds it.
    pub(crate) async fn reserve(&self, name: &str) -> Result<impl Sized + use<>, CacheError> {
        // A bounded number of files; two names on one file merely wait for each other.
        let stripe: String = Digest::of(name.as_bytes()).hex().chars().take(3).collect();
        let path = self.root.join("locks").join(stripe);
        lock::exclusive(&path).await.map_err(CacheError::at("lock", &path))
    }

    /// Looks for a module that may be used without asking anybody, and notes who asked.
    pub(crate) fn find(&self, lookup: &Lookup<'_>) -> Option<CachedModule> {
        let checksum = match lookup.checksum {
            Some(checksum) => checksum.clone(),
            None => self.last(lookup)?,
        };
        self.module(lookup.name, &checksum)
    }

    /// The checksum that a URL last stood for, unless the resource has changed and the policy heeds that.
    fn last(&self, lookup: &Lookup<'_>) -> Option<Digest> {
        let path = self.url_path(lookup.url);
        let mut record: UrlRecord = self.read(&path)?;
        let changed = record.note(lookup.resource, lookup.version);
        if changed && lookup.heeds_changes {
            // The version is noted when the URL has been asked, so that a failure is followed by another try.
            return None;
        }
        if changed {
            self.try_to_write(&path, &record);
        }
        Some(record.checksum)
    }

    /// A module by its name and checksum.
    #[must_use]
    pub fn module(&self, name: &str, checksum: &Digest) -> Option<CachedModule> {
        let index = self.module_path(name, checksum);
        let record: ModuleRecord = self.read(&index)?;
        let path = self.blob_path(&record.content);
        let bytes = fs::read(&path).ok()?;
        if Digest::of(&bytes) != record.content {
            log::warn!("`{}` has changed on the disk; it is fetched again", path.display());
            let _ = store::remove(&path);
            return None;
        }
        // The time of last use keeps it from being purged; a read-only cache is still a cache.
        if let Ok(file) = fs::File::options().write(true).open(&index) {
            let _ = file.set_modified((self.clock)());
        }
        Some(CachedModule { record, bytes: bytes.into(), path })
    }

    /// Remembers what a URL stands for.
    pub(crate) fn note(&self, lookup: &Lookup<'_>, checksum: &Digest) {
        let path = self.url_path(lookup.url);
        let mut record = match self.read::<UrlRecord>(&path) {
            Some(record) if record.url == lookup.url => record,
            _ => UrlRecord {
                url: lookup.url.to_owned(),
                name: lookup.name.to_owned(),
                checksum: checksum.clone(),
                versions: std::collections::BTreeMap::new(),
            },
        };
        record.checksum = checksum.clone();
        record.note(lookup.resource, lookup.version);
        self.try_to_write(&path, &record);
    }

    /// Stores a module.
    ///
    /// # Errors
    ///
    /// If it cannot be written; the cache is as it was.
    pub fn insert(&self, name: &str, checksum: &Digest, bytes: &Bytes) -> Result<CachedModule, CacheError> {
        let content = Digest::of(bytes);
        let path = self.blob_path(&content);
        let record =
            ModuleRecord { name: name.to_owned(), checksum: checksum.clone(), content, size: bytes.len() as u64 };
        {
            let _no_purge = self.lock_shared()?;
            // The bytes may be there under another name; if they are broken they are written anew.
            if fs::read(&path).ok().is_none_or(|known| known != *bytes) {
                self.write(&path, bytes)?;
            }
            self.register(&record)?;
        }
        self.count();
        Ok(CachedModule { record, bytes: bytes.clone(), path })
    }

    /// Puts a module into the index, whose bytes are there.
    fn register(&self, record: &ModuleRecord) -> Result<(), CacheError> {
        let index = self.module_path(&record.name, &record.checksum);
        if let Some(folder) = index.parent() {
            fs::create_dir_all(folder).map_err(CacheError::at("make", folder))?;
        }
        self.write_record(&index, record)
    }

    /// All modules, in the order of their names.
    ///
    /// # Errors
    ///
    /// If the folder cannot be read.
    pub fn list(&self) -> Result<Vec<Entry>, CacheError> {
        let urls: Vec<UrlRecord> = self.files("urls", false)?.iter().filter_map(|path| self.read(path)).collect();
        let mut entries = Vec::new();
        for index in self.files("modules", true)? {
            let Some(record) = self.read::<ModuleRecord>(&index) else { continue };
            let last_used = fs::metadata(&index).and_then(|facts| facts.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            let path = self.blob_path(&record.content);
            let stands = |url: &&UrlRecord| url.name == record.name && url.checksum == record.checksum;
            let urls = urls.iter().filter(stands).map(|url| url.url.clone()).collect();
            entries.push(Entry { record, urls, last_used, path, index });
        }
        entries.sort_by(|a, b| (&a.record.name, &a.record.checksum).cmp(&(&b.record.name, &b.record.checksum)));
        Ok(entries)
    }

    /// Removes what nobody has asked for in that time, and everything that no module needs any more.
    ///
    /// # Errors
    ///
    /// If the folder cannot be read or written.
    pub fn purge(&self, expiry: Duration) -> Result<Removed, CacheError> {
        let now = (self.clock)();
        self.remove(|entry| now.duration_since(entry.last_used).is_ok_and(|idle| idle > expiry))
    }

    /// Removes the modules that are chosen, and everything that no module needs any more.
    ///
    /// # Errors
    ///
    /// If the folder cannot be read or written.
    pub fn remove(&self, mut chosen: impl FnMut(&Entry) -> bool) -> Result<Removed, CacheError> {
        let lock = self.root.join("lock");
        let _alone = lock::alone(&lock).map_err(CacheError::at("lock", &lock))?;
        let (mut removed, mut versions, mut kept) = (Removed::default(), HashSet::new(), HashSet::new());
        for entry in self.list()? {
            if chosen(&entry) {
                removed.modules += 1;
            } else {
                versions.insert((entry.record.name, entry.record.checksum));
                kept.extend([entry.index, entry.path]);
            }
        }
        // Whoever asks for a URL next learns what it stands for then.
        for path in self.files("urls", false)? {
            if self.read::<UrlRecord>(&path).is_some_and(|url| versions.contains(&(url.name, url.checksum))) {
                kept.insert(path);
            }
        }
        for folder in ["modules", "urls", "blobs"] {
            for path in self.files(folder, folder == "modules")? {
                if !kept.contains(&path) {
                    removed.bytes += fs::metadata(&path).map_or(0, |facts| facts.len());
                    self.delete(&path)?;
                }
            }
        }
        for path in self.files("tmp", false)? {
            let age = fs::metadata(&path).and_then(|facts| facts.modified()).ok().and_then(|time| time.elapsed().ok());
            if age.is_some_and(|age| age > ABANDONED) {
                self.delete(&path)?;
            }
        }
        self.count();
        Ok(removed)
    }

    fn lock_shared(&self) -> Result<impl Sized + use<>, CacheError> {
        let path = self.root.join("lock");
        lock::shared(&path).map_err(CacheError::at("lock", &path))
    }

    fn count(&self) {
        let entries = self.files("modules", true).map_or(0, |files| files.len() as u64);
        self.metrics.set_entries(entries);
    }

    fn files(&self, folder: &str, deep: bool) -> Result<Vec<PathBuf>, CacheError> {
        let path = self.root.join(folder);
        store::files(&path, deep).map_err(CacheError::at("read", &path))
    }

    fn delete(&self, path: &Path) -> Result<bool, CacheError> {
        store::remove(path).map_err(CacheError::at("remove", path))
    }

    /// A record; one that is broken is none.
    fn read<T: DeserializeOwned>(&self, path: &Path) -> Option<T> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), CacheError> {
        store::write(path, bytes, &self.root.join("tmp")).map_err(CacheError::at("write", path))
    }

    fn write_record(&self, path: &Path, record: &impl Serialize) -> Result<(), CacheError> {
        let bytes = serde_json::to_vec(record).map_err(|error| CacheError::at("write", path)(error.into()))?;
        self.write(path, &bytes)?;
        let touched = fs::File::options().write(true).open(path).and_then(|file| file.set_modified((self.clock)()));
        touched.map_err(CacheError::at("write", path))
    }

    /// For what is only a shortcut the next time.
    fn try_to_write(&self, path: &Path, record: &impl Serialize) {
        if let Err(error) = self.write_record(path, record) {
            log::warn!("{error}");
        }
    }

    fn blob_path(&self, content: &Digest) -> PathBuf {
        self.root.join("blobs").join(format!("{}.wasm", content.hex()))
    }

    fn module_path(&self, name: &str, checksum: &Digest) -> PathBuf {
        let folder = self.root.join("modules").join(Digest::of(name.as_bytes()).hex());
        folder.join(format!("{}.json", checksum.hex()))
    }

    fn url_path(&self, url: &str) -> PathBuf {
        self.root.join("urls").join(format!("{}.json", Digest::of(url.as_bytes()).hex()))
    }
}
