//! An argument that is a name and its value.

/// Reads `NAME=VALUE`; the name is not empty.
///
/// # Errors
///
/// Says how it must be written.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it must be written as `NAME=VALUE`".to_owned()),
    }
}
