//! Of which crates a module is made: a bill of materials (CycloneDX 1.6) from cargo's own graph.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use super::metadata::array;
use super::{BuildError, TARGET, cargo, no_tool};

/// The crates of a workspace and what each is made of, for the target of modules.
#[derive(Debug)]
pub(super) struct Graph {
    /// By cargo's id.
    crates: BTreeMap<String, Crate>,
}

#[derive(Debug)]
struct Crate {
    name: String,
    version: String,
    license: Option<String>,
    /// It comes from a registry, not from a folder or a repository.
    published: bool,
    /// It works while others are compiled, and nothing of it is in a module.
    is_compiler_plugin: bool,
    made_of: Vec<String>,
}

impl Graph {
    /// Asks cargo, with the same arguments as the build.
    pub(super) fn of(directory: &Path, arguments: &[String]) -> Result<Self, BuildError> {
        let fail = |reason: String| BuildError::Workspace { directory: directory.display().to_string(), reason };
        let mut command = cargo(directory);
        command.args(["metadata", "--format-version", "1", "--filter-platform", TARGET]);
        command.args(
            arguments.iter().filter(|argument| ["--locked", "--offline", "--frozen"].contains(&argument.as_str())),
        );
        let output = command.stdin(Stdio::null()).output().map_err(|error| no_tool("cargo", &error))?;
        if !output.status.success() {
            return Err(fail(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|error| fail(error.to_string()))?;
        Ok(Self::read(&metadata))
    }

    fn read(metadata: &Value) -> Self {
        let nodes = metadata.get("resolve").map(|resolve| array(resolve, "nodes")).unwrap_or_default();
        let made_of: BTreeMap<&str, Vec<String>> = nodes
            .iter()
            .filter_map(|node| {
                let normal = array(node, "deps").iter().filter(|dependency| {
                    array(dependency, "dep_kinds").iter().any(|kind| kind.get("kind").is_some_and(Value::is_null))
                });
                let ids = normal.filter_map(|dependency| Some(dependency.get("pkg")?.as_str()?.to_owned()));
                Some((node.get("id")?.as_str()?, ids.collect()))
            })
            .collect();
        let crates = array(metadata, "packages").iter().filter_map(|package| {
            let text = |name: &str| package.get(name).and_then(Value::as_str).map(str::to_owned);
            let id = text("id")?;
            let targets = array(package, "targets");
            let one = Crate {
                name: text("name")?,
                version: text("version")?,
                license: text("license"),
                published: package.get("source").is_some_and(|source| !source.is_null()),
                is_compiler_plugin: targets
                    .iter()
                    .any(|target| array(target, "kind").iter().any(|kind| kind == "proc-macro")),
                made_of: made_of.get(id.as_str()).cloned().unwrap_or_default(),
            };
            Some((id, one))
        });
        Self { crates: crates.collect() }
    }

    /// What the module of a package of the workspace is made of. It says the same wherever and whenever it is made.
    pub(super) fn bill(&self, package: &str) -> Option<Value> {
        let (root, own) = self.crates.iter().find(|(_, one)| one.name == package && !one.published)?;
        let mut found = BTreeSet::new();
        let mut pending = vec![root];
        while let Some(id) = pending.pop() {
            let Some(one) = self.crates.get(id).filter(|one| !one.is_compiler_plugin) else { continue };
            if found.insert((&one.name, &one.version, &one.license)) {
                pending.extend(&one.made_of);
            }
        }
        found.remove(&(&own.name, &own.version, &own.license));
        let components: Vec<Value> =
            found.into_iter().map(|(name, version, license)| component(name, version, license.as_deref())).collect();
        Some(json!({
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {"component": component(&own.name, &own.version, own.license.as_deref())},
            "components": components,
        }))
    }
}

fn component(name: &str, version: &str, license: Option<&str>) -> Value {
    let mut component =
        json!({"type": "library", "name": name, "version": version, "purl": format!("pkg:cargo/{name}@{version}")});
    if let (Some(license), Some(fields)) = (license, component.as_object_mut()) {
        fields.insert("licenses".to_owned(), json!([{"expression": license}]));
    }
    component
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bill_lists_what_is_in_the_module() {
        let package = |name: &str, kind: &str, source: Value| json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT", "source": source, "targets": [{"kind": [kind]}]});
        let needs = |name: &str, kind: Value| json!({"pkg": name, "dep_kinds": [{"kind": kind}]});
        let metadata = json!({
            "packages": [
                package("plugin", "cdylib", Value::Null),
                package("sdk", "lib", "registry".into()),
                package("log", "lib", "registry".into()),
                package("derive", "proc-macro", "registry".into()),
                package("syn", "lib", "registry".into()),
                package("host", "lib", "registry".into()),
            ],
            "resolve": {"nodes": [
                {"id": "plugin", "deps": [needs("sdk", Value::Null), needs("host", "dev".into()), needs("derive", Value::Null)]},
                {"id": "sdk", "deps": [needs("log", Value::Null), needs("plugin", Value::Null)]},
                {"id": "derive", "deps": [needs("syn", Value::Null)]},
            ]},
        });
        let bill = Graph::read(&metadata).bill("plugin").unwrap();
        assert_eq!(bill["metadata"]["component"]["name"], "plugin");
        let names: Vec<_> = bill["components"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
        assert_eq!(names, ["log", "sdk"]);
        assert_eq!(bill["components"][0]["purl"], "pkg:cargo/log@1.0.0");
        assert_eq!(Graph::read(&metadata).bill("log"), None);
    }
}
