//! What is printed as a result, for people or for scripts.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;

/// Who reads the result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A person.
    #[default]
    Text,
    /// A script.
    Json,
}

/// Prints a result. A reader that left early (`| head`) is no failure.
pub(crate) fn print(text: &str) -> Result<()> {
    print_bytes(text.as_bytes())
}

/// Prints a result that is no text.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("the result cannot be printed"),
    }
}

/// Writes a file that appears whole or not at all.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = || format!("cannot write `{}`", path.display());
    if path.metadata().is_ok_and(|facts| !facts.is_file() && !facts.is_dir()) {
        // A device or a pipe is written into, not replaced.
        return fs::write(path, bytes).with_context(failed);
    }
    let name = path.file_name().with_context(failed)?;
    let aside = path.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let written = fs::write(&aside, bytes).and_then(|()| fs::rename(&aside, path));
    if written.is_err() {
        // What could not become the file is of no use.
        let _ = fs::remove_file(&aside);
    }
    written.with_context(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let folder = std::env::temp_dir().join(format!("wasmplugin-output-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a.wasm");
        write_file(&path, b"old").unwrap();
        write_file(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        assert!(write_file(&folder, b"x").is_err());
        fs::remove_dir_all(&folder).unwrap();
        let message = format!("{:#}", write_file(&path, b"x").unwrap_err());
        assert!(message.starts_with("cannot write `"), "{message}");
    }
}
