//! Compression by the host, so that no module has to carry it: zlib streams (RFC 1950).

use crate::error::{Error, ErrorKind, Result};
use crate::foreign;
use crate::sys::Status;

/// A zlib stream of these bytes.
pub fn compress(data: &[u8]) -> Result<Vec<u8>> {
    foreign::call("compress", data)
}

/// The bytes of a zlib stream; what follows its end is ignored.
///
/// The host reads the stream as a whole and has no limit, and a thousand bytes can stand for a million: only give it
/// what a trusted peer has sent, or what is known to be short.
pub fn uncompress(stream: &[u8]) -> Result<Vec<u8>> {
    foreign::call("uncompress", stream).map_err(|error| match error.kind() {
        ErrorKind::Host(host) if host.status == Status::SERIALIZATION_FAILURE => {
            Error::malformed("the bytes are not a whole zlib stream")
        }
        _ => error,
    })
}
