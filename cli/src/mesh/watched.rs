//! Files that somebody may edit, and whether anybody has.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What files looked like when they were read last.
#[derive(Debug, Default)]
pub(crate) struct Watched(Vec<(PathBuf, Option<(SystemTime, u64)>)>);

impl Watched {
    /// Looks at files.
    pub(crate) fn of(files: Vec<PathBuf>) -> Self {
        Self(files.into_iter().map(|path| (path.clone(), stamp(&path))).collect())
    }

    /// Whether one of them, or which ones they are, has changed.
    pub(crate) fn differs_from(&self, files: &[PathBuf]) -> bool {
        self.0.iter().any(|(path, seen)| stamp(path) != *seen) || files.len() != self.0.len()
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let facts = fs::metadata(path).ok()?;
    Some((facts.modified().ok()?, facts.len()))
}

/// Adds the files of a folder that are wanted, also from folders in it, without what cargo makes.
pub(crate) fn collect(folder: &Path, paths: &mut Vec<PathBuf>, wanted: impl Fn(&Path) -> bool + Copy) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(&path, paths, wanted);
        } else if wanted(&path) {
            paths.push(path);
        }
    }
}
