//! The verb `build`: a package as a module that can be shipped.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use wasmplugin_host::module::{Module, ModuleInfo, build, with_section};

use crate::exit::Exit;
use crate::output::{self, Format};

/// Build a plugin into a module that can be shipped.
///
/// The module is built for release and made smaller: what nobody reaches goes, and so do the exports that the plugin has no use
/// for, so that the proxy does not enter it for nothing. Into it go what the plugin says about itself, the JSON Schema of
/// its configuration, and a bill of materials (CycloneDX); no proxy loads these. The same source gives the same bytes,
/// in whatever folder it lies.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo wasmplugin build                       the package in this folder, into target/modules
  cargo wasmplugin build --package rate-limit
  cargo wasmplugin build --out plugin.wasm -- --locked
  cargo wasmplugin build --salt blue           a module of its own beside the same one elsewhere
  cargo wasmplugin build --output json | jq .size")]
pub(crate) struct Arguments {
    /// The package; the one in this folder unless given.
    #[arg(long, short, value_name = "NAME")]
    package: Option<String>,
    /// Where to put the module; `target/modules/<package>.wasm` unless given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Make the module differ from the same one with another salt: in one proxy, plugins from equal bytes share a VM, and up to
    /// Envoy 1.37 the environment of the first of them.
    #[arg(long, value_name = "TEXT")]
    salt: Option<String>,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    /// Further arguments for cargo, such as `--locked`.
    #[arg(last = true, value_name = "CARGO ARGUMENT")]
    cargo: Vec<String>,
}

/// The custom section of the salt.
const SALT: &str = "wasmplugin.salt";

/// Builds, and tells what came of it.
pub(crate) fn build(arguments: &Arguments) -> Result<Exit> {
    let package = arguments.package.clone().map_or_else(|| build::package_in("."), Ok)?;
    let options = build::Options { bill: true, arguments: arguments.cargo.clone(), ..build::Options::default() };
    let built = build::build(&[&package], &options)?;
    let built = built.first().context("cargo has built nothing")?;
    let mut module = Module::read(&built.path)?;
    if let Some(salt) = &arguments.salt {
        module = Module::from_bytes(package.as_str(), with_section(module.bytes(), SALT, salt.as_bytes()))?;
    }
    let path = match &arguments.out {
        Some(path) => path.clone(),
        None => build::target_directory(".")?.join("modules").join(format!("{package}.wasm")),
    };
    put(&path, module.bytes())?;
    let report = Report { package: &package, path: &path, linked: built.linked, module: &module };
    output::print(&match arguments.output {
        Format::Text => report.text(),
        Format::Json => format!("{:#}\n", report.json()),
    })?;
    Ok(Exit::Success)
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    }
    output::write_file(path, bytes)
}

/// What is told about a module.
struct Report<'a> {
    package: &'a str,
    path: &'a Path,
    linked: usize,
    module: &'a Module,
}

impl Report<'_> {
    fn info(&self) -> &ModuleInfo {
        self.module.info()
    }

    /// The bytes that no proxy loads.
    fn description(&self) -> usize {
        self.info().custom_sections.iter().map(|(name, size)| name.len() + size).sum()
    }

    fn text(&self) -> String {
        let info = self.info();
        let (code, data) = (kib(info.code_size), kib(info.data_size));
        format!(
            "{}\n  {}: code {code}, data {data}, description {}; cargo made {}\n  ABI {}, called for {}\n",
            self.path.display(),
            kib(info.size),
            kib(self.description()),
            kib(self.linked),
            info.abi,
            info.callbacks.join(", "),
        )
    }

    fn json(&self) -> Value {
        let info = self.info();
        json!({
            "package": self.package,
            "path": self.path.to_string_lossy(),
            "abi": info.abi.to_string(),
            "callbacks": info.callbacks,
            "size": info.size,
            "sizes": {
                "code": info.code_size,
                "data": info.data_size,
                "description": self.description(),
                "linked": self.linked,
            },
        })
    }
}

fn kib(bytes: usize) -> String {
    format!("{}.{} KiB", bytes / 1024, bytes % 1024 * 10 / 1024)
}
