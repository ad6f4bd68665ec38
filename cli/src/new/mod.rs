//! The verb `new`: a package for a new plugin, with its configuration, its tests and how to deploy it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::json;

use crate::exit::Exit;
use crate::output::{self, Format};

mod name;
mod templates;

use name::Name;
use templates::Template;

/// Make a package for a new plugin, which passes `cargo test` at once.
///
/// It has a configuration with its JSON Schema, tests on all three engines (native, Wasmtime, a real Envoy) and a resource
/// to deploy it with.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo wasmplugin new require-header
  cargo wasmplugin new allow-preface --template tcp
  cargo wasmplugin new fetcher --template singleton --repository ../wasmplugin
  cargo wasmplugin new require-header --output json | jq .files")]
pub(crate) struct Arguments {
    /// The folder to make; its name becomes the package's.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// What the plugin works on.
    #[arg(long, value_enum, default_value_t, value_name = "KIND")]
    template: Kind,
    /// Take the crates from a copy of wasmplugin's repository instead of crates.io.
    #[arg(long, value_name = "FOLDER")]
    repository: Option<PathBuf>,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// What a plugin works on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Requests and responses.
    #[default]
    Http,
    /// Connections.
    Tcp,
    /// Nothing that passes: it works beside the filters, once per proxy.
    Singleton,
}

/// Makes the package.
pub(crate) fn new(arguments: &Arguments) -> Result<Exit> {
    let folder = &arguments.folder;
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default().parse::<Name>()?;
    if folder.exists() {
        bail!("`{}` is there already: name a folder that is not", folder.display());
    }
    let template = Template { name: &name, repository: arguments.repository.as_deref().map(repository).transpose()? };
    let files = template.files(arguments.template);
    for (path, text) in &files {
        write(&folder.join(path), text)?;
    }
    output::print(&match arguments.output {
        Format::Text => format!("made `{}`; next: cd {} && cargo test\n", name.package(), folder.display()),
        Format::Json => {
            let files: Vec<_> = files.iter().map(|(path, _)| path).collect();
            format!("{:#}\n", json!({"package": name.package(), "folder": folder.to_string_lossy(), "files": files}))
        }
    })?;
    Ok(Exit::Success)
}

/// The repository's folder, if it is one.
fn repository(folder: &Path) -> Result<PathBuf> {
    let folder = folder.canonicalize().with_context(|| format!("there is no folder `{}`", folder.display()))?;
    for part in ["sdk", "host"] {
        if !folder.join(part).join("Cargo.toml").exists() {
            bail!("`{}` is no copy of wasmplugin's repository: it has no `{part}/Cargo.toml`", folder.display());
        }
    }
    Ok(folder)
}

fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, text))
        .with_context(|| format!("cannot write `{}`", path.display()))
}
