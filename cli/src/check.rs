//! The verb `check`: whether a proxy will take a module and its configuration, and what may go wrong later.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use wasmplugin_deploy::lint::config;
use wasmplugin_host::module::{Module, ModuleInfo, PanicSite, build};
use wasmplugin_host::test::Proxy;

use crate::configuration::Placed;
use crate::exit::Exit;
use crate::output::{self, Format};

/// What Envoy had of WASI before 1.33; later ones have all that Rust's standard library calls.
const OLD_WASI: &[&str] = &[
    "fd_write",
    "proc_exit",
    "environ_get",
    "environ_sizes_get",
    "clock_time_get",
    "random_get",
    "args_get",
    "args_sizes_get",
];

/// Check a module before a proxy does.
///
/// Tells whether Envoy loads it (its ABI, its imports, its exports), what Envoy before 1.33 lacks for it, where in the plugin's own
/// source it can still panic, and, with `--config`, whether the plugin takes that configuration: it is held against the JSON
/// Schema that the module carries, with the place of each mistake, and the plugin is started with it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo wasmplugin check                                  the package in this folder, which is built first
  cargo wasmplugin check plugin.wasm --config config.yaml
  cargo wasmplugin check --config '{\"status\": 403}' --output json")]
pub(crate) struct Arguments {
    /// A module; that of the package in this folder unless given.
    #[arg(value_name = "MODULE")]
    module: Option<PathBuf>,
    /// A configuration to try: a file of YAML or JSON, or JSON itself.
    #[arg(long, value_name = "FILE|JSON")]
    config: Option<String>,
    /// The plugin of the module to try it with, where there are several.
    #[arg(long, value_name = "NAME", default_value = "")]
    root_id: String,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    /// The proxy refuses.
    Error,
    /// It may go wrong.
    Warning,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Something that was found.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    severity: Severity,
    code: &'static str,
    /// The file, the line and the column; none for the module as a whole.
    place: Option<(String, usize, usize)>,
    message: String,
    /// What to do; empty where the message says it.
    help: String,
}

impl Finding {
    fn of(severity: Severity, code: &'static str, message: String) -> Self {
        Self { severity, code, place: None, message, help: String::new() }
    }
}

/// Checks, and tells what was found.
pub(crate) fn check(arguments: &Arguments) -> Result<Exit> {
    let path = match &arguments.module {
        Some(path) => path.clone(),
        None => built()?,
    };
    let placed = arguments.config.as_deref().map(Placed::read).transpose()?;
    let mut findings = Vec::new();
    let module = match Module::read(&path) {
        Ok(module) => {
            findings.extend(old_proxies(module.info()));
            findings.extend(panics(&module));
            Some(module)
        }
        Err(error) => {
            findings.push(Finding::of(Severity::Error, "module", error.to_string()));
            None
        }
    };
    let info = module.as_ref().map(Module::info);
    if let (Some(info), Some(placed)) = (info, &placed) {
        findings.extend(configuration(&path, info, &arguments.root_id, placed));
    }
    output::print(&match arguments.output {
        Format::Text => text(&path, info, &findings),
        Format::Json => format!("{:#}\n", json(&path, info, &findings)),
    })?;
    let refused = findings.iter().any(|finding| finding.severity == Severity::Error);
    Ok(if refused { Exit::Failure } else { Exit::Success })
}

/// The module of the package in this folder.
fn built() -> Result<PathBuf> {
    let package = build::package_in(".")?;
    let built = build::build(&[&package], &build::Options::default())?;
    Ok(built.into_iter().next().context("cargo has built nothing")?.path)
}

/// What proxies that are still in use do not have.
fn old_proxies(info: &ModuleInfo) -> Option<Finding> {
    let new =
        info.imports.iter().filter(|import| import.module.starts_with("wasi_") && !OLD_WASI.contains(&&*import.name));
    let new: Vec<_> = new.map(|import| format!("`{}`", import.name)).collect();
    let message = format!("Envoy before 1.33 does not load it, since it lacks {}", new.join(", "));
    (!new.is_empty()).then(|| Finding::of(Severity::Warning, "old-envoy", message))
}

