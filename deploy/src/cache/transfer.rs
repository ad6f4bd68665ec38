//! A cache in a file: carried to a machine that reaches no registry.
//!
//! The file is a tar archive of the cache's own files, `modules/`, `urls/` and `blobs/`, the same bytes for the same
//! modules.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::{Cache, CacheError, Entry, ModuleRecord, UrlRecord};
use crate::image::build::append;
use crate::image::digest::Digest;

/// The most that a record may have.
const MAX_RECORD: u64 = 1 << 20;

/// A file that cannot be taken in or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The file.
    #[error("the archive cannot be read or written: {0}")]
    Archive(#[from] io::Error),
    /// Not made by us, or changed.
    #[error("the archive is no export of a module cache: {0}")]
    Foreign(String),
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl Cache {
    /// Writes the chosen modules, and what is known of them, as a tar archive; gives back how many there are.
    ///
    /// # Errors
    ///
    /// If the cache cannot be read or the archive cannot be written.
    pub fn export(&self, out: impl Write, mut chosen: impl FnMut(&Entry) -> bool) -> Result<u64, TransferError> {
        let mut files = BTreeMap::new();
        let mut count = 0;
        for entry in self.list()?.into_iter().filter(|entry| chosen(entry)) {
            // One that has been damaged is left out.
            let Some(module) = self.module(&entry.record.name, &entry.record.checksum) else { continue };
            count += 1;
            for url in &entry.urls {
                let (name, checksum) = (entry.record.name.clone(), entry.record.checksum.clone());
                let record = UrlRecord { url: url.clone(), name, checksum, versions: BTreeMap::new() };
                files.insert(format!("urls/{}.json", Digest::of(url.as_bytes()).hex()), json(&record)?);
            }
            let name = Digest::of(entry.record.name.as_bytes());
            files.insert(format!("modules/{}-{}.json", name.hex(), entry.record.checksum.hex()), json(&entry.record)?);
            files.insert(format!("blobs/{}.wasm", entry.record.content.hex()), module.bytes);
        }
        // In the order of their names, blobs come before those who need them.
        let mut builder = tar::Builder::new(out);
        for (file, bytes) in &files {
            append(&mut builder, file, bytes)?;
        }
        builder.into_inner()?.flush()?;
        Ok(count)
    }

    /// Takes in what [`Cache::export`] has written; gives back how many modules that were. Bytes that are not those of
    /// their digest are refused; the names and checksums are believed, so import only what you trust.
    ///
    /// # Errors
    ///
    /// If the archive is not such a one, or holds a module of more than `limit` bytes. What came before stays.
    pub fn import(&self, archive: impl Read, limit: u64) -> Result<u64, TransferError> {
        let mut blobs = BTreeMap::new();
        let mut count = 0;
        let _no_purge = self.lock_shared()?;
        for entry in tar::Archive::new(archive).entries()? {
            let mut entry = entry?;
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let limit = if path.starts_with("blobs/") { limit } else { MAX_RECORD };
            let foreign = |problem: &str| TransferError::Foreign(format!("`{path}` {problem}"));
            if entry.size() > limit {
                return Err(foreign("is too large"));
            }
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            match path.split('/').next() {
                Some("blobs") => {
                    let digest = Digest::of(&bytes);
                    self.write(&self.blob_path(&digest), &bytes)?;
                    blobs.insert(digest, bytes.len() as u64);
                }
                Some("modules") => {
                    let record: ModuleRecord = parse(&bytes).ok_or_else(|| foreign("cannot be read"))?;
                    if blobs.get(&record.content) != Some(&record.size) {
                        return Err(foreign("has no blob of its digest"));
                    }
                    self.register(&record)?;
                    count += 1;
                }
                Some("urls") => {
                    let record: UrlRecord = parse(&bytes).ok_or_else(|| foreign("cannot be read"))?;
                    self.try_to_write(&self.url_path(&record.url), &record);
                }
                _ => return Err(foreign("does not belong into one")),
            }
        }
        self.count();
        Ok(count)
    }
}

fn json(record: &impl serde::Serialize) -> Result<Bytes, TransferError> {
    serde_json::to_vec(record).map(Bytes::from).map_err(|error| TransferError::Archive(error.into()))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}
