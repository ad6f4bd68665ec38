//! `kubectl`, which talks to the cluster for us.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::exit::Exit;

/// Shows what applying would change. Ends like `kubectl diff`: 0 for nothing, 1 for something.
pub(super) fn diff(documents: &str, context: Option<&str>) -> Result<Exit> {
    match run("diff", documents, context)? {
        0 => Ok(Exit::Success),
        1 => Ok(Exit::Failure),
        code => bail!("`kubectl diff` failed with {code}; its own message says why"),
    }
}

/// Applies.
pub(super) fn apply(documents: &str, context: Option<&str>) -> Result<Exit> {
    match run("apply", documents, context)? {
        0 => Ok(Exit::Success),
        code => bail!("`kubectl apply` failed with {code}; its own message says why"),
    }
}

fn run(verb: &str, documents: &str, context: Option<&str>) -> Result<i32> {
    let mut command = Command::new("kubectl");
    command.args([verb, "-f", "-"]).stdin(Stdio::piped());
    if let Some(context) = context {
        command.args(["--context", context]);
    }
    let mut child = command.spawn().with_context(|| {
        format!("cannot start `kubectl`, which `--{verb}` needs; install it, or pipe the output to it elsewhere")
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        // If it ended early, its exit code tells more than the broken pipe.
        let _written = stdin.write_all(documents.as_bytes());
    }
    let status = child.wait().context("`kubectl` cannot be waited for")?;
    Ok(status.code().unwrap_or(2))
}
