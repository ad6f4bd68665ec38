//! Where recordings are kept: the latest exchanges of a proxy, over all its workers.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::secrets::Secrets;
use super::tape::{News, Purse, Tape};
use super::{Body, Data, End, Entry, Event, Point, Recording, Seen, What};

/// Exchanges that are kept.
const EXCHANGES: usize = 256;
/// Bytes that all of them may take, roughly.
const BYTES: usize = 8 << 20;
/// Entries that are kept of one exchange.
const ENTRIES: usize = 512;
/// Bytes that one exchange may take, roughly.
const SHARE: usize = BYTES / 16;
/// What an entry or an event takes beside its texts.
const OVERHEAD: usize = 96;

/// Keeps what happens to the latest exchanges, while it is switched on; within bounds, and without secrets.
#[derive(Debug, Default)]
pub struct Recorder {
    on: AtomicBool,
    kept: Mutex<Kept>,
    purse: Arc<Purse>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Without gaps in their serial numbers.
    recordings: VecDeque<Weighed>,
    secrets: Arc<Secrets>,
    serial: u64,
    version: u64,
    bytes: usize,
}

/// A recording with the bytes that it takes.
#[derive(Debug)]
struct Weighed {
    recording: Recording,
    bytes: usize,
}

impl Recorder {
    /// Whether new exchanges are recorded.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Records new exchanges from now on, or no more of them.
    pub fn switch(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }

    /// Says whose values are never kept; it counts for exchanges that begin later.
    pub fn protect(&self, secrets: Secrets) {
        self.kept().secrets = Arc::new(secrets);
    }

    /// Whose values are never kept.
    #[must_use]
    pub fn secrets(&self) -> Arc<Secrets> {
        Arc::clone(&self.kept().secrets)
    }

    /// Forgets all recordings.
    pub fn clear(&self) {
        let mut kept = self.kept();
        kept.recordings.clear();
        kept.bytes = 0;
        kept.version += 1;
    }

    /// The recordings that have changed since the recorder had this version, oldest exchange first, and the version that it
    /// has now; 0 asks for all of them.
    #[must_use]
    pub fn changed_since(&self, version: u64) -> (Vec<Recording>, u64) {
        let kept = self.kept();
        let changed = kept.recordings.iter().map(|weighed| &weighed.recording);
        (changed.filter(|recording| recording.version > version).cloned().collect(), kept.version)
    }

    /// Begins a recording, if it is wanted.
    pub(crate) fn begin(&self, listener: &Arc<str>, began: Duration) -> Option<Box<Tape>> {
        if !self.is_on() {
            return None;
        }
        let mut kept = self.kept();
        kept.serial += 1;
        kept.version += 1;
        let (serial, version) = (kept.serial, kept.version);
        let listener = Arc::clone(listener);
        let (entries, bodies) = (Vec::new(), Vec::new());
        let recording = Recording { serial, version, listener, began, entries, omitted: 0, bodies, end: None };
        kept.recordings.push_back(Weighed { recording, bytes: OVERHEAD });
        kept.bytes += OVERHEAD;
        kept.shrink();
        Some(Box::new(Tape::new(serial, Arc::clone(&kept.secrets), Arc::clone(&self.purse))))
    }

    /// Adds what has happened.
    pub(crate) fn add(&self, tape: &mut Tape, at: Duration, what: What) {
        let mut entry = Entry { at, what };
        tape.clean(&mut entry.what);
        let bytes = weight(&entry.what);
        self.kept().change(tape.serial, |weighed| {
            let recording = &mut weighed.recording;
            // A long body must not take the place of what comes behind it.
            let part = |whole: usize| if is_flow(&entry.what) { whole / 4 * 3 } else { whole };
            if recording.entries.len() >= part(ENTRIES) || weighed.bytes + bytes > part(SHARE) {
                recording.omitted += 1;
                return;
            }
            recording.entries.push(entry);
            weighed.bytes += bytes;
        });
    }

