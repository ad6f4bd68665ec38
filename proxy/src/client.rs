//! What is known about one client's connection.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use hyper::Version;
use tokio::task::AbortHandle;
use wasmplugin_host::worker::{Connection, Protocol, Tls};

use crate::stats::ListenerStats;

/// How a request comes in, as far as its headers tell it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arrival {
    /// Over TLS.
    pub(crate) secure: bool,
    /// What the client's certificate says, in the words of `x-forwarded-client-cert`.
    pub(crate) certificate: Option<String>,
}

/// One client's connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: u64,
    source: Option<SocketAddr>,
    destination: Option<SocketAddr>,
    /// Exchanges under way.
    active: Cell<u32>,
    /// Since when bytes of a request's headers have been coming, as long as they are not complete.
    pub(crate) head_since: Cell<Option<Instant>>,
    /// Whether bytes outside of exchanges are the headers of the next request.
    watch: Cell<bool>,
    idle_since: Cell<Instant>,
    pub(crate) task: RefCell<Option<AbortHandle>>,
    /// What the TLS handshake told.
    pub(crate) tls: RefCell<Option<Tls>>,
    /// What is counted about its listener.
    pub(crate) stats: RefCell<Option<Arc<ListenerStats>>>,
}

impl Client {
    pub(crate) fn new(id: u64, source: Option<SocketAddr>, destination: Option<SocketAddr>) -> Self {
        Self {
            id,
            source,
            destination,
            active: Cell::new(0),
            head_since: Cell::new(None),
            watch: Cell::new(true),
            idle_since: Cell::new(Instant::now()),
            task: RefCell::default(),
            tls: RefCell::default(),
            stats: RefCell::default(),
        }
    }

    /// Since when nothing has been asked, if nothing is under way.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        (self.active.get() == 0).then(|| self.idle_since.get())
    }

    /// Bytes have come: headers begin with them, unless they belong to something else.
    pub(crate) fn bytes_came(&self) {
        if self.watch.get() && self.active.get() == 0 {
            self.head_begins();
        }
    }

    /// The headers of a request begin, or go on.
    pub(crate) fn head_begins(&self) {
        if self.head_since.get().is_none() {
            self.head_since.set(Some(Instant::now()));
        }
    }

    /// From now on bytes outside of exchanges may be anything.
    pub(crate) fn unwatch(&self) {
        self.watch.set(false);
        self.head_since.set(None);
    }

    /// Ends the connection, whatever is under way.
    pub(crate) fn cut_off(&self) {
        if let Some(task) = self.task.borrow().as_ref() {
            task.abort();
        }
    }

    pub(crate) fn request_begins(&self) {
        self.head_since.set(None);
        self.active.set(self.active.get() + 1);
    }

    pub(crate) fn request_ends(&self) {
        self.active.set(self.active.get().saturating_sub(1));
        self.idle_since.set(Instant::now());
    }

    /// What plugins can learn about the connection.
    pub(crate) fn facts(&self, version: Version) -> Connection {
        let protocol = match version {
            Version::HTTP_2 => Protocol::Http2,
            Version::HTTP_11 => Protocol::Http11,
            _ => Protocol::Http10,
        };
        let tls = self.tls.borrow().clone();
        Connection { id: self.id, source: self.source, destination: self.destination, protocol, tls }
    }

    /// How requests of this client come in; `inbound` at the workload's own door.
    pub(crate) fn arrival(&self, inbound: bool) -> Arrival {
        let tls = self.tls.borrow();
        let certificate = tls.as_ref().filter(|tls| inbound && tls.mutual).map(|tls| {
            let by = tls.local_uris.first().map(|uri| format!("By={uri};")).unwrap_or_default();
            let uris: String = tls.peer_uris.iter().map(|uri| format!(";URI={uri}")).collect();
            let subject = tls.peer_subject.replace('"', "\\\"");
            format!("{by}Hash={};Subject=\"{subject}\"{uris}", tls.peer_digest)
        });
        Arrival { secure: tls.is_some(), certificate }
    }
}
