//! gRPC callouts: what a plugin asks, how messages are framed on the wire, and where a call stands.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::headers::HeaderMap;

/// What comes before each message: a flag for compression and the length.
const PREFIX: usize = 5;

/// The statuses of gRPC that a proxy gives by itself.
pub(crate) mod code {
    pub(crate) const OK: u32 = 0;
    pub(crate) const CANCELLED: u32 = 1;
    pub(crate) const UNKNOWN: u32 = 2;
    pub(crate) const INTERNAL: u32 = 13;
    pub(crate) const UNAVAILABLE: u32 = 14;
}

/// The beginning of a gRPC callout; its messages follow as [`Effect::GrpcData`](crate::effect::Effect::GrpcData).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcRequest {
    /// The cluster's name.
    pub cluster: String,
    /// The request's headers: pseudo headers, `te`, `content-type` and the plugin's metadata.
    pub headers: HeaderMap,
    /// When to give up; `None` for never. The worker watches it itself.
    pub timeout: Option<Duration>,
}

/// A message as it travels.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(PREFIX + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.extend_from_slice(message);
    frame.freeze()
}

/// The messages in what has arrived so far.
#[derive(Debug, Default, Clone)]
pub(crate) struct Frames {
    bytes: BytesMut,
}

/// A message that says that it is compressed, which neither Envoy nor this host reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Compressed;

impl Frames {
    /// More bytes came.
    pub(crate) fn feed(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
    }

    /// The next whole message, if there is one.
    ///
    /// # Errors
    ///
    /// The message is compressed, or its first byte is none of gRPC's.
    pub(crate) fn take(&mut self) -> Result<Option<Bytes>, Compressed> {
        let Some((prefix, rest)) = self.bytes.split_first_chunk::<PREFIX>() else { return Ok(None) };
        let [flag, length @ ..] = *prefix;
        let length = u32::from_be_bytes(length) as usize;
        if flag > 1 || (flag == 1 && length > 0) {
            return Err(Compressed);
        }
        if rest.len() < length {
            return Ok(None);
        }
        self.bytes.advance(PREFIX);
        Ok(Some(self.bytes.split_to(length).freeze()))
    }
}

/// Where a gRPC callout stands.
#[derive(Debug)]
pub(crate) struct GrpcCall {
    /// A stream tells its plugin every part; a unary call only how it ended.
    pub(crate) stream: bool,
    pub(crate) frames: Frames,
    /// The answer of a unary call, which counts once the status has come.
    pub(crate) answer: Option<Bytes>,
    /// The headers have come.
    pub(crate) begun: bool,
    /// The plugin has sent its last message.
    pub(crate) closed: bool,
    /// The plugin has closed it, and will not name it again.
    pub(crate) let_go: bool,
}

impl GrpcCall {
    pub(crate) fn new(stream: bool) -> Self {
        Self { stream, frames: Frames::default(), answer: None, begun: false, closed: !stream, let_go: !stream }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in_however_they_are_cut() {
        let wire = [framed(b"abc"), framed(b""), framed(&[7; 300])].concat();
        for size in [1, 4, 7, 400] {
            let mut frames = Frames::default();
            let mut messages = Vec::new();
            for piece in wire.chunks(size) {
                frames.feed(piece);
                while let Some(message) = frames.take().unwrap() {
                    messages.push(message.len());
                }
            }
            assert_eq!(messages, [3, 0, 300]);
        }
    }

    #[test]
    fn a_compressed_message_is_refused() {
        for wire in [&[1, 0, 0, 0, 1, 9][..], &[2, 0, 0, 0, 0]] {
            let mut frames = Frames::default();
            frames.feed(wire);
            assert_eq!(frames.take(), Err(Compressed));
        }
    }
}