    /// A piece of a body has come to the chain, or leaves it.
    pub(crate) fn carry<'a>(&self, tape: &mut Tape, at: Duration, data: Data, pieces: impl Iterator<Item = &'a [u8]>) {
        self.add(tape, at, What::Data(data));
        self.listen(tape, Point::End(data.leg), pieces, data.end);
    }

    /// A piece of a body passes a point.
    pub(crate) fn listen<'a>(&self, tape: &mut Tape, point: Point, pieces: impl Iterator<Item = &'a [u8]>, end: bool) {
        match tape.listen(point, pieces, end) {
            Some(News::Seen(seen)) => self.kept().change(tape.serial, |weighed| weighed.see(seen)),
            Some(News::Longer(point, bytes, end)) => {
                self.kept().change(tape.serial, |weighed| weighed.grow(point, bytes, end));
            }
            None => {}
        }
    }

    /// Ends a recording.
    pub(crate) fn end(&self, tape: &mut Tape, mut end: End) {
        end.details = tape.text(&end.details);
        self.kept().change(tape.serial, |weighed| weighed.recording.end = Some(end));
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Changes a recording, if it is still there.
    fn change(&mut self, serial: u64, change: impl FnOnce(&mut Weighed)) {
        let Some(first) = self.recordings.front().map(|first| first.recording.serial) else { return };
        let place = serial.checked_sub(first).and_then(|place| usize::try_from(place).ok());
        let Some(weighed) = place.and_then(|place| self.recordings.get_mut(place)) else { return };
        let before = weighed.bytes;
        change(weighed);
        self.version += 1;
        weighed.recording.version = self.version;
        self.bytes = self.bytes - before + weighed.bytes;
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.recordings.len() > EXCHANGES || (self.bytes > BYTES && self.recordings.len() > 1) {
            let Some(oldest) = self.recordings.pop_front() else { break };
            self.bytes -= oldest.bytes;
        }
    }
}

impl Weighed {
    /// More of a body has come by than is kept.
    fn grow(&mut self, point: Point, bytes: u64, end: bool) {
        if let Some(seen) = self.recording.bodies.iter_mut().find(|seen| seen.point == point) {
            seen.body.omitted += bytes.saturating_sub(seen.body.bytes);
            seen.body.bytes = bytes;
            seen.body.end = end;
        }
    }

    /// Puts what is known of a body now in the place of what was known before.
    fn see(&mut self, mut seen: Seen) {
        let bodies = &mut self.recording.bodies;
        let place = bodies.binary_search_by_key(&seen.point.order(), |seen| seen.point.order());
        let before = place.ok().and_then(|place| bodies.get(place)).map_or(0, |seen| seen.body.weight() + OVERHEAD);
        if self.bytes - before + seen.body.weight() + OVERHEAD > SHARE {
            seen.body = Body::unkept(seen.body.bytes, seen.body.end, "too much of this exchange is kept".to_owned());
        }
        self.bytes = self.bytes - before + seen.body.weight() + OVERHEAD;
        match place.map(|place| bodies.get_mut(place)) {
            Ok(Some(known)) => *known = seen,
            Ok(None) => {}
            Err(place) => bodies.insert(place, seen),
        }
    }
}

/// Whether it is nothing but a piece of a body on its way.
fn is_flow(what: &What) -> bool {
    let body = |event: &Event| matches!(event, Event::Body { .. });
    match what {
        What::Data(_) => true,
        What::Step(step) => step.callback.is_data() && step.events.iter().all(body),
        _ => false,
    }
}

/// The bytes that an entry takes, roughly.
fn weight(what: &What) -> usize {
    let texts = match what {
        What::Message(message) | What::Trailers(message) => {
            message.headers.iter().map(|(name, value)| name.len() + value.len() + OVERHEAD / 2).sum()
        }
        What::Step(step) => step.events.iter().map(event_weight).sum::<usize>() + step.calls.len() * OVERHEAD / 4,
        What::Answer(answer) => {
            answer.cluster.len() + answer.result.len() + answer.body.as_ref().map_or(0, Body::weight)
        }
        What::Reply(reply) => reply.details.len(),
        What::Opened(opened) => {
            opened.tls.as_ref().map_or(0, |tls| tls.version.len() + tls.server_name.len() + tls.peer.len())
        }
        What::Connected | What::Data(_) => 0,
    };
    texts + OVERHEAD
}

fn event_weight(event: &Event) -> usize {
    let texts = match event {
        Event::HeaderSet { name, value, .. } => name.len() + value.len(),
        Event::HeaderRemoved { name, .. } => name.len(),
        Event::Asked { cluster, request, body } => {
            cluster.len() + request.len() + body.as_ref().map_or(0, Body::weight)
        }
        Event::NotAsked { cluster, .. } | Event::Sent { cluster, .. } | Event::GivenUp { cluster } => cluster.len(),
        Event::Stored { path, .. } => path.len(),
        Event::Reply(reply) => reply.details.len(),
        Event::Log { text, .. } => text.len(),
        Event::Body { .. } | Event::Continued { .. } | Event::Closed => 0,
    };
    texts + OVERHEAD
}
