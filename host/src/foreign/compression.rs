//! `compress` and `uncompress`: zlib streams, as Envoy makes and reads them.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

use super::Outcome;
use crate::abi::Status;

pub(super) fn compress(data: &[u8]) -> Outcome {
    let mut stream = ZlibEncoder::new(Vec::new(), Compression::default());
    stream.write_all(data).and_then(|()| stream.finish()).map_err(|_| Status::SerializationFailure)
}

/// Reads a whole stream; what follows it is ignored.
///
/// Envoy stops only when its own memory is at its end; here what does not fit into the guest is refused.
pub(super) fn uncompress(stream: &[u8], most: u64) -> Outcome {
    let mut data = Vec::new();
    let mut limited = ZlibDecoder::new(stream).take(most.saturating_add(1));
    let read = limited.read_to_end(&mut data).map_err(|_| Status::SerializationFailure)?;
    if read as u64 > most || stream.is_empty() { Err(Status::SerializationFailure) } else { Ok(data) }
}

#[cfg(test)]
mod tests {
    use super::{compress, uncompress};
    use crate::abi::Status;

    #[test]
    fn what_was_compressed_comes_back() {
        for data in [&b""[..], b"hello hello hello", &[0; 100_000]] {
            let stream = compress(data).unwrap();
            assert_eq!(uncompress(&stream, data.len() as u64).as_deref(), Ok(data));
            assert_eq!(uncompress(&[&stream, &b"more"[..]].concat(), data.len() as u64).as_deref(), Ok(data));
        }
    }

    #[test]
    fn what_is_no_stream_or_too_large_is_refused() {
        let stream = compress(&[7; 1000]).unwrap();
        for (stream, most) in [(&b""[..], 10), (b"junk", 10), (&stream[..stream.len() - 3], 2000), (&stream, 999)] {
            assert_eq!(uncompress(stream, most), Err(Status::SerializationFailure));
        }
    }
}
