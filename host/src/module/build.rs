//! From a crate to a `.wasm` file: cargo, run with the right target, profile and folder.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

mod describe;
mod finish;
mod metadata;
mod sbom;
mod shrink;
mod target;
#[cfg(test)]
mod tests;

use metadata::{Artifact, Workspace};

/// The target that plugins are built for.
pub const TARGET: &str = "wasm32-wasip1";

/// The profile that plugins are built with.
pub const PROFILE: &str = "wasm";

/// How to build.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A folder of the workspace; the current one if absent.
    pub directory: Option<PathBuf>,
    /// Where cargo puts what it makes; `guests` in the workspace's target folder if absent, so that a build
    /// inside `cargo test` or `cargo run` never waits for the outer cargo's lock.
    pub target_directory: Option<PathBuf>,
    /// Shows nothing unless it fails.
    pub quiet: bool,
    /// Leaves out what plugins of the crate `wasmplugin` say about themselves: for code that cannot be compiled for
    /// this machine.
    pub undescribed: bool,
    /// Puts a bill of materials into each module: for what is shipped.
    pub bill: bool,
    /// Further arguments for cargo, such as `--locked`.
    pub arguments: Vec<String>,
}

/// One package, built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltModule {
    /// The package's name.
    pub package: String,
    /// The folder of its `Cargo.toml`.
    pub directory: PathBuf,
    /// The `.wasm` file: made smaller, and with what the plugin says about itself in it.
    pub path: PathBuf,
    /// How many bytes cargo and the linker made of it.
    pub linked: usize,
    /// Whether it was there already.
    pub fresh: bool,
}

impl Options {
    fn folder(&self, workspace: &Workspace) -> PathBuf {
        self.target_directory.clone().unwrap_or_else(|| workspace.target_directory.join("guests"))
    }
}

/// Why there is no `.wasm` file.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A tool cannot be started.
    #[error("cannot run `{tool}`: {reason}; install Rust from https://rustup.rs")]
    Tool {
        /// The program.
        tool: String,
        /// What the operating system says.
        reason: String,
    },
    /// The workspace cannot be read.
    #[error("cargo cannot read the workspace at `{directory}`: {reason}")]
    Workspace {
        /// Where it was looked for.
        directory: String,
        /// What cargo says.
        reason: String,
    },
    /// A package is not there.
    #[error("there is no package `{package}` in the workspace `{workspace}`; it has {known}")]
    NoPackage {
        /// The package asked for.
        package: String,
        /// The workspace's folder.
        workspace: String,
        /// What it has.
        known: String,
    },
    /// A package that does not become a module.
    #[error("package `{package}` makes no module: add `[lib] crate-type = [\"cdylib\", \"rlib\"]` to `{manifest}`")]
    NotAModule {
        /// The package.
        package: String,
        /// Its `Cargo.toml`.
        manifest: String,
    },
    /// The standard library for Wasm is missing and cannot be added.
    #[error(
        "Rust has no standard library for `{TARGET}` here, and it cannot be added: {reason}; type `rustup target add {TARGET}`; \
         where no rustup server is reachable, install Debian's `rust-src` of the same version and `wasi-libc`, and build with `-Zbuild-std`"
    )]
    NoTarget {
        /// What went wrong with adding it.
        reason: String,
    },
    /// The compiler refuses.
    #[error("cargo cannot build {packages}: {reason}")]
    Failed {
        /// The packages, in backticks.
        packages: String,
        /// The compiler's messages, or that they stand above.
        reason: String,
    },
    /// A module cannot be made ready.
    #[error("cannot finish the module of `{package}`: {reason}")]
    Unfinished {
        /// The package.
        package: String,
        /// What went wrong.
        reason: String,
    },
    /// A plugin does not say what it is.
    #[error("cannot describe `{package}`, for which it is compiled for this machine and run once: {reason}")]
    Undescribed {
        /// The package.
        package: String,
        /// What went wrong.
        reason: String,
    },
}

