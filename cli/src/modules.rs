//! The verb `modules`: every plugin and example of the workspace as a finished `.wasm` file.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::json;
use wasmplugin_host::module::{Module, build};

use crate::exit::Exit;
use crate::output::{self, Format};
use crate::table::Table;
use crate::workspace::{Kind, Workspace};

/// Build plugins and examples for release into `target/modules`.
///
/// Builds what lies in `plugins/` and `examples/` of the workspace, each into a file with the name of its folder, and
/// checks that Envoy would load it. The target folder may be set with CARGO_TARGET_DIR.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo wasmplugin modules
  cargo wasmplugin modules hello external-auth
  cargo wasmplugin modules --output json")]
pub(crate) struct Arguments {
    /// Names of folders in `plugins/` and `examples/`; all of them unless given.
    names: Vec<String>,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// A finished module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finished {
    /// The name of its folder.
    pub(crate) name: String,
    /// What it is for.
    pub(crate) kind: Kind,
    /// The file.
    pub(crate) path: PathBuf,
    /// Its size in bytes.
    pub(crate) size: usize,
    /// The version of the ABI that it speaks.
    pub(crate) abi: String,
}

/// Builds, and prints what was built.
pub(crate) fn modules(arguments: &Arguments) -> Result<Exit> {
    let workspace = Workspace::here()?;
    let names = select(&workspace, &arguments.names)?;
    let finished = finish(&workspace, &names)?;
    output::print(&match arguments.output {
        Format::Text => text(&finished),
        Format::Json => json(&finished),
    })?;
    Ok(Exit::Success)
}

/// Builds the modules of these names, in one run of cargo, and puts them where modules go.
pub(crate) fn finish(workspace: &Workspace, names: &[String]) -> Result<Vec<Finished>> {
    let known = |name: &String| workspace.sources.get(name).map(|source| (name.clone(), source.clone()));
    let chosen: Vec<_> = names.iter().filter_map(known).collect();
    let packages: Vec<_> = chosen.iter().map(|(_, source)| source.package.as_str()).collect();
    let options = build::Options { directory: Some(workspace.root.clone()), bill: true, ..build::Options::default() };
    let built = build::build(&packages, &options)?;

    let folder = workspace.modules();
    fs::create_dir_all(&folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    let place = |((name, source), built): ((String, crate::workspace::Source), build::BuiltModule)| {
        let module = Module::read(&built.path)?;
        let path = folder.join(format!("{name}.wasm"));
        output::write_file(&path, module.bytes())?;
        let info = module.info();
        Ok(Finished { name, kind: source.kind, path, size: info.size, abi: info.abi.to_string() })
    };
    chosen.into_iter().zip(built).map(place).collect()
}

/// The names asked for, each once; all if none was.
fn select(workspace: &Workspace, asked: &[String]) -> Result<Vec<String>> {
    let known: Vec<_> = workspace.sources.keys().cloned().collect();
    if known.is_empty() {
        bail!(
            "`{}` has no plugins: no package in `plugins/` or `examples/` makes a `cdylib`",
            workspace.root.display()
        );
    }
    let unknown: Vec<_> = asked.iter().filter(|name| !known.contains(name)).collect();
    if !unknown.is_empty() {
        bail!("there is no plugin or example {}; there are {}", listed(unknown), listed(&known));
    }
    Ok(if asked.is_empty() { known } else { known.into_iter().filter(|name| asked.contains(name)).collect() })
}

fn listed<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn text(finished: &[Finished]) -> String {
    let mut table = Table::new(["module", "kind", "size", "file"]);
    for module in finished {
        let size = format!("{:>4} KiB", module.size.div_ceil(1024));
        table.row([&module.name, module.kind.name(), &size, &module.path.display().to_string()], Vec::new());
    }
    table.render("")
}

fn json(finished: &[Finished]) -> String {
    let modules: Vec<_> = finished
        .iter()
        .map(|module| {
            json!({
                "name": module.name,
                "kind": module.kind.name(),
                "path": module.path.to_string_lossy(),
                "size": module.size,
                "abi": module.abi,
            })
        })
        .collect();
    format!("{:#}\n", serde_json::Value::from(modules))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Source;

    fn workspace(names: &[&str]) -> Workspace {
        let source = |name: &&str| ((*name).to_owned(), Source { package: (*name).to_owned(), kind: Kind::Example });
        Workspace { root: "/w".into(), target: "/w/target".into(), sources: names.iter().map(source).collect() }
    }

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn nothing_asked_is_everything() {
        let workspace = workspace(&["b", "a"]);
        assert_eq!(select(&workspace, &[]).unwrap(), ["a", "b"]);
        assert_eq!(select(&workspace, &owned(&["b", "b"])).unwrap(), ["b"]);
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = select(&workspace(&["a", "b"]), &owned(&["a", "c", "d"])).unwrap_err();
        assert_eq!(error.to_string(), "there is no plugin or example `c`, `d`; there are `a`, `b`");
        assert!(select(&workspace(&[]), &[]).unwrap_err().to_string().contains("has no plugins"));
    }
}
