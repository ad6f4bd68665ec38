//! HTTP/1.1 messages as bytes, both ways, without a socket: what the test's client and its servers speak with Envoy.

use std::fmt;

use bytes::Bytes;

use super::codec::{Codec, Part, Stop};
use crate::test::Headers;

/// More header fields than this are refused.
const MAX_FIELDS: usize = 256;

/// One side's reader: bytes are fed as they arrive, parts of messages come out.
#[derive(Debug)]
pub(super) struct Reader {
    side: Side,
    stage: Stage,
    buffer: Vec<u8>,
    closed: bool,
}

/// Whose messages are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// A server reads requests.
    Requests,
    /// A client reads the one response to its request.
    Response {
        /// The request was a `HEAD`, so no body follows.
        to_head: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    Length(u64),
    UntilClose,
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    Done,
}

impl Reader {
    pub(super) fn new(side: Side) -> Self {
        Self { side, stage: Stage::Head, buffer: Vec::new(), closed: false }
    }

    /// Bytes arrived; none means that the other side closed.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.closed |= bytes.is_empty();
        self.buffer.extend_from_slice(bytes);
    }

    /// The next part; nothing until more is fed.
    pub(super) fn next(&mut self) -> Result<Option<Part>, Stop> {
        loop {
            let step = match self.stage {
                Stage::Head => self.head()?,
                Stage::Length(0) => Step::Part(self.end(Headers::new())),
                Stage::Length(left) => self.data(left, Stage::Length),
                Stage::UntilClose if self.buffer.is_empty() && self.closed => Step::Part(self.end(Headers::new())),
                Stage::UntilClose => self.data(u64::MAX, |_| Stage::UntilClose),
                Stage::ChunkSize => self.chunk_size()?,
                Stage::ChunkData(0) => self.go(Stage::ChunkEnd),
                Stage::ChunkData(left) => self.data(left, Stage::ChunkData),
                Stage::ChunkEnd => self.chunk_end()?,
                Stage::Trailers => self.trailers()?,
                Stage::Done => return Err(Stop::Closed),
            };
            match step {
                Step::Part(part) => return Ok(Some(part)),
                Step::Again => {}
                Step::More if !self.closed => return Ok(None),
                Step::More if self.stage == Stage::Head && self.buffer.is_empty() => return Err(Stop::Closed),
                Step::More => return Err(Stop::Cut),
            }
        }
    }

    fn go(&mut self, stage: Stage) -> Step {
        self.stage = stage;
        Step::Again
    }

    fn head(&mut self) -> Result<Step, Stop> {
        let parsed = match self.side {
            Side::Requests => request_head(&self.buffer)?,
            Side::Response { .. } => response_head(&self.buffer)?,
        };
        let Some((length, headers)) = parsed else { return Ok(Step::More) };
        self.buffer.drain(..length);
        if matches!(self.side, Side::Response { .. }) && is_interim(&headers) {
            return Ok(Step::Again);
        }
        self.stage = self.framing(&headers)?;
        Ok(Step::Part(Part::Head(headers)))
    }

    fn framing(&self, headers: &Headers) -> Result<Stage, Stop> {
        let bodiless = matches!(headers.get(":status"), Some("204" | "304"));
        if bodiless || self.side == (Side::Response { to_head: true }) {
            return Ok(Stage::Length(0));
        }
        if headers.get("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return Ok(Stage::ChunkSize);
        }
        match headers.get("content-length").map(str::parse) {
            Some(Ok(length)) => Ok(Stage::Length(length)),
            Some(Err(_)) => Err(Stop::Malformed("`content-length` is not a number".to_owned())),
            None if self.side == Side::Requests => Ok(Stage::Length(0)),
            None => Ok(Stage::UntilClose),
        }
    }

    /// Takes what is there, up to `left` bytes.
    fn data(&mut self, left: u64, rest: impl FnOnce(u64) -> Stage) -> Step {
        let length = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if length == 0 {
            return Step::More;
        }
        let data: Vec<u8> = self.buffer.drain(..length).collect();
        self.stage = rest(left.saturating_sub(length as u64));
        Step::Part(Part::Data(data.into()))
    }

    fn chunk_size(&mut self) -> Result<Step, Stop> {
        match httparse::parse_chunk_size(&self.buffer) {
            Ok(httparse::Status::Partial) => Ok(Step::More),
            Ok(httparse::Status::Complete((line, size))) => {
                self.buffer.drain(..line);
                Ok(self.go(if size == 0 { Stage::Trailers } else { Stage::ChunkData(size) }))
            }
            Err(_) => Err(Stop::Malformed("a chunk has no proper size".to_owned())),
        }
    }

    fn chunk_end(&mut self) -> Result<Step, Stop> {
        if self.buffer.len() < 2 {
            return Ok(Step::More);
        }
        if !self.buffer.starts_with(b"\r\n") {
            return Err(Stop::Malformed("a chunk is longer than its size".to_owned()));
        }
        self.buffer.drain(..2);
        Ok(self.go(Stage::ChunkSize))
    }

    fn trailers(&mut self) -> Result<Step, Stop> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        match httparse::parse_headers(&self.buffer, &mut fields) {
            Ok(httparse::Status::Partial) => Ok(Step::More),
            Ok(httparse::Status::Complete((length, fields))) => {
                let trailers = fields.iter().map(owned).collect();
                self.buffer.drain(..length);
                Ok(Step::Part(self.end(trailers)))
            }
            Err(error) => Err(Stop::Malformed(error.to_string())),
        }
    }

    fn end(&mut self, trailers: Headers) -> Part {
        self.stage = if self.side == Side::Requests { Stage::Head } else { Stage::Done };
        Part::End(trailers)
    }
}

