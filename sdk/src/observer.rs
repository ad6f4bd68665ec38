//! Plugins that watch HTTP exchanges and TCP connections and never hold anything up: telemetry.
//!
//! An observer sees the same moments of both, and reads into memory that it keeps, so that a stream costs it no
//! allocation. It can neither wait nor answer: what it makes of a stream, it makes at once.
//!
//! ```
//! use std::cell::RefCell;
//!
//! use wasmplugin::metrics::Counter;
//! use wasmplugin::observer::{Observer, Stream};
//!
//! struct Resets {
//!     resets: Counter,
//!     flags: RefCell<Vec<u8>>,
//! }
//!
//! impl Observer for Resets {
//!     fn on_log(&self, stream: Stream) {
//!         let mut flags = self.flags.borrow_mut();
//!         if stream.property_into("response\0flags", &mut flags) && flags.iter().any(|byte| *byte != 0) {
//!             self.resets.inc(1);
//!         }
//!     }
//! }
//!
//! wasmplugin::plugin!(Resets { resets: Counter::new("resets"), flags: RefCell::default() }: Observer);
//! # fn main() {}
//! ```

use std::rc::Rc;
use std::time::Duration;

use crate::background::supervise;
use crate::error::Result;
use crate::log_entry::LogEntry;
use crate::plugin::{Configured, Instance, Past};
use crate::stream::{Action, Stream as Kept};
use crate::sys::{self, BufferKind, MapKind};
use crate::{dispatch, machinery, runtime, time};

/// A plugin that watches; implement what you need.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an observer yet",
    note = "implement `wasmplugin::observer::Observer` for it: `impl Observer for {Self} {{}}`"
)]
pub trait Observer: Sized + 'static {
    /// A request's headers pass; with `end`, nothing follows them. Of a request that a filter before this one has answered, only
    /// the end is seen.
    fn on_request(&self, stream: Stream, end: bool) {
        let _ = (stream, end);
    }

    /// So many bytes of a body pass, readable through [`Stream::body_into`] meanwhile.
    fn on_body(&self, stream: Stream, part: Part, size: usize) {
        let _ = (stream, part, size);
    }

    /// A TCP client has connected.
    fn on_connection(&self, stream: Stream) {
        let _ = stream;
    }

    /// The exchange or connection is over; its number may be used again after this.
    fn on_log(&self, stream: Stream) {
        let _ = stream;
    }

    /// How often [`on_tick`](Self::on_tick) is called; 0, unless overridden, is never.
    fn period(&self) -> Duration {
        Duration::ZERO
    }

    /// Time has passed. Streams that are not over can be looked at, but for their headers and bodies.
    fn on_tick(&self) {}
}

/// Which message of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Part {
    Request,
    Response,
}

/// An HTTP exchange or a TCP connection, by the number that the host gives it.
///
/// One that is over answers nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stream {
    id: u32,
}

impl Stream {
    /// The stream of that number.
    #[must_use]
    pub const fn of(id: u32) -> Self {
        Self { id }
    }

    /// Its number, different from those of all streams that are not over.
    #[must_use]
    pub const fn id(self) -> u32 {
        self.id
    }

    /// Reads an attribute, whose segments are separated by NUL; whether there is one. [`attributes`](crate::attributes)
    /// tells which there are and when.
    pub fn property_into(self, path: &str, out: &mut Vec<u8>) -> bool {
        self.read(out, |out| sys::property_into(path, out))
    }

    /// Reads the first line of that name in a header map; whether there is one.
    pub fn header_into(self, kind: MapKind, name: &str, out: &mut Vec<u8>) -> bool {
        self.read(out, |out| sys::header_map_value_into(kind, name, out))
    }

    /// Reads at most `max` bytes of what passes, from byte `start` on; whether they can be read.
    pub fn body_into(self, part: Part, start: usize, max: usize, out: &mut Vec<u8>) -> bool {
        let kind = match part {
            Part::Request => BufferKind::RequestBody,
            Part::Response => BufferKind::ResponseBody,
        };
        self.read(out, |out| sys::buffer_bytes_into(kind, start, max, out))
    }

    fn read(self, out: &mut Vec<u8>, read: impl FnOnce(&mut Vec<u8>) -> sys::Result<()>) -> bool {
        let read = runtime::focus(self.id).and_then(|()| read(out));
        if read.is_err() {
            out.clear();
        }
        read.is_ok()
    }
}

/// Puts an observer behind the dispatcher.
pub(crate) fn configured<P: Observer>(plugin: P) -> Configured {
    machinery::body_passes::used(body_passes);
    Configured(Rc::new(Adapter(Rc::new(plugin))))
}

/// A piece of a body passes that no handler works on.
fn body_passes(context: u32, body: BufferKind, size: usize) {
    runtime::enter(context);
    let (root, instance) = dispatch::plugin_of(context);
    runtime::enter_root(root);
    if let Some(instance) = instance {
        instance.0.body_passes(context, body, size);
    }
}

/// Makes an observer an [`Instance`].
struct Adapter<P>(Rc<P>);

impl<P: Observer> Instance for Adapter<P> {
    fn request_headers(&self, context: u32, _root: u32, end: bool) -> (Action, Option<Rc<dyn Kept>>) {
        self.0.on_request(Stream::of(context), end);
        (Action::Continue, None)
    }

    fn response_headers(&self, _context: u32, _past: Past<'_>, _end: bool) -> Action {
        Action::Continue
    }

    fn body_passes(&self, context: u32, body: BufferKind, size: usize) {
        let part = if body == BufferKind::RequestBody { Part::Request } else { Part::Response };
        self.0.on_body(Stream::of(context), part, size);
    }

    fn new_connection(&self, context: u32, _root: u32) -> (Action, Option<Rc<dyn Kept>>) {
        self.0.on_connection(Stream::of(context));
        (Action::Continue, None)
    }

    fn log(&self, context: u32, _entry: &LogEntry) {
        self.0.on_log(Stream::of(context));
    }

    fn begin(&self, root: u32) -> bool {
        self.0.period().is_zero() || supervise(root, Rc::clone(&self.0), watch)
    }
}

async fn watch<P: Observer>(plugin: Rc<P>) -> Result<()> {
    let root = runtime::root();
    loop {
        time::sleep(plugin.period()).await;
        plugin.on_tick();
        // The next timer is the root's, whatever streams were looked at.
        runtime::focus(root)?;
    }
}
