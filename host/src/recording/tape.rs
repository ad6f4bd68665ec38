//! What an exchange that is recorded carries along: what is secret in it, and the beginnings of its bodies as they came.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::body::{BEGINNING, encoding, unreadable};
use super::redactor::Redactor;
use super::secrets::Secrets;
use super::{Body, Decision, Event, Leg, Point, Reply, Seen, Step, What};

/// Bytes of bodies under way that all exchanges of a proxy together hold as they came.
const RAW: usize = 8 << 20;
/// Bytes of one value or line.
const TEXT: usize = 2048;

/// What an exchange that is recorded carries along; it is gone when the exchange has ended.
#[derive(Debug)]
pub(crate) struct Tape {
    pub(super) serial: u64,
    secrets: Arc<Secrets>,
    redactor: Redactor,
    streams: Vec<Stream>,
    /// Where a body was changed, and by which plugin.
    changes: Vec<(Point, Arc<str>)>,
    /// How the body of each leg is packed, if it is.
    encodings: Vec<(Leg, String)>,
    purse: Arc<Purse>,
}

/// One body at one point.
#[derive(Debug)]
struct Stream {
    point: Point,
    /// How it begins, as it came.
    raw: Vec<u8>,
    bytes: u64,
    end: bool,
    /// How much of `raw` is shown by what was told last; nothing before anything was.
    shown: Option<usize>,
}

impl Stream {
    /// Whether its beginning is to be shown anew: what came in small pieces is not cleaned with each of them.
    fn is_due(&self) -> bool {
        let Some(shown) = self.shown else { return true };
        let more = self.raw.len() > shown;
        more && (self.end || self.raw.len() >= BEGINNING.min(shown * 2)) || self.end && !self.has_gap()
    }

    /// Whether bytes have come by that were not kept.
    fn has_gap(&self) -> bool {
        self.raw.len() as u64 != self.bytes
    }
}

/// What is to be told of a body at one point.
#[derive(Debug)]
pub(super) enum News {
    /// All that is known of it.
    Seen(Seen),
    /// That so many bytes of it have come by, and whether this was all; what it begins with is known.
    Longer(Point, u64, bool),
}

/// How many bytes all tapes of a recorder hold.
#[derive(Debug, Default)]
pub(super) struct Purse(AtomicUsize);

impl Purse {
    /// As many bytes of these as there is room for.
    fn lend(&self, wanted: usize) -> usize {
        let lent = |held: usize| held.saturating_add(wanted).min(RAW);
        let held = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| Some(lent(held)));
        held.map_or(0, |held| lent(held).saturating_sub(held))
    }

    fn take_back(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        self.purse.take_back(self.held());
    }
}

impl Tape {
    pub(super) fn new(serial: u64, secrets: Arc<Secrets>, purse: Arc<Purse>) -> Self {
        let redactor = Redactor::default();
        Self { serial, secrets, redactor, streams: Vec::new(), changes: Vec::new(), encodings: Vec::new(), purse }
    }