enum Step {
    Part(Part),
    Again,
    More,
}

fn request_head(buffer: &[u8]) -> Result<Option<(usize, Headers)>, Stop> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(buffer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(Stop::Malformed(error.to_string())),
    };
    let host = request.headers.iter().find(|field| field.name.eq_ignore_ascii_case("host"));
    let mut headers = Headers::new();
    headers.add(":authority", host.map(|field| field.value.to_vec()).unwrap_or_default());
    headers.add(":path", request.path.unwrap_or_default().to_owned());
    headers.add(":method", request.method.unwrap_or_default().to_owned());
    headers.add(":scheme", "http");
    headers.extend(request.headers.iter().filter(|field| !field.name.eq_ignore_ascii_case("host")).map(owned));
    Ok(Some((length, headers)))
}

fn response_head(buffer: &[u8]) -> Result<Option<(usize, Headers)>, Stop> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let length = match response.parse(buffer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(Stop::Malformed(error.to_string())),
    };
    let mut headers = Headers::new();
    headers.add(":status", response.code.unwrap_or_default().to_string());
    headers.extend(response.headers.iter().map(owned));
    Ok(Some((length, headers)))
}

fn owned(field: &httparse::Header<'_>) -> (String, Bytes) {
    (field.name.to_owned(), Bytes::copy_from_slice(field.value))
}

/// `100 Continue` and its like come before the response that was asked for.
fn is_interim(headers: &Headers) -> bool {
    headers.get(":status").is_some_and(|status| status.len() == 3 && status.starts_with('1') && status != "101")
}

/// The client's side: a request being sent and its response being read.
#[derive(Debug)]
pub(super) struct Http1 {
    reader: Reader,
    chunked: bool,
    output: Vec<u8>,
}

impl Http1 {
    /// For a request with these headers.
    pub(super) fn new(headers: &Headers) -> Self {
        let to_head = headers.get(":method") == Some("HEAD");
        let reader = Reader::new(Side::Response { to_head });
        Self { reader, chunked: is_chunked(headers), output: Vec::new() }
    }
}

impl Codec for Http1 {
    fn head(&mut self, headers: &Headers, _end: bool) {
        self.output.extend(request_bytes(headers));
    }

    fn data(&mut self, data: &[u8]) {
        if self.chunked {
            self.output.extend(chunk_bytes(data));
        } else {
            self.output.extend_from_slice(data);
        }
    }

    fn end(&mut self, trailers: &Headers) {
        if self.chunked {
            self.output.extend(last_chunk_bytes(trailers));
        }
    }

    fn output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.reader.feed(bytes);
    }

    fn next(&mut self) -> Result<Option<Part>, Stop> {
        self.reader.next()
    }
}

/// The bytes of a request's head; pseudo headers become the request line and `host`.
pub(super) fn request_bytes(headers: &Headers) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(pseudo(headers, ":method"));
    bytes.push(b' ');
    bytes.extend_from_slice(pseudo(headers, ":path"));
    bytes.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    bytes.extend_from_slice(pseudo(headers, ":authority"));
    bytes.extend_from_slice(b"\r\n");
    push_fields(&mut bytes, headers);
    bytes
}

/// The bytes of a response's head.
pub(super) fn response_bytes(headers: &Headers) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(b"HTTP/1.1 ");
    bytes.extend_from_slice(pseudo(headers, ":status"));
    bytes.extend_from_slice(b" -\r\n");
    push_fields(&mut bytes, headers);
    bytes
}

