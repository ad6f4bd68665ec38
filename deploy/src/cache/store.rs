//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes a file in `folder` by way of `scratch`, which must be on the same file system.
///
/// A process that is killed on the way leaves a file in `scratch` and nothing else. Nothing is synced to the disk: after
/// a loss of power a file may be empty or cut, which readers find out from its digest, and fetch it again.
pub(super) fn write(path: &Path, bytes: &[u8], scratch: &Path) -> io::Result<()> {
    let temporary = Temporary(scratch.join(unique()));
    let mut file = File::create_new(&temporary.0)?;
    file.write_all(bytes)?;
    drop(file);
    fs::rename(&temporary.0, path)?;
    std::mem::forget(temporary);
    Ok(())
}

/// Removes a file; one that is gone already is as good.
pub(super) fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The files of a folder, in order; those in its folders as well where `deep`.
pub(super) fn files(folder: &Path, deep: bool) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        match entry.file_type()? {
            kind if kind.is_file() => found.push(entry.path()),
            kind if kind.is_dir() && deep => found.extend(files(&entry.path(), false)?),
            _ => {}
        }
    }
    found.sort();
    Ok(found)
}

/// Removed when it is not wanted any more.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // Whatever stays is swept up by the next purge.
        let _ = fs::remove_file(&self.0);
    }
}

/// A name that no other thread or process has. A process that died may have had the number, hence the time.
fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_nanos());
    format!("{}-{}-{time}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
