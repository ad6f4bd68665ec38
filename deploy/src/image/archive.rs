//! Archives from strangers: gzip and tar, read within limits.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

/// Istio's limit for a module, 256 MiB (`ISTIO_WASM_MAX_BINARY_SIZE_BYTES`).
pub const MAX_MODULE_SIZE: u64 = 256 << 20;

/// An archive that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadArchive {
    /// Not gzip, or cut short.
    #[error("it cannot be decompressed: {0}")]
    Gzip(String),
    /// Not tar, or cut short.
    #[error("it is no readable tar archive: {0}")]
    Tar(String),
    /// More than the limit.
    #[error("it holds more than {0} bytes, the limit for a module (`ISTIO_WASM_MAX_BINARY_SIZE_BYTES` in Istio)")]
    TooLarge(u64),
    /// The file is not in it.
    #[error("plugin.wasm not found in the archive, which holds {0}")]
    NotFound(String),
}

/// Decompresses gzip.
///
/// # Errors
///
/// If it is broken, or holds more than `limit` bytes; Istio cuts it off there without a word.
pub fn gunzip(bytes: &[u8], limit: u64) -> Result<Vec<u8>, BadArchive> {
    let mut out = Vec::new();
    MultiGzDecoder::new(bytes)
        .take(limit.saturating_add(1))
        .read_to_end(&mut out)
        .map_err(|error| BadArchive::Gzip(error.to_string()))?;
    if out.len() as u64 > limit { Err(BadArchive::TooLarge(limit)) } else { Ok(out) }
}

/// The first file of a tar archive whose base name is `plugin.wasm`, decompressed on the way if `gzip` says so.
///
/// # Errors
///
/// If there is none, or the archive is broken or too large.
pub fn plugin_wasm(bytes: &[u8], gzip: bool, limit: u64) -> Result<Vec<u8>, BadArchive> {
    if gzip { find(MultiGzDecoder::new(bytes), limit) } else { find(bytes, limit) }
}

/// The content of the first entry of a tar archive, whatever it is.
///
/// # Errors
///
/// If the archive is broken, empty, or the entry too large.
pub fn first_entry(bytes: &[u8], limit: u64) -> Result<Vec<u8>, BadArchive> {
    let mut archive = tar::Archive::new(bytes);
    let mut entries = archive.entries().map_err(|error| tar_error(&error, limit))?;
    let mut entry = entries
        .next()
        .ok_or_else(|| BadArchive::Tar("it is empty".to_owned()))?
        .map_err(|error| tar_error(&error, limit))?;
    content(&mut entry, limit)
}

fn find(reader: impl Read, limit: u64) -> Result<Vec<u8>, BadArchive> {
    // What stands before the module may be as large as the module again, and no larger.
    let mut archive = tar::Archive::new(Bounded { inner: reader, left: limit.saturating_mul(2).max(1 << 20) });
    let mut names = Vec::new();
    for entry in archive.entries().map_err(|error| tar_error(&error, limit))? {
        let mut entry = entry.map_err(|error| tar_error(&error, limit))?;
        let path = entry.path_bytes();
        let path = String::from_utf8_lossy(&path).into_owned();
        if path.trim_end_matches('/').rsplit('/').next() == Some("plugin.wasm") {
            return content(&mut entry, limit);
        }
        if names.len() < 5 {
            names.push(format!("`{}`", path.chars().take(80).collect::<String>()));
        }
    }
    Err(BadArchive::NotFound(if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }))
}

fn content(entry: &mut tar::Entry<'_, impl Read>, limit: u64) -> Result<Vec<u8>, BadArchive> {
    if entry.size() > limit {
        return Err(BadArchive::TooLarge(limit));
    }
    let size = entry.size();
    let mut out = Vec::new();
    entry.read_to_end(&mut out).map_err(|error| tar_error(&error, limit))?;
    // The library ends an entry where the archive ends.
    if out.len() as u64 == size { Ok(out) } else { Err(BadArchive::Tar("it is cut short".to_owned())) }
}

fn tar_error(error: &io::Error, limit: u64) -> BadArchive {
    if error.kind() == io::ErrorKind::FileTooLarge {
        BadArchive::TooLarge(limit)
    } else {
        // The library hides the cause behind its own words.
        let cause = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
        BadArchive::Tar(format!("{error}{cause}"))
    }
}

/// A reader that fails where `take` would pretend that the archive ends.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, "the archive is too large"))?;
        Ok(read)
    }
}
