//! Sees to it that Rust can compile for `wasm32-wasip1`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{BuildError, TARGET, no_tool};

/// Adds the target through rustup where it is missing.
pub(super) fn ensure(directory: &Path, quiet: bool) -> Result<(), BuildError> {
    // Whoever builds the standard library along needs no ready-made one.
    if std::env::var_os("CARGO_UNSTABLE_BUILD_STD").is_some() || present(directory)? {
        return Ok(());
    }
    if !quiet {
        eprintln!("adding the target `{TARGET}` (rustup target add {TARGET})");
    }
    let mut rustup = Command::new("rustup");
    rustup.current_dir(directory).args(["target", "add", TARGET]).stdin(Stdio::null());
    let reason = match rustup.output() {
        Err(error) => format!("rustup cannot be started ({error})"),
        Ok(output) if !output.status.success() => String::from_utf8_lossy(&output.stderr).trim().replace('\n', " "),
        Ok(_) if present(directory)? => return Ok(()),
        Ok(_) => "rustup says that it did, but the compiler in use is another one".to_owned(),
    };
    Err(BuildError::NoTarget { reason })
}

/// Whether the compiler that cargo will use has the target's standard library.
pub(super) fn present(directory: &Path) -> Result<bool, BuildError> {
    let program = std::env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    let mut rustc = Command::new(&program);
    rustc.current_dir(directory).args(["--print", "target-libdir", "--target", TARGET]).stdin(Stdio::null());
    let output = rustc.output().map_err(|error| no_tool(&program.to_string_lossy(), &error))?;
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let files = std::fs::read_dir(folder).map(|files| files.flatten().collect::<Vec<_>>()).unwrap_or_default();
    Ok(files.iter().any(|file| file.file_name().to_string_lossy().starts_with("libstd-")))
}
