//! Finds out what a plugin says about itself, by a native run of it.
//!
//! The plugin is compiled for this machine as an `.rlib`, and linked with a program that prints its description and
//! answers every host call with "unimplemented". So nothing of it is in the module's code, and the build process itself
//! runs nothing of the plugin.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::finish::replace;
use super::metadata::{self, Workspace};
use super::{BuildError, Options, cargo, no_tool};
use crate::imports::IMPORTS;

/// The profile of the native run: what cargo compiles fastest.
const PROFILE: &str = "describe";

/// What the plugin says; asked again only after it was compiled again.
pub(super) fn describe(
    package: &str,
    workspace: &Workspace,
    directory: &Path,
    options: &Options,
) -> Result<Value, BuildError> {
    let fail = |reason: String| BuildError::Undescribed { package: package.to_owned(), reason };
    let folder = options.folder(workspace).join("described");
    fs::create_dir_all(&folder).map_err(|error| fail(format!("`{}`: {error}", folder.display())))?;
    let library = compile(package, workspace, directory, options)?;
    let known = folder.join(format!("{package}.json"));
    let age = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    if age(&known) > age(&library)
        && let Some(description) = fs::read(&known).ok().and_then(|text| serde_json::from_slice(&text).ok())
    {
        return Ok(description);
    }
    let text = run(package, &folder, &library)?;
    let description = serde_json::from_slice(&text).map_err(|error| fail(format!("it says no JSON: {error}")))?;
    replace(&known, &text).map_err(|error| fail(format!("`{}`: {error}", known.display())))?;
    Ok(description)
}

/// The plugin's library for this machine.
fn compile(package: &str, workspace: &Workspace, directory: &Path, options: &Options) -> Result<PathBuf, BuildError> {
    let fail = |reason: String| BuildError::Undescribed { package: package.to_owned(), reason };
    let mut cargo = cargo(directory);
    cargo.args(["rustc", "--lib", "--crate-type", "rlib", "--package", package, "--profile", PROFILE]);
    for setting in [r#"inherits="dev""#, "opt-level=0", "debug=false", r#"package."*".opt-level=0"#] {
        cargo.arg("--config").arg(format!("profile.{PROFILE}.{setting}"));
    }
    cargo.args(["--quiet", "--message-format", "json-render-diagnostics"]);
    cargo.arg("--target-dir").arg(options.folder(workspace)).args(&options.arguments);
    cargo.stdin(Stdio::null());
    let output = cargo.output().map_err(|error| no_tool("cargo", &error))?;
    if !output.status.success() {
        return Err(fail(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    metadata::library(&output.stdout, workspace.plugin(package)?)
        .ok_or_else(|| fail("cargo made no library of it".to_owned()))
}

/// Links the library with a program that asks it, and runs that.
fn run(package: &str, folder: &Path, library: &Path) -> Result<Vec<u8>, BuildError> {
    let fail = |reason: String| BuildError::Undescribed { package: package.to_owned(), reason };
    // A folder of its own: another process may describe the same plugin at this moment.
    let own = folder.join(format!("{package}.{}", std::process::id()));
    let source = own.join("ask.rs");
    let program = own.join(format!("ask{}", std::env::consts::EXE_SUFFIX));
    fs::create_dir_all(&own)
        .and_then(|()| fs::write(&source, asker()))
        .map_err(|error| fail(format!("`{}`: {error}", own.display())))?;

    let mut plugin = std::ffi::OsString::from("plugin=");
    plugin.push(library);
    let mut dependencies = std::ffi::OsString::from("dependency=");
    dependencies.push(library.parent().unwrap_or(folder).join("deps"));
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut compiler = Command::new(rustc);
    compiler.args(["--edition", "2024", "--crate-name", "ask", "--extern"]).arg(plugin).arg("-L").arg(dependencies);
    compiler.arg("-o").arg(&program).arg(&source).stdin(Stdio::null());
    let compiled = compiler.output().map_err(|error| no_tool("rustc", &error));
    let asked = match compiled {
        Ok(output) if !output.status.success() => Err(fail(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        Ok(_) => Command::new(&program).stdin(Stdio::null()).output().map_err(|error| fail(error.to_string())),
        Err(error) => Err(error),
    };
    // It may stay; the answer counts.
    let _gone = fs::remove_dir_all(&own);
    let asked = asked?;
    if asked.status.success() {
        Ok(asked.stdout)
    } else {
        Err(fail(String::from_utf8_lossy(&asked.stderr).trim().to_owned()))
    }
}

/// A program that prints the plugin's description.
fn asker() -> String {
    let mut source = String::from("fn main() { print!(\"{}\", plugin::wasmplugin_description()) }\n");
    for import in IMPORTS.iter().filter(|import| import.name.starts_with("proxy_")) {
        // Writing to a string cannot fail. 12 is "unimplemented".
        let _ = writeln!(source, "#[unsafe(no_mangle)] extern \"C\" fn {}() -> u32 {{ 12 }}", import.name);
    }
    source
}
