//! A request as the table writes it, and what came back.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::http2;

/// One request of the table and the status that both engines answer.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    /// Such as `GET /a`, or `GET /a HTTP/2`, then lines of headers, an empty line, a body, an empty line, and trailers.
    pub(crate) text: String,
    pub(crate) status: u16,
}

/// Requests with their statuses.
pub(crate) fn asks<T: Into<String>>(asks: impl IntoIterator<Item = (T, u16)>) -> Vec<Ask> {
    asks.into_iter().map(|(text, status)| Ask { text: text.into(), status }).collect()
}

impl Ask {
    /// Sends it over a connection of its own; the status of the answer, 0 for none.
    pub(crate) fn send(&self, to: &str) -> u16 {
        let parts = Parts::of(&self.text);
        let answer = match parts.line.strip_suffix(" HTTP/2") {
            Some(line) => return http2::status(to, line, &parts).unwrap_or_default(),
            None => parts.send(to),
        };
        let status = answer.get(9..12).and_then(|status| std::str::from_utf8(status).ok());
        status.and_then(|status| status.parse().ok()).unwrap_or_default()
    }
}

/// What a request consists of.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    line: &'a str,
    pub(crate) headers: &'a str,
    pub(crate) body: &'a str,
    pub(crate) trailers: &'a str,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Self {
        let (head, rest) = text.split_once("\n\n").unwrap_or((text, ""));
        let (line, headers) = head.split_once('\n').unwrap_or((head, ""));
        let (body, trailers) = rest.split_once("\n\n").unwrap_or((rest, ""));
        Self { line, headers, body, trailers }
    }

    /// Sends it over HTTP/1.1; all that came back.
    fn send(&self, to: &str) -> Vec<u8> {
        let Self { line, headers, body, trailers } = self;
        let mut request = format!("{line} HTTP/1.1\r\nconnection: close\r\n");
        if !headers.starts_with("host: ") {
            request.push_str("host: web.test\r\n");
        }
        request.push_str(&lines(headers));
        let announced = headers.contains("transfer-encoding");
        let chunked = announced || !trailers.is_empty();
        if chunked && !announced {
            request.push_str("transfer-encoding: chunked\r\n");
        } else if !body.is_empty() && !chunked && !headers.contains("content-length") {
            request.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        match chunked {
            true if body.is_empty() => request.push_str(&format!("0\r\n{}\r\n", lines(trailers))),
            true => request.push_str(&format!("{:x}\r\n{body}\r\n0\r\n{}\r\n", body.len(), lines(trailers))),
            false => request.push_str(body),
        }
        let mut client = TcpStream::connect(to).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        answer
    }
}

fn lines(fields: &str) -> String {
    fields.lines().map(|field| format!("{field}\r\n")).collect()
}
