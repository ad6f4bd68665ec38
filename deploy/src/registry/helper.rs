//! Docker's credential helpers: programs named `docker-credential-<name>` that keep passwords elsewhere.

use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::credentials::{BadCredentials, Credentials};

/// A helper may ask its user; longer than this nobody waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// The user that stands for "the secret is an identity token".
const TOKEN: &str = "<token>";

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username", default)]
    username: String,
    #[serde(rename = "Secret", default)]
    secret: String,
}

/// Asks a helper; one that knows nothing of the registry gives nothing.
pub(super) async fn get(name: &str, registry: &str) -> Result<Credentials, BadCredentials> {
    let program = format!("docker-credential-{name}");
    let failed =
        |reason: String| BadCredentials::Helper { program: program.clone(), registry: registry.to_owned(), reason };
    if name.contains('/') {
        return Err(failed("its name has a slash".to_owned()));
    }
    let answer = tokio::time::timeout(PATIENCE, run(&program, registry)).await;
    let output = match answer {
        Err(_) => return Err(failed(format!("no answer within {} s", PATIENCE.as_secs()))),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(failed(
                "it is not installed; install it, or remove it from the Docker configuration".to_owned(),
            ));
        }
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Ok(Ok(output)) => output,
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        return if said.contains("credentials not found") {
            Ok(Credentials::Anonymous)
        } else {
            Err(failed(if said.is_empty() { output.status.to_string() } else { said.chars().take(200).collect() }))
        };
    }
    let answer: Answer =
        serde_json::from_slice(&output.stdout).map_err(|_| failed("its answer is no JSON".to_owned()))?;
    Ok(match (answer.username, answer.secret) {
        (_, secret) if secret.is_empty() => Credentials::Anonymous,
        (username, secret) if username == TOKEN => Credentials::Identity(secret),
        (username, password) => Credentials::Basic { username, password },
    })
}

async fn run(program: &str, registry: &str) -> std::io::Result<std::process::Output> {
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // One that does not read its input may have answered already.
        let _ = input.write_all(registry.as_bytes()).await;
    }
    child.wait_with_output().await
}
