//! A request as the table writes it, and what came back.

use std::io::{Read, Write};
use std::net::TcpStream;

/// One request of the table and the status that both engines answer.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    /// Such as `GET /a`, then lines of headers, an empty line, and a body.
    pub(crate) text: String,
    pub(crate) status: u16,
}

/// Requests with their statuses.
pub(crate) fn asks<T: Into<String>>(asks: impl IntoIterator<Item = (T, u16)>) -> Vec<Ask> {
    asks.into_iter().map(|(text, status)| Ask { text: text.into(), status }).collect()
}

impl Ask {
    /// Sends it over a connection of its own; the status of the answer.
    pub(crate) fn send(&self, to: &str) -> u16 {
        let (head, body) = self.text.split_once("\n\n").unwrap_or((&self.text, ""));
        let (line, fields) = head.split_once('\n').unwrap_or((head, ""));
        let mut request = format!("{line} HTTP/1.1\r\nconnection: close\r\n");
        if !fields.starts_with("host: ") {
            request.push_str("host: web.test\r\n");
        }
        for field in fields.lines() {
            request.push_str(&format!("{field}\r\n"));
        }
        let chunked = fields.contains("transfer-encoding");
        if !body.is_empty() && !chunked {
            request.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        match chunked {
            true => request.push_str(&format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())),
            false => request.push_str(body),
        }
        let mut client = TcpStream::connect(to).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        let status = answer.get(9..12).and_then(|status| std::str::from_utf8(status).ok());
        status.and_then(|status| status.parse().ok()).unwrap_or_default()
    }
}
