//! The workspace around the current folder, and the modules that can be built from it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Where plugins and examples lie, by convention.
const FOLDERS: [(&str, Kind); 2] = [("plugins", Kind::Plugin), ("examples", Kind::Example)];

/// A workspace as cargo sees it.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// Its folder.
    pub(crate) root: PathBuf,
    /// Where cargo puts what it makes.
    pub(crate) target: PathBuf,
    /// What becomes a module, by the name of its folder.
    pub(crate) sources: BTreeMap<String, Source>,
}

/// A package that becomes a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// The package's name.
    pub(crate) package: String,
    /// What it is for.
    pub(crate) kind: Kind,
}

/// What a module is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To be used.
    Plugin,
    /// To be read.
    Example,
}

impl Kind {
    /// Such as `plugin`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plugin => "plugin",
            Self::Example => "example",
        }
    }
}

impl Workspace {
    /// The one around the current folder.
    pub(crate) fn here() -> Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let output = Command::new(cargo)
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .stdin(Stdio::null())
            .output()
            .context("cannot run `cargo`; install Rust from https://rustup.rs")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("there is no workspace here: {}", said.trim().trim_start_matches("error: "));
        }
        let metadata =
            serde_json::from_slice(&output.stdout).context("cargo describes the workspace in an unknown way")?;
        Self::read(&metadata)
    }

    fn read(metadata: &Value) -> Result<Self> {
        let folder = |name: &str| {
            let path = metadata.get(name).and_then(Value::as_str).map(PathBuf::from);
            path.with_context(|| format!("cargo does not tell `{name}`"))
        };
        let (root, target) = (folder("workspace_root")?, folder("target_directory")?);
        let mut sources = BTreeMap::new();
        for package in metadata.get("packages").and_then(Value::as_array).into_iter().flatten() {
            let Some((name, source)) = source(&root, package) else { continue };
            if let Some(other) = sources.insert(name.clone(), source) {
                bail!(
                    "two packages would become `{name}.wasm`: a plugin and an example, one of them `{}`",
                    other.package
                );
            }
        }
        Ok(Self { root, target, sources })
    }

    /// Where the sources of a module are.
    pub(crate) fn folder(&self, name: &str) -> Option<PathBuf> {
        let kind = self.sources.get(name)?.kind;
        let (folder, _) = FOLDERS.iter().find(|(_, of)| *of == kind)?;
        Some(self.root.join(folder).join(name))
    }

    /// Where finished modules go.
    pub(crate) fn modules(&self) -> PathBuf {
        self.target.join("modules")
    }
}

/// A package in one of the folders that makes a dynamic library, under the name of its own folder.
fn source(root: &Path, package: &Value) -> Option<(String, Source)> {
    let manifest = Path::new(package.get("manifest_path")?.as_str()?);
    let folder = manifest.parent()?;
    let kind = FOLDERS.iter().find(|(name, _)| folder.parent() == Some(&root.join(name))).map(|(_, kind)| *kind)?;
    let list = |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let targets = list(package, "targets");
    if !targets.iter().any(|target| list(target, "crate_types").iter().any(|made| made == "cdylib")) {
        return None;
    }
    let name = folder.file_name()?.to_str()?.to_owned();
    Some((name, Source { package: package.get("name")?.as_str()?.to_owned(), kind }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn package(name: &str, folder: &str, makes: &str) -> Value {
        json!({"name": name, "manifest_path": format!("/w/{folder}/Cargo.toml"), "targets": [{"crate_types": [makes]}]})
    }

    fn read(packages: &[Value]) -> Result<Workspace> {
        Workspace::read(&json!({"workspace_root": "/w", "target_directory": "/w/target", "packages": packages}))
    }

    #[test]
    fn plugins_and_examples_are_found_by_their_folder() {
        let workspace = read(&[
            package("istio-rbac", "plugins/rbac", "cdylib"),
            package("istio-core", "plugins/core", "lib"),
            package("hello", "examples/hello", "cdylib"),
            package("probe", "tests/guests/probe", "cdylib"),
            package("sdk", "sdk", "lib"),
        ])
        .unwrap();
        let names: Vec<_> =
            workspace.sources.iter().map(|(name, source)| (name.as_str(), source.package.as_str())).collect();
        assert_eq!(names, [("hello", "hello"), ("rbac", "istio-rbac")]);
        assert_eq!(workspace.modules(), Path::new("/w/target/modules"));
    }

    #[test]
    fn two_packages_of_one_name_are_refused() {
        let error = read(&[package("a", "plugins/jwt", "cdylib"), package("b", "examples/jwt", "cdylib")]).unwrap_err();
        assert!(error.to_string().contains("`jwt.wasm`"), "{error}");
    }
}
