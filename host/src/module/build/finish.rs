//! From what cargo made to what is shipped: smaller, and with what the plugin says about itself.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::shrink::shrink;
use super::{BuildError, BuiltModule};
use crate::module::{METADATA, SBOM, SCHEMA, with_section};

/// Puts the finished module into a file of its own: cargo's is compared with its sources, and may be in use.
pub(super) fn finish(
    module: &mut BuiltModule,
    description: Option<&Value>,
    bill: Option<&Value>,
    keep_names: bool,
    folder: &Path,
) -> Result<(), BuildError> {
    let fail = |reason: String| BuildError::Unfinished { package: module.package.clone(), reason };
    let io = |path: &Path, error: std::io::Error| fail(format!("`{}`: {error}", path.display()));
    let folder = folder.join(if bill.is_some() { "shipped" } else { "finished" });
    fs::create_dir_all(&folder).map_err(|error| io(&folder, error))?;
    let linked = fs::read(&module.path).map_err(|error| io(&module.path, error))?;
    let bytes = finished(&linked, description, bill, keep_names).map_err(fail)?;
    let path = folder.join(module.path.file_name().unwrap_or_default());
    replace(&path, &bytes).map_err(|error| io(&path, error))?;
    module.path = path;
    module.linked = linked.len();
    Ok(())
}

fn finished(
    linked: &[u8],
    description: Option<&Value>,
    bill: Option<&Value>,
    keep_names: bool,
) -> Result<Vec<u8>, String> {
    let told = |field: &str| description.and_then(|description| description.get(field));
    let unused = told("unused_exports").and_then(Value::as_array);
    let unused: Vec<&str> = unused.into_iter().flatten().filter_map(Value::as_str).collect();
    let mut bytes = shrink(linked, &unused, keep_names).map_err(|error| error.to_string())?;
    for (section, content) in [(METADATA, told("metadata")), (SCHEMA, told("schema")), (SBOM, bill)] {
        if let Some(content) = content {
            bytes = with_section(&bytes, section, content.to_string().as_bytes());
        }
    }
    Ok(bytes)
}

/// Puts the whole file there, or leaves what was there; a file that says the same stays as it is.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if fs::read(path).is_ok_and(|present| present == bytes) && path.extension().is_some_and(|kind| kind == "wasm") {
        return Ok(());
    }
    let part = path.with_extension(format!("part.{}", std::process::id()));
    fs::write(&part, bytes).and_then(|()| fs::rename(&part, path))
}
