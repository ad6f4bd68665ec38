//! What cargo tells in JSON: the packages of a workspace, and the files that a build made.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use super::{BuildError, cargo, no_tool};

/// A workspace, as far as building modules needs it.
#[derive(Debug)]
pub(super) struct Workspace {
    pub(super) root: PathBuf,
    pub(super) target_directory: PathBuf,
    packages: Vec<Package>,
}

#[derive(Debug)]
struct Package {
    name: String,
    manifest: PathBuf,
    crate_types: Vec<String>,
    uses_sdk: bool,
}

impl Workspace {
    /// Asks cargo for the workspace around a folder.
    pub(super) fn at(directory: &Path) -> Result<Workspace, BuildError> {
        let fail = |reason: String| BuildError::Workspace { directory: directory.display().to_string(), reason };
        if !directory.is_dir() {
            return Err(fail("there is no such directory".to_owned()));
        }
        let mut command = cargo(directory);
        command.args(["metadata", "--no-deps", "--format-version", "1"]).stdin(Stdio::null());
        let output = command.output().map_err(|error| no_tool("cargo", &error))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(fail(said.trim().trim_start_matches("error: ").to_owned()));
        }
        let value: Value = serde_json::from_slice(&output.stdout).map_err(|error| fail(error.to_string()))?;
        let path = |name: &str| value.get(name).and_then(Value::as_str).map(PathBuf::from);
        let (Some(root), Some(target_directory)) = (path("workspace_root"), path("target_directory")) else {
            return Err(fail("its metadata names no folders".to_owned()));
        };
        let packages = array(&value, "packages").iter().filter_map(package).collect();
        Ok(Workspace { root, target_directory, packages })
    }

    /// The manifest of a package that becomes a module.
    pub(super) fn plugin(&self, name: &str) -> Result<&Path, BuildError> {
        let Some(package) = self.packages.iter().find(|package| package.name == name) else {
            let known: Vec<String> = self.packages.iter().map(|package| format!("`{}`", package.name)).collect();
            let workspace = self.root.display().to_string();
            return Err(BuildError::NoPackage { package: name.to_owned(), workspace, known: known.join(", ") });
        };
        if package.crate_types.iter().any(|kind| kind == "cdylib") {
            return Ok(&package.manifest);
        }
        Err(BuildError::NotAModule { package: name.to_owned(), manifest: package.manifest.display().to_string() })
    }

    /// Whether a package's library is a module and nothing else.
    pub(super) fn is_only_a_module(&self, name: &str) -> bool {
        let package = self.packages.iter().find(|package| package.name == name);
        package.is_some_and(|package| package.crate_types == ["cdylib"])
    }

    /// Whether a package is a plugin of the crate `wasmplugin`, which can say what it is.
    pub(super) fn uses_sdk(&self, name: &str) -> bool {
        self.packages.iter().any(|package| package.name == name && package.uses_sdk)
    }

    /// The name of the package whose `Cargo.toml` lies in a folder.
    pub(super) fn package_in(&self, directory: &Path) -> Result<String, BuildError> {
        let same = |package: &&Package| {
            let folder = package.manifest.parent().and_then(|folder| folder.canonicalize().ok());
            folder.is_some() && folder == directory.canonicalize().ok()
        };
        match self.packages.iter().find(same) {
            Some(package) => Ok(package.name.clone()),
            None => Err(BuildError::Workspace {
                directory: directory.display().to_string(),
                reason: "no package has its `Cargo.toml` there".to_owned(),
            }),
        }
    }

    /// Whether the workspace brings a profile of that name itself.
    pub(super) fn has_profile(&self, profile: &str) -> bool {
        self.profile(profile).is_some()
    }

    /// Whether the root manifest's profile of that name wants functions to keep their names.
    ///
    /// Cargo cannot be relied on to take them out: where a profile has settings for the package itself, it does not.
    pub(super) fn keeps_names(&self, profile: &str) -> bool {
        let Some(lines) = self.profile(profile) else { return false };
        let strip = lines.iter().filter_map(|line| line.split_once('=')).find(|(key, _)| key.trim() == "strip");
        strip.is_none_or(|(_, value)| !["true", "\"symbols\""].contains(&value.trim()))
    }

    /// The lines of a profile of the root manifest.
    fn profile(&self, profile: &str) -> Option<Vec<String>> {
        let head = format!("[profile.{profile}]");
        let manifest = std::fs::read_to_string(self.root.join("Cargo.toml")).ok()?;
        let mut lines = manifest.lines().map(str::trim).skip_while(|line| !line.starts_with(&head));
        lines.next()?;
        Some(lines.take_while(|line| !line.starts_with('[')).map(str::to_owned).collect())
    }
}

fn package(value: &Value) -> Option<Package> {
    let name = value.get("name")?.as_str()?.to_owned();
    let manifest = PathBuf::from(value.get("manifest_path")?.as_str()?);
    let libraries =
        array(value, "targets").iter().filter(|target| !array(target, "kind").iter().any(|kind| kind == "bin"));
    let crate_types = libraries.flat_map(|target| array(target, "crate_types")).filter_map(Value::as_str);
    let crate_types = crate_types.filter(|kind| *kind != "bin").map(str::to_owned).collect();
    let uses_sdk = array(value, "dependencies").iter().any(|dependency| {
        dependency.get("name").is_some_and(|name| name == "wasmplugin")
            && dependency.get("kind").is_some_and(Value::is_null)
    });
    Some(Package { name, manifest, crate_types, uses_sdk })
}

/// A `.wasm` file that a build made, or found made.
#[derive(Debug)]
pub(super) struct Artifact {
    pub(super) manifest: PathBuf,
    pub(super) wasm: PathBuf,
    pub(super) fresh: bool,
}

/// The modules among cargo's messages.
pub(super) fn artifacts(stdout: &[u8]) -> Vec<Artifact> {
    let text = String::from_utf8_lossy(stdout);
    text.lines().filter_map(|line| artifact(&serde_json::from_str(line).ok()?)).collect()
}

fn artifact(message: &Value) -> Option<Artifact> {
    if message.get("reason")? != "compiler-artifact" {
        return None;
    }
    let files = array(message, "filenames").iter().filter_map(Value::as_str).map(PathBuf::from);
    let wasm = files.into_iter().find(|file| file.extension().is_some_and(|extension| extension == "wasm"))?;
    let manifest = PathBuf::from(message.get("manifest_path")?.as_str()?);
    let fresh = message.get("fresh").and_then(Value::as_bool).unwrap_or_default();
    Some(Artifact { manifest, wasm, fresh })
}

/// The library of a package among cargo's messages, as an `.rlib`.
pub(super) fn library(stdout: &[u8], manifest: &Path) -> Option<PathBuf> {
    let text = String::from_utf8_lossy(stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut own = messages.filter(|message| {
        message.get("manifest_path").and_then(Value::as_str).is_some_and(|path| Path::new(path) == manifest)
    });
    own.find_map(|message| {
        let mut files = array(&message, "filenames").iter().filter_map(Value::as_str).map(PathBuf::from);
        files.find(|file| file.extension().is_some_and(|extension| extension == "rlib"))
    })
}

pub(super) fn array<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}
