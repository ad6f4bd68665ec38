//! One HTTP/2 stream on a connection of its own, as bytes, without a socket: the client's side only.

use bytes::Bytes;

use super::codec::{Codec, Part, Stop};
use super::hpack;
use crate::test::Headers;

/// What a client says first.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The one stream.
const STREAM: u32 = 1;
/// The most that a frame may carry unless the other side says otherwise.
pub(super) const FRAME: usize = 16 * 1024;
/// What a window is unless somebody says otherwise, and the most that it can be.
const WINDOW: i64 = 65_535;
const WIDEST: u32 = 0x7fff_ffff;

pub(super) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

pub(super) mod flag {
    /// On settings and pings.
    pub(crate) const ACK: u8 = 1;
    pub(crate) const END_STREAM: u8 = 1;
    pub(crate) const END_HEADERS: u8 = 4;
    pub(crate) const PADDED: u8 = 8;
    pub(crate) const PRIORITY: u8 = 0x20;
}

/// A request being sent and its response being read.
#[derive(Debug)]
pub(super) struct Http2 {
    buffer: Vec<u8>,
    closed: bool,
    output: Vec<u8>,
    /// What waits for the windows to open, with whether the stream ends after it.
    waiting: Vec<u8>,
    ending: Option<Headers>,
    connection_window: i64,
    stream_window: i64,
    initial_window: i64,
    /// A header block that is not whole, with whether the stream ends after it.
    block: Option<(Vec<u8>, bool)>,
    has_head: bool,
    parts: std::collections::VecDeque<Part>,
    over: bool,
}

