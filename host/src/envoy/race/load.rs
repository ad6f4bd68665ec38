//! Load on one Envoy: a few connections that each send the same request again as soon as it was answered.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::super::codec::{Codec, Part};
use super::super::http1::Http1;
use super::super::stream::Stream;
use super::super::tls;
use crate::test::Headers;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Some connections and what they send.
#[derive(Debug)]
pub(super) struct Load {
    connections: Vec<Stream>,
    request: Headers,
    bytes: Vec<u8>,
    status: String,
}

impl Load {
    /// Connects that many times, with TLS if a client of it is given.
    pub(super) fn connect(
        to: SocketAddr,
        tls: Option<&tls::Client>,
        request: &Headers,
        status: u16,
        count: usize,
    ) -> Result<Self, String> {
        let connect = |_| Stream::open(to, &[], tls, PATIENCE);
        let connections: std::io::Result<Vec<_>> = (0..count.max(1)).map(connect).collect();
        let mut codec = Http1::new(request);
        codec.head(request, true);
        Ok(Self {
            connections: connections.map_err(|error| format!("no connection: {error}"))?,
            request: request.clone(),
            bytes: codec.output(),
            status: status.to_string(),
        })
    }

    /// Sends requests for at least that long; returns how many were answered.
    pub(super) fn run(&mut self, time: Duration) -> Result<u32, String> {
        let end = Instant::now() + time;
        let mut answered = 0;
        while Instant::now() < end {
            for connection in &mut self.connections {
                connection.write_all(&self.bytes).map_err(|error| format!("a request was not taken: {error}"))?;
            }
            for connection in &mut self.connections {
                answer(connection, &self.request, &self.status)?;
                answered += 1;
            }
        }
        Ok(answered)
    }
}

/// Reads one whole answer, which must have that status.
fn answer(connection: &mut Stream, request: &Headers, status: &str) -> Result<(), String> {
    let mut codec = Http1::new(request);
    let mut bytes = [0; 4096];
    loop {
        match codec.next() {
            Ok(Some(Part::Head(headers))) if headers.get(":status") != Some(status) => {
                let seen = headers.get(":status").unwrap_or_default();
                return Err(format!("an answer has the status {seen} in the place of {status}"));
            }
            Ok(Some(Part::End(_))) => return Ok(()),
            Ok(Some(_)) => {}
            Ok(None) => {
                let length = connection.read(&mut bytes).map_err(|error| format!("no answer: {error}"))?;
                if length == 0 {
                    return Err("no answer: the connection was closed".to_owned());
                }
                codec.feed(bytes.get(..length).unwrap_or_default());
            }
            Err(stop) => return Err(format!("an answer is not whole: {stop:?}")),
        }
    }
}
