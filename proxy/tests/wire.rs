//! HTTP/2 by hand: frames and fields as bytes, and how a server ends them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use wasmplugin_proxy::Proxy;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const WITH_PRIORITY: u8 = 32;
pub(crate) const WHOLE: u8 = END_STREAM | END_HEADERS;

pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// An integer as HPACK has it, with a prefix of seven bits.
pub(crate) fn integer(mut value: usize) -> Vec<u8> {
    if value < 127 {
        return vec![value as u8];
    }
    let mut bytes = vec![127];
    value -= 127;
    while value >= 128 {
        bytes.push((value % 128) as u8 | 128);
        value /= 128;
    }
    bytes.push(value as u8);
    bytes
}

/// Fields as literals that nobody remembers.
pub(crate) fn fields<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let field = |(name, value): (&str, &str)| {
        [&[0], &*integer(name.len()), name.as_bytes(), &*integer(value.len()), value.as_bytes()].concat()
    };
    fields.into_iter().flat_map(field).collect()
}

/// How the server ends what it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The connection, with this error; nothing where it is closed without a word.
    Connection(Option<u32>),
    /// The stream 1, with this error.
    Stream(u32),
    /// With an answer of this status to stream 1.
    Answer(u16),
}

/// A connection that speaks HTTP/2 by hand.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) fn connect(proxy: &Proxy) -> Self {
        let socket = TcpStream::connect(proxy.address()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut raw = Self(socket);
        raw.send(PREFACE).send(frame(SETTINGS, 0, 0, []));
        raw
    }

    /// Sends bytes as they are. The server may have closed the connection already.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.0.write_all(bytes.as_ref()).ok();
        self
    }

    /// The next frame: what it is, its stream, its payload.
    fn frame(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.exactly(&mut head)?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.exactly(&mut payload)?;
        Some((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
    }

    fn exactly(&mut self, bytes: &mut [u8]) -> Option<()> {
        match self.0.read_exact(bytes) {
            Ok(()) => Some(()),
            Err(error) => {
                let silent = matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
                assert!(!silent, "the server says nothing");
                None
            }
        }
    }

    /// Reads until something ends.
    pub(crate) fn end(&mut self) -> End {
        let code = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap());
        loop {
            match self.frame() {
                None => return End::Connection(None),
                Some((GOAWAY, _, payload)) if code(&payload[4..]) != 0 => {
                    return End::Connection(Some(code(&payload[4..])));
                }
                Some((RST_STREAM, 1, payload)) => return End::Stream(code(&payload)),
                Some((HEADERS, 1, payload)) => return End::Answer(status(&payload)),
                Some(_) => {}
            }
        }
    }
}

/// The status with which a block of fields begins: h2 sends it from the static table or, indexed by name, as three digits.
fn status(block: &[u8]) -> u16 {
    match block[0] {
        0x88 => 200,
        0x8c => 400,
        0x8d => 404,
        0x8e => 500,
        0x48 if block[1] == 3 => std::str::from_utf8(&block[2..5]).unwrap().parse().unwrap(),
        // Digits in Huffman's code: five bits for 0 to 2, six for 3 to 9.
        0x48 => {
            let bits = block[2..].iter().take(3).fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << 8;
            let (mut bits, mut status) = (bits, 0);
            for _ in 0..3 {
                let (digit, length) = match bits >> 27 {
                    short @ 0..=2 => (short as u16, 5),
                    _ => ((bits >> 26) as u16 - 0x19 + 3, 6),
                };
                status = status * 10 + digit;
                bits <<= length;
            }
            status
        }
        other => panic!("no status: {other:x}"),
    }
}