/// The bytes of one chunk; an empty one would end the body and gives none.
pub(super) fn chunk_bytes(data: &[u8]) -> Vec<u8> {
    if data.is_empty() {
        return Vec::new();
    }
    let mut bytes = format!("{:x}\r\n", data.len()).into_bytes();
    bytes.extend_from_slice(data);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// The bytes that end a chunked body.
pub(super) fn last_chunk_bytes(trailers: &Headers) -> Vec<u8> {
    let mut bytes = b"0\r\n".to_vec();
    push_fields(&mut bytes, trailers);
    bytes
}

/// Whether a message with these headers is sent in chunks.
pub(super) fn is_chunked(headers: &Headers) -> bool {
    headers.get("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
}

fn pseudo<'h>(headers: &'h Headers, name: &str) -> &'h [u8] {
    headers.get_bytes(name).map(|value| value.as_ref()).unwrap_or_default()
}

fn push_fields(bytes: &mut Vec<u8>, headers: &Headers) {
    for (name, value) in headers.iter().filter(|(name, _)| name.first() != Some(&b':')) {
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the connection was closed"),
            Self::Cut => f.write_str("the connection was cut inside a message"),
            Self::Malformed(reason) => write!(f, "not HTTP/1.1: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that comes out when the bytes are fed one by one and the connection is then closed.
    fn read(side: Side, bytes: &[u8]) -> (Vec<Part>, Stop) {
        let mut reader = Reader::new(side);
        let mut parts = Vec::new();
        let mut drain = |reader: &mut Reader| {
            loop {
                match reader.next() {
                    Ok(Some(part)) => parts.push(part),
                    Ok(None) => return None,
                    Err(stop) => return Some(stop),
                }
            }
        };
        for byte in bytes {
            reader.feed(&[*byte]);
            if let Some(stop) = drain(&mut reader) {
                return (parts, stop);
            }
        }
        reader.feed(&[]);
        let stop = drain(&mut reader).unwrap();
        (parts, stop)
    }

    fn body(parts: &[Part]) -> Vec<u8> {
        parts.iter().flat_map(|part| if let Part::Data(data) = part { data.to_vec() } else { Vec::new() }).collect()
    }

    #[test]
    fn two_requests_on_one_connection() {
        let bytes = b"POST /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nabGET / HTTP/1.1\r\nhost: h\r\n\r\n";
        let (parts, stop) = read(Side::Requests, bytes);
        let Part::Head(first) = &parts[0] else { panic!("no head: {parts:?}") };
        assert_eq!(first.get(":path"), Some("/a?b"));
        assert_eq!(first.get(":authority"), Some("h"));
        assert!(!first.contains("host"));
        assert_eq!(body(&parts), b"ab");
        assert_eq!(parts.iter().filter(|part| matches!(part, Part::End(_))).count(), 2);
        assert_eq!(stop, Stop::Closed);
    }

    #[test]
    fn chunks_and_trailers() {
        let bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;x\r\nab\r\n1\r\nc\r\n0\r\nX-T: 1\r\n\r\n";
        let (parts, stop) = read(Side::Response { to_head: false }, bytes);
        assert_eq!(body(&parts), b"abc");
        assert_eq!(parts.last(), Some(&Part::End([("x-t", "1")].into_iter().collect())));
        assert_eq!(stop, Stop::Closed);
    }

    #[test]
    fn a_body_without_length_ends_with_the_connection() {
        let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nabc";
        let (parts, stop) = read(Side::Response { to_head: false }, bytes);
        assert_eq!(body(&parts), b"abc");
        assert_eq!(parts.last(), Some(&Part::End(Headers::new())));
        assert_eq!(stop, Stop::Closed);
    }

    #[test]
    fn a_cut_is_not_an_end() {
        for bytes in [
            &b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabc"[..],
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
            b"HTTP/1.1 20",
        ] {
            assert_eq!(read(Side::Response { to_head: false }, bytes).1, Stop::Cut);
        }
    }

    #[test]
    fn a_head_has_no_body_whatever_its_length() {
        let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n";
        let (parts, _) = read(Side::Response { to_head: true }, bytes);
        assert_eq!(parts.last(), Some(&Part::End(Headers::new())));
    }

    #[test]
    fn rubbish_is_malformed() {
        assert!(matches!(read(Side::Requests, b"%%\x00%\r\n\r\n").1, Stop::Malformed(_)));
        let bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc";
        assert!(matches!(read(Side::Response { to_head: false }, bytes).1, Stop::Malformed(_)));
    }

    #[test]
    fn what_is_written_can_be_read() {
        let headers: Headers =
            [(":method", "PUT"), (":path", "/"), (":authority", "h"), ("transfer-encoding", "chunked")]
                .into_iter()
                .collect();
        let mut bytes = request_bytes(&headers);
        bytes.extend(chunk_bytes(b"ab"));
        bytes.extend(chunk_bytes(b""));
        bytes.extend(last_chunk_bytes(&[("t", "1")].into_iter().collect()));
        let (parts, _) = read(Side::Requests, &bytes);
        assert_eq!(body(&parts), b"ab");
        assert_eq!(parts.last(), Some(&Part::End([("t", "1")].into_iter().collect())));
    }
}