/// Builds packages of one workspace to Wasm, in as few runs of cargo as possible; the answer keeps their order.
///
/// # Errors
///
/// Says what is missing and what to type, or shows the compiler's errors.
pub fn build(packages: &[&str], options: &Options) -> Result<Vec<BuiltModule>, BuildError> {
    let directory = options.directory.clone().unwrap_or_else(|| PathBuf::from("."));
    let workspace = Workspace::at(&directory)?;
    for package in packages {
        workspace.plugin(package)?;
    }
    target::ensure(&directory, options.quiet)?;
    let artifacts = run(packages, &workspace, &directory, options)?;
    let graph = options.bill.then(|| sbom::Graph::of(&directory, &options.arguments)).transpose()?;
    let finish = |package: &&str| {
        let mut module = find(package, &workspace, &artifacts)?;
        let described = !options.undescribed && workspace.uses_sdk(package);
        let description =
            described.then(|| describe::describe(package, &workspace, &directory, options)).transpose()?;
        let bill = graph.as_ref().and_then(|graph| graph.bill(package));
        let (keep_names, folder) = (workspace.keeps_names(PROFILE), options.folder(&workspace));
        finish::finish(&mut module, description.as_ref(), bill.as_ref(), keep_names, &folder)?;
        Ok(module)
    };
    packages.iter().map(finish).collect()
}

/// The `.wasm` of the package in a folder (`env!("CARGO_MANIFEST_DIR")` in a test), built at most once per process.
///
/// # Errors
///
/// As for [`build`].
pub fn wasm(package_directory: impl AsRef<Path>) -> Result<PathBuf, BuildError> {
    type Slot = Arc<OnceLock<Result<PathBuf, BuildError>>>;
    static BUILT: OnceLock<Mutex<HashMap<PathBuf, Slot>>> = OnceLock::new();

    let directory = package_directory.as_ref().to_path_buf();
    let slot = {
        // A slot per folder, so that two tests wait for each other only when they want the same module.
        let mut built = BUILT.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(built.entry(directory.clone()).or_default())
    };
    slot.get_or_init(|| locate(&directory)).clone()
}

/// The name of the package whose `Cargo.toml` lies in a folder.
///
/// # Errors
///
/// If there is none, or cargo cannot read it.
pub fn package_in(directory: impl AsRef<Path>) -> Result<String, BuildError> {
    Workspace::at(directory.as_ref())?.package_in(directory.as_ref())
}

/// Where cargo puts what it makes of the workspace around a folder.
///
/// # Errors
///
/// If there is no workspace, or cargo cannot read it.
pub fn target_directory(directory: impl AsRef<Path>) -> Result<PathBuf, BuildError> {
    Ok(Workspace::at(directory.as_ref())?.target_directory)
}

/// Whether the compiler that is used in a folder has the standard library for [`TARGET`].
///
/// # Errors
///
/// If the compiler cannot be started.
pub fn has_target(directory: impl AsRef<Path>) -> Result<bool, BuildError> {
    target::present(directory.as_ref())
}

fn locate(directory: &Path) -> Result<PathBuf, BuildError> {
    let workspace = Workspace::at(directory)?;
    let package = workspace.package_in(directory)?;
    let options = Options { directory: Some(directory.to_path_buf()), ..Options::default() };
    let built = build(&[&package], &options)?;
    built.into_iter().next().map(|module| module.path).ok_or_else(|| not_a_module(&package, directory))
}

fn run(
    packages: &[&str],
    workspace: &Workspace,
    directory: &Path,
    options: &Options,
) -> Result<Vec<Artifact>, BuildError> {
    let (alone, mixed): (Vec<&str>, Vec<&str>) =
        packages.iter().partition(|package| workspace.is_only_a_module(package));
    let mut artifacts = Vec::new();
    if !alone.is_empty() {
        artifacts.extend(run_cargo("build", &alone, &[], workspace, directory, options)?);
    }
    // Cargo silently drops `lto` where a crate is an `rlib` as well (15 % more bytes), so these are built one by
    // one as modules only; the crates that they depend on are compiled once nevertheless.
    for package in mixed {
        artifacts.extend(run_cargo("rustc", &[package], &["--crate-type", "cdylib"], workspace, directory, options)?);
    }
    Ok(artifacts)
}

