//! One event: its bytes as they came, and its fields read from them.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::error::{Error, Result};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One event of a stream, with everything that stands before its empty line.
///
/// Fields are read as browsers read them: what is not UTF-8 is replaced. A field that is set takes the place of the
/// lines that had it; all other lines stay as they are.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    bytes: Vec<u8>,
    /// Where its lines begin: behind the stream's byte order mark.
    start: usize,
}

impl Event {
    /// An event with that data, of which each line becomes a line of its own.
    #[must_use]
    pub fn new(data: impl AsRef<str>) -> Self {
        let mut event = Self { bytes: b"\n".to_vec(), start: 0 };
        event.set_data(data);
        event
    }

    /// The bytes of one event, as the framer cut them.
    pub(super) fn cut(bytes: Vec<u8>, first: bool) -> Self {
        let start = if first && bytes.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        Self { bytes, start }
    }

    /// Whether clients dispatch it: it has data, and it is whole. Comments alone, a lone `retry` and a stream's
    /// unfinished end are not dispatched.
    #[must_use]
    pub fn is_dispatched(&self) -> bool {
        let ended = lines(self.body()).last().is_some_and(|(line, end)| line.is_empty() && !end.is_empty());
        ended && self.values("data").next().is_some()
    }

    /// Whether it is nothing but line ends.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.bytes.iter().all(|byte| matches!(byte, b'\n' | b'\r'))
    }

    /// Its type: the field `event`, or `message` without one.
    #[must_use]
    pub fn name(&self) -> Cow<'_, str> {
        match self.values("event").last() {
            Some(name) if !name.is_empty() => String::from_utf8_lossy(name),
            _ => Cow::Borrowed("message"),
        }
    }

    /// Its data: the `data` lines, joined with `\n`.
    #[must_use]
    pub fn data(&self) -> Cow<'_, str> {
        let mut values = self.values("data");
        let Some(first) = values.next() else { return Cow::Borrowed("") };
        let Some(second) = values.next() else { return String::from_utf8_lossy(first) };
        let mut joined = [first, b"\n", second].concat();
        for value in values {
            joined.push(b'\n');
            joined.extend_from_slice(value);
        }
        Cow::Owned(String::from_utf8_lossy(&joined).into_owned())
    }

    /// Reads the data as JSON.
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        Ok(serde_json::from_str(&self.data())?)
    }

    /// The id that a client names when it comes back; an `id` with a NUL is none.
    #[must_use]
    pub fn id(&self) -> Option<Cow<'_, str>> {
        self.values("id").filter(|id| !id.contains(&0)).last().map(String::from_utf8_lossy)
    }

    /// How long a client waits before it comes back; the field `retry` counts milliseconds.
    #[must_use]
    pub fn retry(&self) -> Option<Duration> {
        let number = |value: &[u8]| {
            let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            std::str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()
        };
        self.values("retry").filter_map(number).last().map(Duration::from_millis)
    }

    /// The comments: lines that begin with a colon.
    pub fn comments(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.values("").map(String::from_utf8_lossy)
    }

    /// Puts other data in its place; each line of it becomes a `data` line.
    pub fn set_data(&mut self, data: impl AsRef<str>) {
        let data = data.as_ref().as_bytes();
        let mut values: Vec<_> = lines(data).map(|(line, _)| line).collect();
        // What follows a line end is a line, even an empty one.
        if data.is_empty() || data.ends_with(b"\n") || data.ends_with(b"\r") {
            values.push(b"");
        }
        self.set("data", &values);
    }

    /// Changes its type. A name with a line end is an error.
    pub fn set_name(&mut self, name: &str) -> Result<()> {
        self.set_line("event", name)
    }

    /// Changes its id. An id with a line end or a NUL is an error.
    pub fn set_id(&mut self, id: &str) -> Result<()> {
        if id.contains('\0') {
            return Err(Error::app("an event's `id` cannot have a NUL"));
        }
        self.set_line("id", id)
    }

    fn set_line(&mut self, field: &str, value: &str) -> Result<()> {
        if value.contains(['\n', '\r']) {
            return Err(Error::app(format!("an event's `{field}` cannot have a line end")));
        }
        self.set(field, &[value.as_bytes()]);
        Ok(())
    }

    /// Puts lines in the place of those that have the field, or at the end.
    fn set(&mut self, field: &str, values: &[&[u8]]) {
        let mut changed = self.bytes.get(..self.start).unwrap_or_default().to_vec();
        let mut values = Some(values);
        let write = |changed: &mut Vec<u8>, values: &[&[u8]]| {
            for value in values {
                changed.extend_from_slice(&[field.as_bytes(), b": ", value, b"\n"].concat());
            }
        };
        for (line, end) in lines(self.body()) {
            let (name, _) = split(line);
            let replaced = !line.is_empty() && name == field.as_bytes();
            if (replaced || line.is_empty())
                && let Some(values) = values.take()
            {
                write(&mut changed, values);
            }
            if !replaced {
                // Without what stood between them, `\r` and `\n` would be one line end.
                if line.is_empty() && changed.ends_with(b"\r") && end.starts_with(b"\n") {
                    changed.push(b'\n');
                }
                changed.extend_from_slice(line);
                changed.extend_from_slice(end);
            }
        }
        if let Some(values) = values {
            if !matches!(changed.get(self.start..).unwrap_or_default().last(), None | Some(b'\n' | b'\r')) {
                changed.push(b'\n');
            }
            write(&mut changed, values);
        }
        self.bytes = changed;
    }

    fn body(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// The values of a field, in order; the field without a name is the comments.
    fn values(&self, field: &str) -> impl Iterator<Item = &[u8]> {
        lines(self.body()).filter(|(line, _)| !line.is_empty()).filter_map(move |(line, _)| {
            let (name, value) = split(line);
            (name == field.as_bytes()).then_some(value)
        })
    }
}

impl AsRef<[u8]> for Event {
    /// Its bytes: those that came, unless a field was set.
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Event {
    /// The size only: events may be secret, and long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("name", &self.name()).field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

/// The lines of a text, each with its line end; the last one may have none.
fn lines(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let len = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(bytes.len());
        let (line, rest) = bytes.split_at(len);
        let end = if rest.starts_with(b"\r\n") { 2 } else { rest.len().min(1) };
        let (end, rest) = rest.split_at(end);
        bytes = rest;
        Some((line, end))
    })
}

/// A line's field and value; one space behind the colon belongs to neither.
fn split(line: &[u8]) -> (&[u8], &[u8]) {
    match line.iter().position(|byte| *byte == b':') {
        Some(colon) => {
            let (name, value) = line.split_at(colon);
            let value = value.get(1..).unwrap_or_default();
            (name, value.strip_prefix(b" ").unwrap_or(value))
        }
        None => (line, b""),
    }
}