    /// A piece of a body comes by. What is now to be told of that body there, if it is to be told.
    pub(super) fn listen<'a>(
        &mut self,
        point: Point,
        pieces: impl Iterator<Item = &'a [u8]>,
        end: bool,
    ) -> Option<News> {
        let plugin = match point {
            Point::End(_) => Some("".into()),
            Point::Behind { .. } => {
                self.changes.iter().find(|(changed, _)| *changed == point).map(|(_, plugin)| Arc::clone(plugin))
            }
        };
        let stream = match self.streams.iter_mut().position(|stream| stream.point == point) {
            Some(known) => self.streams.get_mut(known)?,
            None => self.streams.push_mut(Stream { point, raw: Vec::new(), bytes: 0, end: false, shown: None }),
        };
        for piece in pieces {
            // Nothing is kept behind a gap.
            let room = if stream.has_gap() { 0 } else { BEGINNING.saturating_sub(stream.raw.len()).min(piece.len()) };
            let lent = if room > 0 { self.purse.lend(room) } else { 0 };
            stream.raw.extend_from_slice(piece.get(..lent).unwrap_or_default());
            stream.bytes += piece.len() as u64;
        }
        stream.end |= end;
        let plugin = plugin?;
        let (bytes, end) = (stream.bytes, stream.end);
        if !stream.is_due() {
            return Some(News::Longer(point, bytes, end));
        }
        stream.shown = Some(stream.raw.len());
        let leg = match point {
            Point::End(leg) => leg,
            Point::Behind { response: false, .. } => Leg::RequestIn,
            Point::Behind { response: true, .. } => Leg::ResponseIn,
        };
        let packed = self.encodings.iter().find(|(known, _)| *known == leg).map(|(_, encoding)| encoding);
        let body = match packed {
            Some(encoding) if bytes > 0 => Body::unkept(bytes, end, unreadable(encoding)),
            _ => {
                let mut body = Body::begun(stream.raw.clone(), bytes, end);
                self.redactor.body(&self.secrets, &mut body);
                body
            }
        };
        Some(News::Seen(Seen { point, plugin, body }))
    }

    /// The bytes of bodies that it holds as they came.
    pub(super) fn held(&self) -> usize {
        self.streams.iter().map(|stream| stream.raw.len()).sum()
    }

    /// The bytes that came to and left the chain in one direction.
    pub(crate) fn bytes(&self, response: bool) -> (u64, u64) {
        let (came, left) =
            if response { (Leg::ResponseIn, Leg::ResponseOut) } else { (Leg::RequestIn, Leg::RequestOut) };
        let bytes = |leg| self.streams.iter().find(|stream| stream.point == Point::End(leg));
        (bytes(came).map_or(0, |stream| stream.bytes), bytes(left).map_or(0, |stream| stream.bytes))
    }

    /// A text, without secrets and not too long.
    pub(super) fn text(&mut self, text: &str) -> String {
        shortened(self.redactor.text(&self.secrets, text))
    }

    fn field(&mut self, name: &str, value: &str) -> String {
        shortened(self.redactor.field(&self.secrets, name, value))
    }

    /// Takes out what must not be kept.
    pub(super) fn clean(&mut self, what: &mut What) {
        match what {
            What::Message(message) => {
                if let Some(encoding) = encoding(|name| message.header(name)) {
                    self.encodings.push((message.leg, encoding.to_owned()));
                }
                self.clean_fields(&mut message.headers);
            }
            What::Trailers(trailers) => self.clean_fields(&mut trailers.headers),
            What::Step(step) => self.clean_step(step),
            What::Answer(answer) => {
                answer.result = self.text(&answer.result);
                if let Some(body) = &mut answer.body {
                    self.redactor.body(&self.secrets, body);
                }
            }
            What::Reply(reply) => self.clean_reply(reply),
            What::Opened(opened) => {
                if let Some(tls) = &mut opened.tls {
                    tls.server_name = self.text(&tls.server_name);
                    tls.peer = self.text(&tls.peer);
                }
            }
            What::Connected | What::Data(_) => {}
        }
    }

    fn clean_fields(&mut self, fields: &mut [(String, String)]) {
        // First those with secrets, which then are found in the others.
        for secret in [true, false] {
            for (name, value) in &mut *fields {
                if self.secrets.holds(name) == secret {
                    *value = self.field(name, value);
                }
            }
        }
    }

    fn clean_step(&mut self, step: &mut Step) {
        for event in &mut step.events {
            match event {
                Event::HeaderSet { name, value, .. } => *value = self.field(name, value),
                Event::Asked { request, body, .. } => {
                    *request = self.text(request);
                    if let Some(body) = body {
                        self.redactor.body(&self.secrets, body);
                    }
                }
                Event::Stored { path, .. } => *path = self.text(path),
                Event::Reply(reply) => self.clean_reply(reply),
                Event::Log { text, .. } => *text = self.text(text),
                Event::Body { response, .. } => {
                    let point = Point::Behind { place: step.place, response: *response };
                    if !self.changes.iter().any(|(known, _)| *known == point) {
                        self.changes.push((point, Arc::clone(&step.plugin)));
                    }
                }
                Event::HeaderRemoved { .. }
                | Event::NotAsked { .. }
                | Event::Sent { .. }
                | Event::GivenUp { .. }
                | Event::Continued { .. }
                | Event::Closed => {}
            }
        }
        if let Decision::Traps(reason) = &mut step.decision {
            *reason = self.text(reason);
        }
    }

    fn clean_reply(&mut self, reply: &mut Reply) {
        reply.details = self.text(&reply.details);
    }
}

/// The beginning of a long text.
fn shortened(mut text: String) -> String {
    if text.len() > TEXT {
        let whole = text.len();
        text.truncate(text.floor_char_boundary(TEXT));
        text.push_str(&format!("… ({} bytes more)", whole - text.len()));
    }
    text
}
