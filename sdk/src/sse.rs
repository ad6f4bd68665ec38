//! Server-sent events (`Response::into_events`): a body cut into its events, whatever pieces the network brings.
//!
//! The format is that of the HTML standard (`text/event-stream`). Bytes that a plugin does not change pass as they
//! came, comments and line ends of any kind included.

mod event;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::error::{ErrorKind, Result};

pub use event::Event;

/// Cuts a stream of bytes into events.
///
/// It keeps no more than one unfinished event of at most `limit` bytes and what was [pushed](Self::push) last.
pub struct Framer {
    /// What is not taken yet; the first `scanned` bytes are known to hold no end of an event.
    bytes: Vec<u8>,
    scanned: usize,
    line: Line,
    /// The unfinished event has a line that is not empty.
    content: bool,
    /// Nothing was taken yet: a byte order mark may stand here.
    first: bool,
    limit: usize,
}

/// Where in a line the framer stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Start,
    Inside,
    /// Behind `\r`: a `\n` that follows belongs to the same line end.
    AfterReturn,
}

impl Framer {
    /// A framer for one stream; no event is longer than `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), scanned: 0, line: Line::Start, content: false, first: true, limit }
    }

    /// Adds what the network brought.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next event that is whole, if there is one.
    ///
    /// Empty lines between events come by themselves, as pieces for which [`Event::is_blank`] says so, as soon as
    /// they are there: servers send them to keep a connection alive. An unfinished event longer than the limit is
    /// an error, and stays one.
    pub fn next_event(&mut self) -> Result<Option<Event>> {
        match self.end_of_event() {
            Some(end) => Ok(Some(self.take(end))),
            None if self.bytes.len() > self.limit => Err(ErrorKind::EventTooLarge { limit: self.limit }.into()),
            None => Ok(None),
        }
    }

    /// What is left when the stream has ended: an event without its end, which clients do not dispatch.
    pub fn finish(&mut self) -> Option<Event> {
        let len = self.bytes.len();
        (len > 0).then(|| self.take(len))
    }

    /// Looks for the empty line behind an event, from where the last look ended.
    fn end_of_event(&mut self) -> Option<usize> {
        while let Some(byte) = self.bytes.get(self.scanned).copied() {
            self.scanned += 1;
            let line_end = matches!(byte, b'\n' | b'\r');
            match self.line {
                Line::AfterReturn if byte == b'\n' => self.line = Line::Start,
                Line::Start | Line::AfterReturn if line_end => {
                    if byte == b'\r' && self.bytes.get(self.scanned) == Some(&b'\n') {
                        self.scanned += 1;
                    }
                    return Some(self.scanned);
                }
                _ if byte == b'\n' => self.line = Line::Start,
                _ if byte == b'\r' => self.line = Line::AfterReturn,
                _ => {
                    self.line = Line::Inside;
                    self.content = true;
                }
            }
        }
        None
    }

    fn take(&mut self, end: usize) -> Event {
        let rest = self.bytes.split_off(end.min(self.bytes.len()));
        let event = Event::cut(std::mem::replace(&mut self.bytes, rest), std::mem::take(&mut self.first));
        self.scanned = 0;
        self.line = Line::Start;
        self.content = false;
        event
    }
}

impl fmt::Debug for Framer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Framer").field("kept", &self.bytes.len()).field("limit", &self.limit).finish_non_exhaustive()
    }
}
