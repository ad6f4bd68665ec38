//! What verbs that reach registries share: their arguments, a runtime that Ctrl-C ends, a line that shows progress.

use std::fs;
use std::future::Future;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use wasmplugin_deploy::cache::Cache;
use wasmplugin_deploy::fetch::FetchOptions;
use wasmplugin_deploy::registry::hosts::HostList;
use wasmplugin_deploy::registry::keychain::Keychain;
use wasmplugin_deploy::registry::{Registry, RegistryOptions, TransportOptions};

use crate::logger;

/// What the shell is told after Ctrl-C.
const INTERRUPTED: i32 = 130;

/// How to reach registries.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Registries")]
pub(crate) struct RegistryArguments {
    /// Hosts to talk to in plain HTTP, credentials included: `host[:port],..`, or `*` for all.
    #[arg(long, value_name = "HOSTS", default_value = "")]
    plain_http: HostList,
    /// Hosts whose certificate is not checked: `host[:port],..`, or `*` for all. Unless given,
    /// `$WASM_INSECURE_REGISTRIES`, which Istio's agent reads.
    #[arg(long, value_name = "HOSTS")]
    insecure: Option<HostList>,
    /// Token servers on this machine or in private networks that may be asked: `host[:port],..`, or `*` for all.
    #[arg(long, value_name = "HOSTS", default_value = "")]
    allow_realm: HostList,
    /// A file with certificate authorities, in PEM, to trust besides this machine's own. May be repeated.
    #[arg(long, value_name = "FILE")]
    ca: Vec<PathBuf>,
    /// A file with the `.dockerconfigjson` of a pull secret, to be used in place of this machine's Docker and Podman logins.
    #[arg(long, value_name = "FILE")]
    pull_secret: Option<PathBuf>,
}

impl RegistryArguments {
    /// The options for a client.
    pub(crate) fn options(&self) -> Result<RegistryOptions> {
        let read = |path: &PathBuf| fs::read(path).with_context(|| format!("cannot read `{}`", path.display()));
        let authorities = self.ca.iter().map(read).collect::<Result<_>>()?;
        Ok(RegistryOptions {
            insecure: self.insecure.clone().unwrap_or_else(insecure_by_environment),
            plain_http: self.plain_http.clone(),
            realms: self.allow_realm.clone(),
            // Nobody waits for a command as short as a proxy waits for a module.
            transport: TransportOptions {
                authorities,
                read_timeout: Duration::from_secs(30),
                ..TransportOptions::default()
            },
            ..RegistryOptions::default()
        })
    }

    /// Whose credentials are shown.
    pub(crate) fn keychain(&self) -> Result<Keychain> {
        match &self.pull_secret {
            None => Ok(Keychain::of_this_machine()),
            Some(path) => {
                let bytes = fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
                Ok(Keychain::of_pull_secret(bytes))
            }
        }
    }

    /// A client.
    pub(crate) fn registry(&self) -> Result<Registry> {
        Ok(Registry::new(self.options()?, self.keychain()?)?)
    }

    /// How to fetch.
    pub(crate) fn fetch_options(&self) -> Result<FetchOptions> {
        Ok(FetchOptions { registry: self.options()?, ..FetchOptions::default() })
    }
}

fn insecure_by_environment() -> HostList {
    std::env::var("WASM_INSECURE_REGISTRIES").ok().and_then(|hosts| hosts.parse().ok()).unwrap_or_default()
}

/// The cache that an argument names, or this user's own.
pub(crate) fn cache(folder: Option<&PathBuf>) -> Result<Cache> {
    let folder = folder.cloned().or_else(Cache::default_folder);
    let folder = folder.context("there is no home folder for the module cache; name one with `WASMPLUGIN_CACHE`")?;
    Ok(Cache::open(folder)?)
}

/// Waits for a transfer. Ctrl-C ends the process, which leaves no half files and no half images behind.
pub(crate) fn wait<T>(transfer: impl Future<Output = Result<T>>) -> Result<T> {
    logger::show_warnings();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(async {
        tokio::select! {
            result = transfer => result,
            _ = tokio::signal::ctrl_c() => {
                eprintln!("stopped; nothing was left half done");
                std::process::exit(INTERRUPTED);
            }
        }
    })
}

/// A line on the terminal that shows how far a transfer is; nothing where nobody looks.
#[derive(Debug)]
pub(crate) struct Meter {
    label: &'static str,
    /// When the line was last drawn; none where there is no terminal.
    drawn: Option<Mutex<Option<Instant>>>,
}

impl Meter {
    /// Not drawn yet.
    pub(crate) fn new(label: &'static str) -> Self {
        Self { label, drawn: std::io::stderr().is_terminal().then(Mutex::default) }
    }

    /// Draws how many bytes, of how many where that is known, are there.
    pub(crate) fn show(&self, done: u64, total: Option<u64>) {
        let Some(Ok(mut drawn)) = self.drawn.as_ref().map(Mutex::lock) else { return };
        if drawn.is_some_and(|last| last.elapsed() < Duration::from_millis(100)) {
            return;
        }
        *drawn = Some(Instant::now());
        let of = total.map(|total| format!(" of {}", size(total))).unwrap_or_default();
        // A line that cannot be drawn is no reason to stop.
        let _ = write!(std::io::stderr(), "\r{} {}{of}\x1b[K", self.label, size(done));
    }

    /// Takes the line away.
    pub(crate) fn clear(&self) {
        if let Some(Ok(drawn)) = self.drawn.as_ref().map(Mutex::lock)
            && drawn.is_some()
        {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// A number of bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit = UNITS.iter().find(|(_, unit)| bytes >= *unit);
    // Tenths, without the detour over floating point.
    unit.map_or_else(
        || format!("{bytes} B"),
        |(name, unit)| format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(256 << 20), "256.0 MiB");
    }
}
