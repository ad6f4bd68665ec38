//! A small HTTP/1.1 client: one request over a connection of its own, as `curl` would send it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// More header fields than this are not expected of anybody.
const MAX_FIELDS: usize = 100;

/// What to send.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request<'a> {
    /// Such as `GET`.
    pub(crate) method: &'a str,
    /// Path and query.
    pub(crate) path: &'a str,
    /// Fields besides `host` and `content-length`.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    /// The body; none is sent if it is empty.
    pub(crate) body: &'a [u8],
    /// How the body is sent.
    pub(crate) framing: Framing<'a>,
}

/// How a body is sent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Framing<'a> {
    /// With its length before it, unless the headers tell one.
    #[default]
    Length,
    /// In a chunk, with these trailers behind it.
    Chunked(&'a [(&'a str, &'a str)]),
}

/// A name and a value.
pub(crate) type Field = (String, String);

/// What came back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Response {
    /// Such as 200.
    pub(crate) status: u16,
    /// Fields in their order, with names in lower case.
    pub(crate) headers: Vec<Field>,
    /// The whole body.
    pub(crate) body: Vec<u8>,
    /// What came behind the body, with names in lower case.
    pub(crate) trailers: Vec<Field>,
}

impl Response {
    /// The first value of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The body as text; bytes that are not UTF-8 are replaced.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends the request and waits for the whole answer.
pub(crate) fn send(to: SocketAddr, request: &Request<'_>, patience: Duration) -> Result<Response> {
    let mut stream = TcpStream::connect_timeout(&to, patience).with_context(|| format!("no connection to {to}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    // A proxy may answer and close before it has read everything, so a failed write is for the reader to explain.
    let _early_answer = stream.write_all(&bytes_of(to, request));

    let mut bytes = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        let length = match stream.read(&mut piece) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                bail!("no answer from {to} within {} s", patience.as_secs_f64())
            }
            Err(error) if bytes.is_empty() => return Err(error).with_context(|| format!("{to} cut the connection")),
            Err(_) => 0,
        };
        bytes.extend(piece.iter().take(length));
        if let Some(response) = parse(&bytes, length == 0, request.method == "HEAD")? {
            return Ok(response);
        }
        if length == 0 {
            bail!("{to} cut the connection after {} bytes of its answer", bytes.len());
        }
    }
}

/// The request as it goes over the wire.
fn bytes_of(to: SocketAddr, request: &Request<'_>) -> Vec<u8> {
    let says = |wanted: &str| request.headers.iter().any(|(name, _)| *name == wanted);
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.path);
    if !says("host") {
        head.push_str(&format!("host: {to}\r\n"));
    }
    head.push_str(&lines(request.headers));
    match request.framing {
        Framing::Chunked(_) => head.push_str("transfer-encoding: chunked\r\n"),
        Framing::Length if request.body.is_empty() || says("content-length") => {}
        Framing::Length => head.push_str(&format!("content-length: {}\r\n", request.body.len())),
    }
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(b"\r\n");
    match request.framing {
        Framing::Length => bytes.extend_from_slice(request.body),
        Framing::Chunked(trailers) => {
            if !request.body.is_empty() {
                bytes.extend_from_slice(format!("{:x}\r\n", request.body.len()).as_bytes());
                bytes.extend_from_slice(request.body);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(format!("0\r\n{}\r\n", lines(trailers)).as_bytes());
        }
    }
    bytes
}

fn lines(fields: &[(&str, &str)]) -> String {
    fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
}

/// The response, once it is whole; `closed` says that no more bytes will come.
fn parse(bytes: &[u8], closed: bool, to_head: bool) -> Result<Option<Response>> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = parsed.parse(bytes).context("the answer is not HTTP")? else {
        return Ok(None);
    };
    let rest = bytes.get(length..).unwrap_or_default();
    let status = parsed.code.unwrap_or_default();
    if (100..200).contains(&status) {
        return parse(rest, closed, to_head);
    }
    let headers = parsed.headers.iter().map(owned).collect();
    let mut response = Response { status, headers, ..Response::default() };
    let whole = |body: Vec<u8>| (body, Vec::new());
    let rest = if to_head || matches!(status, 204 | 304) {
        Some(whole(Vec::new()))
    } else if response.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        chunks(rest)?
    } else if let Some(length) = response.header("content-length") {
        let length = length.parse().context("the answer's `content-length` is not a number")?;
        rest.get(..length).map(|body| whole(body.to_vec()))
    } else {
        closed.then(|| whole(rest.to_vec()))
    };
    Ok(rest.map(|(body, trailers)| {
        (response.body, response.trailers) = (body, trailers);
        response
    }))
}

