//! One filter of one exchange: what it holds of either direction, and how it was stopped.

use bytes::Bytes;

use crate::abi::StopKind;

/// Which way messages travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the client to the upstream.
    Request,
    /// From the upstream to the client.
    Response,
}

/// One plugin's part in an exchange.
#[derive(Debug)]
pub(crate) struct Filter {
    /// The plugin's root context.
    pub(crate) root: usize,
    /// The context's id; 0 before the guest knows of it.
    pub(crate) context: u32,
    /// The guest that knows the context.
    pub(crate) generation: u32,
    /// The plugin has failed and is passed by.
    pub(crate) bypassed: bool,
    /// Its local reply is on the way; there is no second one.
    pub(crate) replied: bool,
    /// The 503 of its failure is on the way, also where it has replied itself before.
    pub(crate) refused: bool,
    pub(crate) request: Flow,
    pub(crate) response: Flow,
}

/// One direction of a filter.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// Why later filters do not see what arrives.
    pub(crate) stop: Option<StopKind>,
    /// Headers went on to the next filter.
    pub(crate) headers_passed: bool,
    /// The headers' callback is running.
    pub(crate) in_headers: bool,
    /// The guest can reach the headers.
    pub(crate) map_open: bool,
    /// The trailers have come to this filter.
    pub(crate) trailers_came: bool,
    /// The trailers' callback has run.
    pub(crate) trailers_seen: bool,
    /// The guest can reach the trailers.
    pub(crate) trailers_open: bool,
    /// What the guest sees as the body.
    pub(crate) window: Buffer,
    /// The window outlives its callback.
    pub(crate) buffering: bool,
    /// A body callback is running.
    pub(crate) in_body: bool,
    /// Bytes kept aside: those that arrived during a full stop, or that a watermark stop holds.
    pub(crate) kept: Buffer,
    /// Something, even nothing but the end, waits in `window` or `kept`.
    pub(crate) waiting: bool,
    /// The end of the stream came with headers or data.
    pub(crate) end: bool,
    /// The last continue happened while nothing was stopped; the stop that followed it stays for ever.
    pub(crate) idle_continue: bool,
}

impl Filter {
    pub(crate) fn new(root: usize) -> Self {
        Self {
            root,
            context: 0,
            generation: 0,
            bypassed: false,
            replied: false,
            refused: false,
            request: Flow::default(),
            response: Flow::default(),
        }
    }

    pub(crate) const fn flow(&self, direction: Direction) -> &Flow {
        match direction {
            Direction::Request => &self.request,
            Direction::Response => &self.response,
        }
    }

    pub(crate) const fn flow_mut(&mut self, direction: Direction) -> &mut Flow {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }
}

impl Flow {
    /// Nothing at all reaches the filter until it continues.
    pub(crate) const fn stops_all(&self) -> bool {
        matches!(self.stop, Some(StopKind::AllBuffer | StopKind::AllWatermark))
    }

    /// The guest can read and change the body.
    pub(crate) const fn body_open(&self) -> bool {
        self.in_body || self.buffering
    }

    /// Bytes that wait in this filter.
    pub(crate) const fn backlog(&self) -> usize {
        self.window.len() + self.kept.len()
    }

    /// Takes everything that is held, in the order in which it came.
    pub(crate) fn release(&mut self) -> Buffer {
        let mut data = self.kept.take();
        data.append(self.window.take());
        self.buffering = false;
        self.waiting = false;
        data
    }

    /// Stops as a body callback has asked.
    pub(crate) fn hold(&mut self, kind: StopKind) {
        self.stop = Some(kind);
        match kind {
            StopKind::Buffer => {
                // What a watermark stop has kept aside is part of Envoy's one buffer.
                let mut all = self.kept.take();
                all.append(self.window.take());
                self.window = all;
                self.buffering = true;
                self.waiting = true;
            }
            StopKind::Watermark => {
                let window = self.window.take();
                self.kept.append(window);
                self.buffering = false;
                self.waiting = true;
            }
            _ => {
                drop(self.window.take());
                self.buffering = false;
                self.waiting |= self.end;
            }
        }
    }
}

/// A body, or a part of one, in the pieces in which it came.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Buffer {
    chunks: Vec<Bytes>,
    len: usize,
}

