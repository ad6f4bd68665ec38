//! The verb `completions`: what a shell needs to complete this command.

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::exit::Exit;
use crate::output;

/// Print what a shell needs to complete this command.
///
/// Completes `cargo-wasmplugin VERB`; of `cargo wasmplugin VERB` cargo's own completion knows nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo wasmplugin completions bash > ~/.local/share/bash-completion/completions/cargo-wasmplugin
  cargo wasmplugin completions zsh > ~/.zfunc/_cargo-wasmplugin
  cargo wasmplugin completions fish > ~/.config/fish/completions/cargo-wasmplugin.fish")]
pub(crate) struct Arguments {
    /// The shell.
    shell: Shell,
}

/// Prints the script.
pub(crate) fn completions(arguments: &Arguments) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut crate::Arguments::command(), "cargo-wasmplugin", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Success)
}
