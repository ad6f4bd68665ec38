//! Kubernetes objects from files, folders and the standard input, with the file that each stands in.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use wasmplugin_deploy::document::{self, Document};
use wasmplugin_deploy::yaml::SyntaxError;

/// What stands for the standard input.
pub(crate) const STDIN: &str = "-";

/// The endings of files that are looked at in folders.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// One object, or what is wrong with the text where it should be.
#[derive(Debug)]
pub(crate) struct Found {
    /// The file as it was given, below a folder with its path; `-` for the standard input.
    pub(crate) file: String,
    /// The object.
    pub(crate) document: Result<Document, SyntaxError>,
}

/// Reads everything, in order; the files of a folder by name, with the folders below it.
pub(crate) fn read(inputs: &[PathBuf]) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for input in inputs {
        if input == Path::new(STDIN) {
            let mut bytes = Vec::new();
            io::stdin().lock().read_to_end(&mut bytes).context("cannot read the standard input")?;
            take(STDIN, bytes, &mut found)?;
        } else {
            for file in files(input)? {
                let bytes = fs::read(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
                take(&file.display().to_string(), bytes, &mut found)?;
            }
        }
    }
    Ok(found)
}

fn take(file: &str, bytes: Vec<u8>, found: &mut Vec<Found>) -> Result<()> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let line =
            1 + error.as_bytes().iter().take(error.utf8_error().valid_up_to()).filter(|byte| **byte == b'\n').count();
        anyhow::anyhow!("`{file}` is not a text: line {line} is not UTF-8")
    })?;
    found.extend(document::read(&text).into_iter().map(|document| Found { file: file.to_owned(), document }));
    Ok(())
}

fn files(input: &Path) -> Result<Vec<PathBuf>> {
    let kind = match fs::metadata(input) {
        Ok(kind) => kind,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("there is no file or folder `{}`", input.display())
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read `{}`", input.display())),
    };
    if !kind.is_dir() {
        return Ok(vec![input.to_owned()]);
    }
    let mut files = Vec::new();
    walk(input, &mut files)?;
    if files.is_empty() {
        bail!("the folder `{}` holds no `.yaml`, `.yml` or `.json` file", input.display());
    }
    Ok(files)
}

/// The files below a folder, by name. Links to folders are not followed: they may lead in a circle.
fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let context = || format!("cannot read the folder `{}`", folder.display());
    let mut entries =
        fs::read_dir(folder).with_context(context)?.collect::<Result<Vec<_>, _>>().with_context(context)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let kind = entry.file_type().with_context(context)?;
        if kind.is_dir() {
            walk(&path, files)?;
        } else if path.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known)) {
            files.push(path);
        }
    }
    Ok(())
}