/// Where the plugin's own source can still panic: that ends all requests of a worker.
fn panics(module: &Module) -> Vec<Finding> {
    let finding = |PanicSite { file, line, column }| Finding {
        place: Some((file, line as usize, column as usize)),
        ..Finding::of(Severity::Warning, "panic", "this can panic, which ends all requests of a worker".to_owned())
    };
    module.panic_sites().into_iter().filter(|site| is_own(&site.file)).map(finding).collect()
}

/// Whether a file belongs to the plugin's package: not to the standard library, nor to a published crate, whose folder has a version.
fn is_own(file: &str) -> bool {
    let first = file.split(['/', '\\']).next().unwrap_or_default();
    let has_version =
        first.rsplit_once('-').is_some_and(|(_, version)| version.starts_with(|c: char| c.is_ascii_digit()));
    !first.is_empty() && !has_version
}

/// What the module's schema says about a configuration; and where that finds nothing, the plugin itself, when it is started
/// with it.
fn configuration(module: &Path, info: &ModuleInfo, root_id: &str, placed: &Placed) -> Vec<Finding> {
    let schema = info.schema_of(root_id);
    let broken = schema.map(|schema| config::check(&placed.node, schema, "")).unwrap_or_default();
    if !broken.is_empty() {
        let finding = |found: wasmplugin_deploy::finding::Finding| {
            let path = if found.path.is_empty() { String::new() } else { format!("`{}`: ", found.path) };
            Finding {
                place: Some((placed.file.clone(), found.at.line, found.at.column)),
                help: found.help,
                ..Finding::of(Severity::Error, "configuration", format!("{path}{}", found.message))
            }
        };
        return broken.into_iter().map(finding).collect();
    }
    let proxy = Proxy::wasm(module).root_id(root_id).raw_config(placed.node.to_json().to_string());
    let refused = proxy.start().err();
    refused.into_iter().map(|error| Finding::of(Severity::Error, "configuration", error.to_string())).collect()
}

fn text(path: &Path, info: Option<&ModuleInfo>, findings: &[Finding]) -> String {
    let path = path.display();
    let mut text = match info {
        Some(info) => format!("{path}: ABI {}, {} bytes\n", info.abi, info.size),
        None => format!("{path}\n"),
    };
    for Finding { severity, code, place, message, help } in findings {
        let place = place.as_ref().map(|(file, line, column)| format!("{file}:{line}:{column}: ")).unwrap_or_default();
        // Writing to a text cannot fail.
        let _written = writeln!(text, "  {place}{}[{code}]: {message}", severity.word());
        if !help.is_empty() {
            let _written = writeln!(text, "    help: {help}");
        }
    }
    if findings.is_empty() {
        text.push_str("  nothing was found\n");
    }
    text
}

fn json(path: &Path, info: Option<&ModuleInfo>, findings: &[Finding]) -> Value {
    let finding = |finding: &Finding| {
        let Finding { severity, code, place, message, help } = finding;
        let (file, line, column) =
            place.clone().map_or((None, None, None), |(file, line, column)| (Some(file), Some(line), Some(column)));
        json!({
            "severity": severity.word(),
            "code": code,
            "file": file,
            "line": line,
            "column": column,
            "message": message,
            "help": help,
        })
    };
    json!({
        "path": path.to_string_lossy(),
        "abi": info.map(|info| info.abi.to_string()),
        "findings": findings.iter().map(finding).collect::<Value>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_files_are_told_from_others() {
        for own in ["src/lib.rs", "examples/hello/src/lib.rs", "sdk/src/lib.rs"] {
            assert!(is_own(own), "{own}");
        }
        for other in
            ["/rustc/59807616/library/core/src/cell.rs", "serde_json-1.0.154/src/de.rs", "p256-0.14.0/src/lib.rs"]
        {
            assert!(!is_own(other), "{other}");
        }
    }
}
