//! Whether an image can be pulled, with the credentials that the cluster would use.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use wasmplugin_deploy::fetch::TIMEOUT;
use wasmplugin_deploy::image::archive::MAX_MODULE_SIZE;
use wasmplugin_deploy::image::digest::Digest;
use wasmplugin_deploy::pull_secret;
use wasmplugin_deploy::registry::credentials::Credentials;
use wasmplugin_deploy::registry::keychain::Keychain;
use wasmplugin_deploy::yaml;
use wasmplugin_host::module::Module;

use super::diagnosis::Diagnosis;
use crate::image;
use crate::registry::{self, RegistryArguments};

/// A Secret of the cluster.
#[derive(Debug)]
pub(super) struct Secret<'a> {
    /// Its namespace and name, with a `/` between.
    pub(super) name: &'a str,
    /// The context of `kubectl`.
    pub(super) context: Option<&'a str>,
}

/// Pulls, and tells how that went.
pub(super) fn pull(name: &str, secret: Option<&Secret<'_>>, registries: &RegistryArguments) -> Diagnosis {
    let began = Instant::now();
    match attempt(name, secret, registries) {
        Err(error) => Diagnosis::fail(name, format!("{error:#}"), ""),
        Ok((digest, size, login)) => {
            let took = began.elapsed();
            let said = format!("`{digest}`, {} pulled {login} in {:.1} s", registry::size(size), took.as_secs_f64());
            if took > TIMEOUT {
                let help =
                    format!("make the module smaller or the registry nearer: proxies wait {} s", TIMEOUT.as_secs());
                return Diagnosis::fail(name, said, help);
            }
            Diagnosis::ok(name, said)
        }
    }
}

fn attempt(name: &str, secret: Option<&Secret<'_>>, registries: &RegistryArguments) -> Result<(Digest, u64, String)> {
    let reference = image::reference(name)?;
    let keychain = match secret {
        Some(secret) => Keychain::of_pull_secret(secret.read()?),
        None => registries.keychain()?,
    };
    let client = registries.registry()?.with_keychain(keychain.clone());
    registry::wait(async {
        let login = match keychain.resolve(&reference).await? {
            Credentials::Anonymous => "without a login".to_owned(),
            Credentials::Basic { username, .. } => format!("as `{username}`"),
            Credentials::Identity(_) | Credentials::Bearer(_) => "with a token".to_owned(),
        };
        let resolved = client.manifest(&reference).await?;
        let extracted = client.extract(&reference, &resolved.manifest, false, MAX_MODULE_SIZE, &|_| ()).await?;
        let size = extracted.module.len() as u64;
        Module::from_bytes(name, extracted.module).context("Envoy would not load the module")?;
        Ok((resolved.digest, size, login))
    })
}

impl Secret<'_> {
    /// Its Docker configuration, as istiod would hand it on.
    fn read(&self) -> Result<Vec<u8>> {
        let (namespace, name) =
            self.name.split_once('/').with_context(|| format!("`{}` must be written as NAMESPACE/NAME", self.name))?;
        let mut kubectl = Command::new("kubectl");
        kubectl.args(["get", "secret", name, "--namespace", namespace, "--output", "json"]).stdin(Stdio::null());
        if let Some(context) = self.context {
            kubectl.args(["--context", context]);
        }
        let output = kubectl.output().context("cannot start `kubectl`, which `--secret` needs; install it")?;
        if !output.status.success() {
            bail!("`kubectl` does not show the Secret: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let secret = yaml::read(&text).into_iter().next().context("`kubectl` shows nothing")??;
        Ok(pull_secret::docker_config(&secret.root)?)
    }
}