impl Buffer {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.len += bytes.len();
            self.chunks.push(bytes);
        }
    }

    /// Moves all of `other` behind what is here.
    pub(crate) fn append(&mut self, mut other: Self) {
        if self.is_empty() {
            *self = other;
        } else {
            self.len += other.len;
            self.chunks.append(&mut other.chunks);
        }
    }

    pub(crate) fn take(&mut self) -> Self {
        let taken = Self { chunks: std::mem::take(&mut self.chunks), len: self.len };
        self.len = 0;
        taken
    }

    pub(crate) fn into_chunks(self) -> Vec<Bytes> {
        self.chunks
    }

    /// Takes the first `count` bytes, or fewer if there are fewer.
    pub(crate) fn split_to(&mut self, count: usize) -> Self {
        let mut head = Self::default();
        let mut left = count.min(self.len);
        self.len -= left;
        let mut whole = 0;
        for chunk in &mut self.chunks {
            if chunk.len() > left {
                head.push(chunk.split_to(left));
                break;
            }
            left -= chunk.len();
            head.push(chunk.clone());
            whole += 1;
        }
        self.chunks.drain(..whole);
        head
    }

    /// The pieces of `start..start + len`, clamped to what is there.
    pub(crate) fn slices(&self, start: usize, len: usize) -> impl Iterator<Item = &[u8]> {
        let end = start.saturating_add(len).min(self.len);
        let mut at = 0usize;
        self.chunks.iter().filter_map(move |chunk| {
            let (from, to) = (start.max(at) - at, end.saturating_sub(at).min(chunk.len()));
            at += chunk.len();
            chunk.get(from..to).filter(|part| !part.is_empty())
        })
    }

    /// Replaces a range as `proxy_set_buffer_bytes` does: from 0 the first bytes, behind the end an append.
    ///
    /// `false` for a start in the middle, which Envoy refuses.
    pub(crate) fn replace(&mut self, start: usize, len: usize, with: &[u8]) -> bool {
        if start == 0 {
            let dropped = len.min(self.len);
            drop(self.split_to(dropped));
            if !with.is_empty() {
                self.chunks.insert(0, Bytes::copy_from_slice(with));
                self.len += with.len();
            }
            true
        } else if start >= self.len {
            self.push(Bytes::copy_from_slice(with));
            true
        } else {
            false
        }
    }
}

impl From<Bytes> for Buffer {
    fn from(bytes: Bytes) -> Self {
        let mut buffer = Self::default();
        buffer.push(bytes);
        buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(chunks: &[&'static str]) -> Buffer {
        let mut buffer = Buffer::default();
        for chunk in chunks {
            buffer.push(Bytes::from(*chunk));
        }
        buffer
    }

    fn text(buffer: &Buffer, start: usize, len: usize) -> String {
        String::from_utf8(buffer.slices(start, len).collect::<Vec<_>>().concat()).unwrap()
    }

    #[test]
    fn ranges_cross_chunks() {
        let whole = buffer(&["ab", "cde", "f"]);
        assert_eq!(text(&whole, 0, usize::MAX), "abcdef");
        assert_eq!(text(&whole, 1, 3), "bcd");
        assert_eq!(text(&whole, 2, 3), "cde");
        assert_eq!(text(&whole, 6, 3), "");
        assert_eq!(text(&whole, 9, 3), "");
    }

    #[test]
    fn replacing_follows_envoy() {
        let mut body = buffer(&["ab", "cde"]);
        assert!(body.replace(0, 0, b"X"), "prepend");
        assert_eq!(text(&body, 0, 99), "Xabcde");
        assert!(body.replace(0, 3, b"Y"), "a prefix");
        assert_eq!(text(&body, 0, 99), "Ycde");
        assert!(body.replace(4, 0, b"Z"), "append");
        assert_eq!(text(&body, 0, 99), "YcdeZ");
        assert!(!body.replace(2, 1, b"!"), "the middle is refused");
        assert!(body.replace(0, 99, b""), "everything");
        assert!(body.is_empty());
        assert!(body.replace(5, 0, b"new"));
        assert_eq!((text(&body, 0, 99).as_str(), body.len()), ("new", 3));
    }

    #[test]
    fn splitting_counts() {
        let mut body = buffer(&["ab", "cde"]);
        let head = body.split_to(3);
        assert_eq!((text(&head, 0, 9).as_str(), text(&body, 0, 9).as_str()), ("abc", "de"));
        assert_eq!((head.len(), body.len()), (3, 2));
        assert_eq!(body.split_to(9).len(), 2);
        assert!(body.is_empty());
    }
}
