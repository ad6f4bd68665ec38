//! Where recordings are kept: the latest exchanges of a proxy, over all its workers.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::secrets::{Redactor, Secrets};
use super::{Decision, End, Entry, Event, Recording, Reply, Step, What};

/// Exchanges that are kept.
const EXCHANGES: usize = 256;
/// Bytes that all of them may take, roughly.
const BYTES: usize = 8 << 20;
/// Entries that are kept of one exchange.
const ENTRIES: usize = 512;
/// Bytes that one exchange may take, roughly.
const SHARE: usize = BYTES / 16;
/// Bytes of one value or line.
const TEXT: usize = 2048;
/// What an entry or an event takes beside its texts.
const OVERHEAD: usize = 96;

/// Keeps what happens to the latest exchanges, while it is switched on; within bounds, and without secrets.
#[derive(Debug, Default)]
pub struct Recorder {
    on: AtomicBool,
    kept: Mutex<Kept>,
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

/// What an exchange that is recorded carries along.
#[derive(Debug)]
pub(crate) struct Tape {
    serial: u64,
    secrets: Arc<Secrets>,
    redactor: Redactor,
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
        let recording = Recording { serial, version, listener, began, entries: Vec::new(), omitted: 0, end: None };
        kept.recordings.push_back(Weighed { recording, bytes: OVERHEAD });
        kept.bytes += OVERHEAD;
        kept.shrink();
        Some(Box::new(Tape { serial, secrets: Arc::clone(&kept.secrets), redactor: Redactor::default() }))
    }

    /// Adds what has happened.
    pub(crate) fn add(&self, tape: &mut Tape, at: Duration, what: What) {
        let mut entry = Entry { at, what };
        tape.clean(&mut entry.what);
        let bytes = weight(&entry.what);
        self.kept().change(tape.serial, |weighed| {
            let recording = &mut weighed.recording;
            if recording.entries.len() >= ENTRIES || weighed.bytes + bytes > SHARE {
                recording.omitted += 1;
                return;
            }
            recording.entries.push(entry);
            weighed.bytes += bytes;
        });
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
        self.bytes += weighed.bytes - before;
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.recordings.len() > EXCHANGES || (self.bytes > BYTES && self.recordings.len() > 1) {
            let Some(oldest) = self.recordings.pop_front() else { break };
            self.bytes -= oldest.bytes;
        }
    }
}

impl Tape {
    fn text(&mut self, text: &str) -> String {
        shortened(self.redactor.text(&self.secrets, text))
    }

    fn field(&mut self, name: &str, value: &str) -> String {
        shortened(self.redactor.field(&self.secrets, name, value))
    }

    /// Takes out what must not be kept.
    fn clean(&mut self, what: &mut What) {
        match what {
            What::Message(message) => {
                // First those with secrets, which then are found in the others.
                for secret in [true, false] {
                    for (name, value) in &mut message.headers {
                        if self.secrets.holds(name) == secret {
                            *value = self.field(name, value);
                        }
                    }
                }
            }
            What::Step(step) => self.clean_step(step),
            What::Answer(answer) => answer.result = self.text(&answer.result),
            What::Reply(reply) => self.clean_reply(reply),
        }
    }

    fn clean_step(&mut self, step: &mut Step) {
        for event in &mut step.events {
            match event {
                Event::HeaderSet { name, value, .. } => *value = self.field(name, value),
                Event::Asked { request, .. } => *request = self.text(request),
                Event::Stored { path, .. } => *path = self.text(path),
                Event::Reply(reply) => self.clean_reply(reply),
                Event::Log { text, .. } => *text = self.text(text),
                Event::HeaderRemoved { .. }
                | Event::Body { .. }
                | Event::NotAsked { .. }
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

/// The bytes that an entry takes, roughly.
fn weight(what: &What) -> usize {
    let texts = match what {
        What::Message(message) => {
            message.headers.iter().map(|(name, value)| name.len() + value.len() + OVERHEAD / 2).sum()
        }
        What::Step(step) => step.events.iter().map(event_weight).sum::<usize>() + step.calls.len() * OVERHEAD / 4,
        What::Answer(answer) => answer.cluster.len() + answer.result.len(),
        What::Reply(reply) => reply.details.len(),
    };
    texts + OVERHEAD
}

fn event_weight(event: &Event) -> usize {
    let texts = match event {
        Event::HeaderSet { name, value, .. } => name.len() + value.len(),
        Event::HeaderRemoved { name, .. } => name.len(),
        Event::Asked { cluster, request } => cluster.len() + request.len(),
        Event::NotAsked { cluster, .. } => cluster.len(),
        Event::Stored { path, .. } => path.len(),
        Event::Reply(reply) => reply.details.len(),
        Event::Log { text, .. } => text.len(),
        Event::Body { .. } | Event::Continued { .. } | Event::Closed => 0,
    };
    texts + OVERHEAD
}
