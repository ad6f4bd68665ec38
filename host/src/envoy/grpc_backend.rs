//! The test as a gRPC cluster: a server of HTTP/2 that says what the scripts say.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::connections::{Connections, read};
use super::hpack;
use super::http2::{self, FRAME, PREFACE, flag, kind, push_frame};
use crate::test::{Arrival, Cluster, GrpcAnswer, GrpcPart, Headers};

/// How a server ends a stream that it cannot finish: `INTERNAL_ERROR`.
const INTERNAL_ERROR: [u8; 4] = [0, 0, 0, 2];

/// One call on the connection.
struct Call {
    arrival: Arrival,
    begun: bool,
}

/// The connection's own side, shared with answers that come later.
struct Output {
    connection: Arc<TcpStream>,
    /// Held while the parts of one answer are written.
    turn: Mutex<()>,
}

/// Serves a connection until either side closes it; whatever goes wrong ends it.
pub(super) fn serve(connection: &Arc<TcpStream>, cluster: &Cluster, shared: &Arc<Connections>) {
    let _unimportant = connection.set_nodelay(true);
    let output = Arc::new(Output { connection: Arc::clone(connection), turn: Mutex::new(()) });
    let _ended = converse(connection, cluster, shared, &output);
}

fn converse(connection: &TcpStream, cluster: &Cluster, shared: &Arc<Connections>, output: &Arc<Output>) -> Option<()> {
    let mut calls: HashMap<u32, Call> = HashMap::new();
    let mut block: Option<(u32, Vec<u8>, bool)> = None;
    let mut buffer = Vec::new();
    let mut bytes = [0; 16 * 1024];
    let mut greeted = false;
    output.write(&http2::settings_first()).ok()?;
    loop {
        let length = read(connection, &mut bytes).ok().filter(|length| *length > 0)?;
        buffer.extend_from_slice(bytes.get(..length)?);
        if !greeted {
            if buffer.len() < PREFACE.len() {
                continue;
            }
            buffer.drain(..PREFACE.len());
            greeted = true;
        }
        while let Some(frame) = http2::take_frame(&mut buffer) {
            let id = frame.stream;
            let end = frame.flags & flag::END_STREAM != 0;
            match frame.kind {
                kind::SETTINGS if frame.flags & flag::ACK == 0 => {
                    output.frame(kind::SETTINGS, flag::ACK, 0, &[]).ok()?
                }
                kind::PING if frame.flags & flag::ACK == 0 => {
                    output.frame(kind::PING, flag::ACK, 0, &frame.payload).ok()?;
                }
                kind::GOAWAY => return None,
                kind::RST_STREAM => drop(calls.remove(&id)),
                kind::HEADERS | kind::CONTINUATION => {
                    match &mut block {
                        Some((_, block, _)) => block.extend_from_slice(&frame.payload),
                        None => block = Some((id, http2::unpadded(&frame).ok()?, end)),
                    }
                    if frame.flags & flag::END_HEADERS == 0 {
                        continue;
                    }
                    let (id, block, end) = block.take()?;
                    let headers = hpack::decode(&block)?;
                    let call =
                        calls.entry(id).or_insert_with(|| Call { arrival: cluster.arrived(headers), begun: false });
                    if end {
                        call.hears(id, &[], true, output, shared);
                    }
                }
                kind::DATA => {
                    let data = http2::unpadded(&frame).ok()?;
                    if let Some(call) = calls.get_mut(&id) {
                        call.hears(id, &data, end, output, shared);
                    }
                }
                _ => {}
            }
        }
    }
}

impl Call {
    fn hears(&mut self, id: u32, data: &[u8], end: bool, output: &Arc<Output>, shared: &Arc<Connections>) {
        for answer in self.arrival.grpc(data, end) {
            let parts = answer.parts(self.begun);
            self.begun |= !parts.is_empty();
            output.says(id, &answer, parts, shared);
        }
    }
}

impl Output {
    /// Writes an answer, at once or when its time has come.
    fn says(self: &Arc<Self>, id: u32, answer: &GrpcAnswer, parts: Vec<GrpcPart>, shared: &Arc<Connections>) {
        let delay = answer.delay();
        if delay == Duration::ZERO {
            // A connection that is gone ends the conversation by itself.
            let _gone = self.write_parts(id, parts);
            return;
        }
        let (output, shared) = (Arc::clone(self), Arc::clone(shared));
        let _spawned = thread::Builder::new().name("gRPC answer".to_owned()).spawn(move || {
            shared.sleep(delay);
            let _gone = output.write_parts(id, parts);
        });
    }

    fn write_parts(&self, id: u32, parts: Vec<GrpcPart>) -> io::Result<()> {
        let mut bytes = Vec::new();
        let flags = |end: bool| if end { flag::END_STREAM } else { 0 };
        for part in parts {
            match part {
                GrpcPart::Headers(headers, end) => push_block(&mut bytes, id, &headers, end),
                GrpcPart::Trailers(trailers) => push_block(&mut bytes, id, &trailers, true),
                GrpcPart::Reset => push_frame(&mut bytes, kind::RST_STREAM, 0, id, &INTERNAL_ERROR),
                GrpcPart::Data(data, end) => {
                    let mut pieces = data.chunks(FRAME).peekable();
                    while let Some(piece) = pieces.next() {
                        push_frame(&mut bytes, kind::DATA, flags(end && pieces.peek().is_none()), id, piece);
                    }
                }
            }
        }
        self.write(&bytes)
    }

    fn frame(&self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::new();
        push_frame(&mut bytes, kind, flags, stream, payload);
        self.write(&bytes)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        (&*self.connection).write_all(bytes)
    }
}

/// A header block in one frame: scripts have no more than that.
fn push_block(bytes: &mut Vec<u8>, id: u32, headers: &Headers, end: bool) {
    let flags = flag::END_HEADERS | if end { flag::END_STREAM } else { 0 };
    // Envoy has said that its table is empty, and wants to hear that this was understood (RFC 7541 §4.2).
    let block = [&[0x20][..], &hpack::encode(headers)].concat();
    push_frame(bytes, kind::HEADERS, flags, id, &block);
}