/// One frame.
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Http2 {
    pub(super) fn new() -> Self {
        let output = [PREFACE, &settings_first()].concat();
        Self {
            buffer: Vec::new(),
            closed: false,
            output,
            waiting: Vec::new(),
            ending: None,
            connection_window: WINDOW,
            stream_window: WINDOW,
            initial_window: WINDOW,
            block: None,
            has_head: false,
            parts: std::collections::VecDeque::new(),
            over: false,
        }
    }

    fn push_headers(&mut self, headers: &Headers, end: bool) {
        let block = hpack::encode(headers);
        let mut pieces = block.chunks(FRAME).peekable();
        let mut kind = kind::HEADERS;
        let mut flags = if end { flag::END_STREAM } else { 0 };
        while let Some(piece) = pieces.next() {
            if pieces.peek().is_none() {
                flags |= flag::END_HEADERS;
            }
            push_frame(&mut self.output, kind, flags, STREAM, piece);
            (kind, flags) = (kind::CONTINUATION, 0);
        }
    }

    /// Sends what the windows allow.
    fn push_waiting(&mut self) {
        loop {
            let room = self.connection_window.min(self.stream_window).clamp(0, FRAME as i64) as usize;
            let length = room.min(self.waiting.len());
            if length == 0 {
                break;
            }
            let piece: Vec<u8> = self.waiting.drain(..length).collect();
            self.connection_window -= length as i64;
            self.stream_window -= length as i64;
            let last = self.waiting.is_empty() && self.ending.as_ref().is_some_and(Headers::is_empty);
            let flags = if last { flag::END_STREAM } else { 0 };
            push_frame(&mut self.output, kind::DATA, flags, STREAM, &piece);
            if last {
                self.ending = None;
            }
        }
        if self.waiting.is_empty() {
            match self.ending.take() {
                None => {}
                Some(trailers) if trailers.is_empty() => {
                    push_frame(&mut self.output, kind::DATA, flag::END_STREAM, STREAM, &[]);
                }
                Some(trailers) => self.push_headers(&trailers, true),
            }
        }
    }

    fn accept(&mut self, frame: Frame) -> Result<(), Stop> {
        let number = |at: usize| {
            let bytes = frame.payload.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_be_bytes).ok_or_else(|| malformed("a frame is too short"))
        };
        let end = frame.flags & flag::END_STREAM != 0;
        match frame.kind {
            kind::SETTINGS if frame.flags & flag::ACK == 0 => {
                self.accept_settings(&frame.payload);
                push_frame(&mut self.output, kind::SETTINGS, flag::ACK, 0, &[]);
            }
            kind::PING if frame.flags & flag::ACK == 0 => {
                push_frame(&mut self.output, kind::PING, flag::ACK, 0, &frame.payload);
            }
            kind::WINDOW_UPDATE => {
                let more = i64::from(number(0)? & WIDEST);
                match frame.stream {
                    0 => self.connection_window += more,
                    _ => self.stream_window += more,
                }
                self.push_waiting();
            }
            kind::GOAWAY if number(4)? != 0 => return Err(Stop::Cut),
            kind::RST_STREAM => return Err(Stop::Cut),
            kind::HEADERS => {
                self.block = Some((unpadded(&frame)?, end));
                self.accept_block(frame.flags)?;
            }
            kind::CONTINUATION => {
                if let Some((block, _)) = &mut self.block {
                    block.extend_from_slice(&frame.payload);
                }
                self.accept_block(frame.flags)?;
            }
            kind::DATA => {
                let data = unpadded(&frame)?;
                if !data.is_empty() {
                    self.parts.push_back(Part::Data(Bytes::from(data)));
                }
                if end {
                    self.finish(Headers::new());
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn accept_settings(&mut self, payload: &[u8]) {
        for setting in payload.as_chunks::<6>().0 {
            let [0, 4, value @ ..] = *setting else { continue };
            let window = i64::from(u32::from_be_bytes(value));
            self.stream_window += window - self.initial_window;
            self.initial_window = window;
        }
        self.push_waiting();
    }

    fn accept_block(&mut self, flags: u8) -> Result<(), Stop> {
        if flags & flag::END_HEADERS == 0 {
            return Ok(());
        }
        let Some((block, end)) = self.block.take() else { return Ok(()) };
        let headers = hpack::decode(&block).ok_or_else(|| malformed("a header block cannot be read"))?;
        let interim = headers.get(":status").is_some_and(|status| status.starts_with('1'));
        if self.has_head {
            self.finish(headers);
        } else if !interim {
            self.has_head = true;
            self.parts.push_back(Part::Head(headers));
            if end {
                self.finish(Headers::new());
            }
        }
        Ok(())
    }

    fn finish(&mut self, trailers: Headers) {
        self.parts.push_back(Part::End(trailers));
        self.over = true;
    }
}

impl Codec for Http2 {
    fn head(&mut self, headers: &Headers, end: bool) {
        self.push_headers(headers, end);
    }

    fn data(&mut self, data: &[u8]) {
        // It becomes frames when it is sent: by then it is known whether it was the last, which a frame tells.
        self.waiting.extend_from_slice(data);
    }

    fn end(&mut self, trailers: &Headers) {
        self.ending = Some(trailers.clone());
    }

    fn output(&mut self) -> Vec<u8> {
        self.push_waiting();
        std::mem::take(&mut self.output)
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.closed |= bytes.is_empty();
        self.buffer.extend_from_slice(bytes);
    }

    fn next(&mut self) -> Result<Option<Part>, Stop> {
        loop {
            if let Some(part) = self.parts.pop_front() {
                return Ok(Some(part));
            }
            if self.over {
                return Err(Stop::Closed);
            }
            match take_frame(&mut self.buffer) {
                Some(frame) => self.accept(frame)?,
                None if self.closed => return Err(Stop::Cut),
                None => return Ok(None),
            }
        }
    }
}

/// What either side says first: no dynamic table, no pushes, windows that never close.
pub(super) fn settings_first() -> Vec<u8> {
    let mut output = Vec::new();
    let mut settings = Vec::new();
    for (setting, value) in [(1_u16, 0), (2, 0), (4, WIDEST)] {
        settings.extend_from_slice(&setting.to_be_bytes());
        settings.extend_from_slice(&value.to_be_bytes());
    }
    push_frame(&mut output, kind::SETTINGS, 0, 0, &settings);
    push_frame(&mut output, kind::WINDOW_UPDATE, 0, 0, &(WIDEST - WINDOW as u32).to_be_bytes());
    output
}

/// The next whole frame of what has arrived.
pub(super) fn take_frame(buffer: &mut Vec<u8>) -> Option<Frame> {
    let (head, rest) = buffer.split_first_chunk::<9>()?;
    let [a, b, c, kind, flags, stream @ ..] = *head;
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    let payload = rest.get(..length)?.to_vec();
    buffer.drain(..9 + length);
    Some(Frame { kind, flags, stream: u32::from_be_bytes(stream) & WIDEST, payload })
}

pub(super) fn push_frame(output: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    output.extend_from_slice(length.get(1..).unwrap_or_default());
    output.extend_from_slice(&[kind, flags]);
    output.extend_from_slice(&stream.to_be_bytes());
    output.extend_from_slice(payload);
}

/// What a frame carries without its padding and priority.
pub(super) fn unpadded(frame: &Frame) -> Result<Vec<u8>, Stop> {
    let mut payload = frame.payload.as_slice();
    let mut padding = 0;
    if frame.flags & flag::PADDED != 0 {
        let (length, rest) = payload.split_first().ok_or_else(|| malformed("padding without a length"))?;
        (padding, payload) = (usize::from(*length), rest);
    }
    if frame.kind == kind::HEADERS && frame.flags & flag::PRIORITY != 0 {
        payload = payload.get(5..).ok_or_else(|| malformed("priority without a value"))?;
    }
    let length = payload.len().checked_sub(padding).ok_or_else(|| malformed("more padding than there is"))?;
    Ok(payload.get(..length).unwrap_or_default().to_vec())
}

fn malformed(reason: &str) -> Stop {
    Stop::Malformed(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(initial_window: u32) -> Vec<u8> {
        let mut frame = Vec::new();
        let mut payload = vec![0, 4];
        payload.extend_from_slice(&initial_window.to_be_bytes());
        push_frame(&mut frame, kind::SETTINGS, 0, 0, &payload);
        frame
    }

    fn frames(mut bytes: Vec<u8>) -> Vec<(u8, u8, usize)> {
        let mut reader = Http2::new();
        if bytes.starts_with(PREFACE) {
            bytes.drain(..PREFACE.len());
        }
        reader.buffer = bytes;
        std::iter::from_fn(|| take_frame(&mut reader.buffer)).map(|f| (f.kind, f.flags, f.payload.len())).collect()
    }

    #[test]
    fn the_end_rides_on_the_last_data() {
        let mut codec = Http2::new();
        codec.head(&[(":method", "POST")].into_iter().collect(), false);
        codec.output();
        codec.waiting.extend_from_slice(b"abc");
        codec.end(&Headers::new());
        assert_eq!(frames(codec.output()), [(kind::DATA, flag::END_STREAM, 3)]);
    }

    #[test]
    fn a_closed_window_holds_data_back() {
        let mut codec = Http2::new();
        codec.output();
        codec.feed(&settings(10));
        assert_eq!(codec.next(), Ok(None));
        assert_eq!(frames(codec.output()), [(kind::SETTINGS, flag::ACK, 0)]);
        codec.data(&[7; 25]);
        codec.end(&[("t", "1")].into_iter().collect());
        assert_eq!(frames(codec.output()), [(kind::DATA, 0, 10)]);
        let mut update = Vec::new();
        push_frame(&mut update, kind::WINDOW_UPDATE, 0, STREAM, &100_u32.to_be_bytes());
        codec.feed(&update);
        assert_eq!(codec.next(), Ok(None));
        let sent = frames(codec.output());
        assert_eq!(sent[0], (kind::DATA, 0, 15));
        assert_eq!((sent[1].0, sent[1].1), (kind::HEADERS, flag::END_STREAM | flag::END_HEADERS));
    }

    #[test]
    fn a_response_in_frames() {
        let mut codec = Http2::new();
        let mut bytes = settings(100);
        push_frame(&mut bytes, kind::HEADERS, flag::END_HEADERS, STREAM, &[0x88]);
        push_frame(&mut bytes, kind::DATA, flag::PADDED, STREAM, &[1, b'a', b'b', 0]);
        push_frame(&mut bytes, kind::HEADERS, flag::END_STREAM, STREAM, &[0, 1, b't']);
        push_frame(&mut bytes, kind::CONTINUATION, flag::END_HEADERS, STREAM, &[1, b'1']);
        let mut parts = Vec::new();
        for byte in bytes {
            codec.feed(&[byte]);
            parts.extend(codec.next().unwrap());
        }
        assert_eq!(
            parts,
            [
                Part::Head([(":status", "200")].into_iter().collect()),
                Part::Data(Bytes::from_static(b"ab")),
                Part::End([("t", "1")].into_iter().collect()),
            ]
        );
    }

    #[test]
    fn a_reset_stream_is_a_cut() {
        let mut codec = Http2::new();
        let mut bytes = Vec::new();
        push_frame(&mut bytes, kind::RST_STREAM, 0, STREAM, &[0; 4]);
        codec.feed(&bytes);
        assert_eq!(codec.next(), Err(Stop::Cut));
    }
}