fn owned(field: &httparse::Header<'_>) -> Field {
    (field.name.to_ascii_lowercase(), String::from_utf8_lossy(field.value).into_owned())
}

/// A body in chunks with its trailers, once the last one is here.
fn chunks(mut rest: &[u8]) -> Result<Option<(Vec<u8>, Vec<Field>)>> {
    let mut body = Vec::new();
    loop {
        let size = httparse::parse_chunk_size(rest)
            .map_err(|_| anyhow::anyhow!("a chunk of the answer has no proper size"))?;
        let httparse::Status::Complete((line, size)) = size else { return Ok(None) };
        rest = rest.get(line..).unwrap_or_default();
        if size == 0 {
            let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
            let trailers = httparse::parse_headers(rest, &mut fields).context("the answer's trailers are not HTTP")?;
            let httparse::Status::Complete((_, trailers)) = trailers else { return Ok(None) };
            return Ok(Some((body, trailers.iter().map(owned).collect())));
        }
        let size = usize::try_from(size)?;
        let (Some(data), Some(after)) = (rest.get(..size), rest.get(size.saturating_add(2)..)) else { return Ok(None) };
        body.extend_from_slice(data);
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(bytes: &[u8], closed: bool) -> Option<String> {
        parse(bytes, closed, false).unwrap().map(|response| response.text())
    }

    #[test]
    fn an_answer_is_whole_when_its_length_is_reached() {
        let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX-A: 1\r\ncontent-length: 3\r\n\r\nabc";
        for cut in 0..bytes.len() {
            assert_eq!(body(&bytes[..cut], false), None);
        }
        let response = parse(bytes, false, false).unwrap().unwrap();
        assert_eq!((response.status, response.header("x-a"), response.text().as_str()), (200, Some("1"), "abc"));
    }

    #[test]
    fn chunks_are_joined() {
        let bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nt: 1\r\n\r\n";
        for cut in 0..bytes.len() {
            assert_eq!(body(&bytes[..cut], false), None);
        }
        let response = parse(bytes, false, false).unwrap().unwrap();
        assert_eq!((response.text().as_str(), response.trailers), ("abc", vec![("t".to_owned(), "1".to_owned())]));
    }

    #[test]
    fn a_request_is_framed_as_wanted() {
        let to = SocketAddr::from(([127, 0, 0, 1], 80));
        let request =
            Request { method: "POST", path: "/", headers: &[("host", "a")], body: b"hi", ..Request::default() };
        let text = |request: &Request<'_>| String::from_utf8(bytes_of(to, request)).unwrap();
        assert_eq!(text(&request), "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi");
        let chunked = Request { framing: Framing::Chunked(&[("t", "1")]), ..request };
        let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(text(&chunked), format!("{head}2\r\nhi\r\n0\r\nt: 1\r\n\r\n"));
        assert_eq!(text(&Request { body: b"", ..chunked }), format!("{head}0\r\nt: 1\r\n\r\n"));
    }

    #[test]
    fn without_a_length_the_end_of_the_connection_is_the_end() {
        let bytes = b"HTTP/1.0 200 OK\r\n\r\nabc";
        assert_eq!(body(bytes, false), None);
        assert_eq!(body(bytes, true).unwrap(), "abc");
    }

    #[test]
    fn what_has_no_body_does_not_wait_for_one() {
        assert_eq!(body(b"HTTP/1.1 204 No Content\r\n\r\n", false).unwrap(), "");
        let to_head = parse(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", false, true).unwrap();
        assert_eq!(to_head.unwrap().body, b"");
    }

    #[test]
    fn rubbish_is_an_error() {
        assert!(parse(b"\x01 this is not HTTP\r\n\r\n", false, false).is_err());
        assert!(parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", false, false).is_err());
    }
}
