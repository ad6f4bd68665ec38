//! The verb `check`: whether a proxy will take a module and its configuration, and what may go wrong later.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use wasmplugin_host::module::{Module, ModuleInfo, build};
use wasmplugin_host::test::Proxy;

use crate::configuration::Configuration;
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
/// source it can still panic, and, with `--config`, whether the plugin takes that configuration: it is started with it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo wasmplugin check                                  the package in this folder, which is built first
  cargo wasmplugin check plugin.wasm --config config.json
  cargo wasmplugin check --config '{\"status\": 403}' --output json")]
pub(crate) struct Arguments {
    /// A module; that of the package in this folder unless given.
    #[arg(value_name = "MODULE")]
    module: Option<PathBuf>,
    /// A configuration to try: a file of JSON, or JSON itself.
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

/// Something that was found.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    severity: Severity,
    code: &'static str,
    message: String,
}

/// Checks, and tells what was found.
pub(crate) fn check(arguments: &Arguments) -> Result<Exit> {
    let path = match &arguments.module {
        Some(path) => path.clone(),
        None => built()?,
    };
    let mut findings = Vec::new();
    let module = match Module::read(&path) {
        Ok(module) => {
            findings.extend(old_proxies(module.info()));
            findings.extend(panics(&module));
            Some(module)
        }
        Err(error) => {
            findings.push(Finding { severity: Severity::Error, code: "module", message: error.to_string() });
            None
        }
    };
    if let (Some(_), Some(config)) = (&module, &arguments.config) {
        findings.extend(configuration(&path, &arguments.root_id, Configuration::read(config)?));
    }
    let info = module.as_ref().map(Module::info);
    output::print(&match arguments.output {
        Format::Text => text(&path.display().to_string(), info, &findings),
        Format::Json => format!("{:#}\n", json(&path.display().to_string(), info, &findings)),
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
    (!new.is_empty()).then_some(Finding { severity: Severity::Warning, code: "old-envoy", message })
}

/// Where the plugin's own source can still panic: that ends all requests of a worker.
fn panics(module: &Module) -> Vec<Finding> {
    let finding = |site: wasmplugin_host::module::PanicSite| Finding {
        severity: Severity::Warning,
        code: "panic",
        message: format!("{}:{}:{} can panic, which ends all requests of a worker", site.file, site.line, site.column),
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

/// What the plugin says about a configuration, when it is started with it.
fn configuration(module: &std::path::Path, root_id: &str, configuration: Configuration) -> Option<Finding> {
    let proxy = Proxy::wasm(module).root_id(root_id).raw_config(configuration.text);
    let error = proxy.start().err()?;
    Some(Finding { severity: Severity::Error, code: "configuration", message: error.to_string() })
}

fn text(path: &str, info: Option<&ModuleInfo>, findings: &[Finding]) -> String {
    let mut text = match info {
        Some(info) => format!("{path}: ABI {}, {} bytes\n", info.abi, info.size),
        None => format!("{path}\n"),
    };
    for finding in findings {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        text.push_str(&format!("  {severity}[{}]: {}\n", finding.code, finding.message));
    }
    if findings.is_empty() {
        text.push_str("  nothing was found\n");
    }
    text
}

fn json(path: &str, info: Option<&ModuleInfo>, findings: &[Finding]) -> Value {
    let findings: Vec<_> = findings
        .iter()
        .map(|finding| {
            let severity = if finding.severity == Severity::Error { "error" } else { "warning" };
            json!({"severity": severity, "code": finding.code, "message": finding.message})
        })
        .collect();
    json!({"path": path, "abi": info.map(|info| info.abi.to_string()), "findings": findings})
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
