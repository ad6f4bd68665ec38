//! Modules from web servers come bare, or in gzip and tar, in any order: unpacked as Istio's agent does.

use bytes::Bytes;

use crate::image::archive;
use crate::image::extract::{self, Refusal};

/// Boxes in boxes; a real one has two.
const MOST_BOXES: usize = 8;

/// Unpacks until a module appears, or nothing is left to unpack.
///
/// # Errors
///
/// If there is no module in it, or one larger than `limit`.
pub fn unbox(body: Bytes, limit: u64) -> Result<Bytes, Refusal> {
    let mut bytes = body;
    for _ in 0..MOST_BOXES {
        let unpacked = if bytes.starts_with(b"\0asm") {
            break;
        } else if bytes.starts_with(&[0x1f, 0x8b]) {
            archive::gunzip(&bytes, limit.saturating_mul(2))
        } else if bytes.get(257..262) == Some(b"ustar") {
            archive::first_entry(&bytes, limit)
        } else {
            break;
        };
        bytes = unpacked?.into();
    }
    extract::check(&bytes, limit)?;
    Ok(bytes)
}
