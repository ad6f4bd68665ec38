//! The verb `man`: manual pages.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::exit::Exit;
use crate::output;

/// Write manual pages, one for the command and one per verb.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo wasmplugin man ~/.local/share/man/man1
  man cargo-wasmplugin-lint")]
pub(crate) struct Arguments {
    /// The folder to write them into.
    folder: PathBuf,
}

/// Writes the pages.
pub(crate) fn man(arguments: &Arguments) -> Result<Exit> {
    let folder = arguments.folder.display();
    fs::create_dir_all(&arguments.folder).with_context(|| format!("cannot create `{folder}`"))?;
    let command = crate::Arguments::command().name("cargo-wasmplugin");
    clap_mangen::generate_to(command, &arguments.folder).with_context(|| format!("cannot write into `{folder}`"))?;
    output::print(&format!("manual pages are in {folder}\n"))?;
    Ok(Exit::Success)
}