fn run_cargo(
    verb: &str,
    packages: &[&str],
    arguments: &[&str],
    workspace: &Workspace,
    directory: &Path,
    options: &Options,
) -> Result<Vec<Artifact>, BuildError> {
    let mut cargo = cargo(directory);
    cargo.args([verb, "--lib", "--target", TARGET, "--profile", PROFILE]).args(arguments);
    cargo.args(["--message-format", "json-render-diagnostics"]).arg("--target-dir").arg(options.folder(workspace));
    for package in packages {
        cargo.args(["--package", package]);
    }
    if !workspace.has_profile(PROFILE) {
        for setting in [
            r#"inherits="release""#,
            "opt-level=3",
            r#"lto="fat""#,
            "codegen-units=1",
            r#"panic="abort""#,
            "strip=true",
        ] {
            cargo.arg("--config").arg(format!("profile.{PROFILE}.{setting}"));
        }
    }
    // Where the code lay on this machine is nobody's business, and would make every folder's module another one.
    let folders = [Some(workspace.root.clone()), registry()];
    let remapped =
        folders.into_iter().flatten().map(|folder| format!("\"--remap-path-prefix={}/=\"", folder.display()));
    let flags = remapped.collect::<Vec<_>>().join(",");
    cargo.arg("--config").arg(format!("target.{TARGET}.rustflags=[{flags}]"));
    if options.quiet {
        cargo.arg("--quiet");
    }
    cargo.args(&options.arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    cargo.stderr(if options.quiet { Stdio::piped() } else { Stdio::inherit() });
    let output = cargo.output().map_err(|error| no_tool("cargo", &error))?;
    if output.status.success() {
        return Ok(metadata::artifacts(&output.stdout));
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(BuildError::Failed {
        packages: packages.iter().map(|package| format!("`{package}`")).collect::<Vec<_>>().join(", "),
        reason: if said.is_empty() { "its messages stand above".to_owned() } else { said },
    })
}

fn find(package: &str, workspace: &Workspace, artifacts: &[Artifact]) -> Result<BuiltModule, BuildError> {
    let manifest = workspace.plugin(package)?;
    let directory = manifest.parent().unwrap_or(manifest).to_path_buf();
    match artifacts.iter().find(|artifact| artifact.manifest == manifest) {
        Some(artifact) => Ok(BuiltModule {
            package: package.to_owned(),
            directory,
            path: artifact.wasm.clone(),
            linked: 0,
            fresh: artifact.fresh,
        }),
        None => Err(not_a_module(package, &directory)),
    }
}

fn not_a_module(package: &str, directory: &Path) -> BuildError {
    BuildError::NotAModule { package: package.to_owned(), manifest: directory.join("Cargo.toml").display().to_string() }
}

fn no_tool(tool: &str, error: &std::io::Error) -> BuildError {
    BuildError::Tool { tool: tool.to_owned(), reason: error.to_string() }
}

/// Where cargo keeps the code of published crates.
fn registry() -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let sources = home?.join("registry/src");
    // One folder for each registry, which is the same everywhere.
    let mut registries = std::fs::read_dir(&sources).ok()?.flatten();
    let first = registries.next().map(|registry| registry.path());
    if registries.next().is_none() { first } else { Some(sources) }
}

/// What an outer cargo, a build script or clippy leaves in the environment and would change the inner build:
/// flags for the machine's own target, wrappers around the compiler, and a job server that is not ours.
const FOREIGN: [&str; 14] = [
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_LINKER",
    "CLIPPY_ARGS",
    "CARGO_MAKEFLAGS",
    "MAKEFLAGS",
    "MFLAGS",
    "NUM_JOBS",
    "CARGO_BUILD_TARGET",
    "LLVM_PROFILE_FILE",
    "__CARGO_TEST_CHANNEL_OVERRIDE_DO_NOT_USE_THIS",
];

/// Cargo itself, free of its parent's settings, started in the folder so that its configuration is found.
fn cargo(directory: &Path) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.current_dir(directory);
    for name in FOREIGN {
        command.env_remove(name);
    }
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_FEATURE_", "CARGO_CFG_", "CARGO_MANIFEST_", "DEP_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
        {
            command.env_remove(&*name);
        }
    }
    command
}
