//! Envoy's attributes: what the proxy knows of an exchange, its connections and itself, typed and with its time.
//!
//! ```
//! # use wasmplugin::{attributes, Flow, RequestHead, Result};
//! # fn on_request(request: &RequestHead) -> Result<Flow> {
//! let client = request.attribute(attributes::SOURCE_ADDRESS)?;
//! let namespace = request.attribute(attributes::NODE_METADATA.field::<String>("NAMESPACE"))?;
//! # Ok(Flow::Continue) }
//! ```
//!
//! Reading answers three things apart: `Ok(None)` where there is no such value now, `Ok(Some(..))` with an empty value
//! where the value is empty, and an error of the kind [`WrongPhase`](crate::error::ErrorKind::WrongPhase) where the
//! value never exists at this point of the exchange. Bytes that do not have the attribute's type are an error too.
//!
//! The table, as measured on Envoy 1.40; "HTTP" and "TCP" say where an attribute exists. `head` is the time in which a
//! message's headers are held, `body` the time after; a handler that has called `into_body` is in the body.
//!
//! | attributes | phases | |
//! |---|---|---|
//! | `PLUGIN_*`, `NODE_*` | everywhere, also while the plugin is configured | HTTP, TCP |
//! | `REQUEST_PATH` and all else that is made of request headers | request head, log | HTTP |
//! | `REQUEST_TIME`, `REQUEST_PROTOCOL`, `REQUEST_SIZE`, `REQUEST_TOTAL_SIZE` | everywhere in an exchange | HTTP; time and sizes TCP |
//! | `REQUEST_DURATION` | log | HTTP |
//! | `RESPONSE_BACKEND_LATENCY` | from the upstream's last byte on | HTTP |
//! | `RESPONSE_CODE`, `RESPONSE_CODE_DETAILS`, `RESPONSE_GRPC_STATUS` | from the response's head on | HTTP |
//! | `RESPONSE_FLAGS`, `RESPONSE_SIZE`, `RESPONSE_TOTAL_SIZE` | everywhere in an exchange | HTTP, TCP |
//! | `CONNECTION_*`, `SOURCE_*`, `DESTINATION_*` | everywhere in an exchange; the peer's certificate on TCP from the first bytes on | HTTP, TCP |
//! | `UPSTREAM_*`, `UPSTREAM_HOST_METADATA` | from the response's head on | HTTP, TCP from the first downstream bytes on |
//! | `ROUTE_*`, `VIRTUAL_HOST_*` | everywhere in an exchange | HTTP |
//! | `CLUSTER_*`, `LISTENER_*`, `FILTER_CHAIN_NAME`, `DYNAMIC_METADATA` | everywhere in an exchange | HTTP, TCP |
//!
//! # Limits
//!
//! * What a listener is called is not told; its direction and metadata are.
//! * Dynamic metadata can be read, but a plugin cannot write it: Envoy has no call for that. Plugins hand values on in
//!   [filter state](crate::filter_state).
//! * A value that is null, and a map or list with a null in it, cannot be read: Envoy answers with an error.
//! * Of several names in a certificate only the first is told.
//! * `xds.*` has existed since Envoy 1.33. On older proxies the names without `xds.` are used; which ones a host has is
//!   looked up once.
//! * The whole `xds.node` is some 60 KB; read its fields.

mod table;
mod value;

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use crate::error::{Error, ErrorKind, Result};
use crate::sys::{self, HostError, Status};

pub use crate::phase::{Phase, Phases};
pub use table::*;
pub use value::{Address, Map, Timestamp, Value};

/// The prefix of the attributes about the proxy's configuration, which had none before Envoy 1.33.
const XDS: &str = "xds\0";

/// An attribute: where it is found, when it exists, and of what type it is.
///
/// The constants of this module are Envoy's own; [`named`](Self::named) makes any other.
#[derive(Clone)]
pub struct Attribute<T> {
    /// The segments, separated by NUL.
    path: Cow<'static, str>,
    phases: Phases,
    of: PhantomData<fn() -> T>,
}

impl<T: Value> Attribute<T> {
    /// An attribute that has no constant here; its segments are separated by NUL, such as `request\0path`.
    #[must_use]
    pub const fn named(path: &'static str, phases: Phases) -> Self {
        Self { path: Cow::Borrowed(path), phases, of: PhantomData }
    }

    /// What lies one segment deeper: the field of a message, the value of a map, or an item of a list by its number.
    #[must_use]
    pub fn field<U: Value>(self, name: &str) -> Attribute<U> {
        let mut path = self.path.into_owned();
        path.push('\0');
        path.push_str(name);
        Attribute { path: Cow::Owned(path), phases: self.phases, of: PhantomData }
    }

    /// The phases in which it exists.
    #[must_use]
    pub const fn phases(&self) -> Phases {
        self.phases
    }

    /// Reads it where no exchange is at hand: while the plugin is configured, in a timer. Where one is, ask that:
    /// it knows in which phase it is.
    pub fn read(&self) -> Result<Option<T>> {
        self.decode(read(&self.path)?)
    }

    pub(crate) fn read_in(&self, phase: Phase) -> Result<Option<T>> {
        self.decode(read_in(&self.path, self.phases, phase)?)
    }

    fn decode(&self, bytes: Option<Vec<u8>>) -> Result<Option<T>> {
        match bytes {
            None => Ok(None),
            Some(bytes) => T::decode(bytes).map(Some).ok_or_else(|| malformed(&self.path, T::WHAT)),
        }
    }
}

// What does not depend on the type is compiled once.

fn read(path: &str) -> Result<Option<Vec<u8>>> {
    match sys::property(path) {
        Err(HostError { status: Status::NOT_FOUND, .. }) => Ok(read_old_name(path)?),
        answer => Ok(Some(answer?)),
    }
}

fn read_in(path: &str, phases: Phases, phase: Phase) -> Result<Option<Vec<u8>>> {
    match read(path)? {
        None if !phases.contains(phase) => Err(ErrorKind::WrongPhase { attribute: shown(path), phases }.into()),
        value => Ok(value),
    }
}

/// Looks under the name that the attribute had before Envoy 1.33, on a host that has no newer ones.
fn read_old_name(path: &str) -> sys::Result<Option<Vec<u8>>> {
    match path.strip_prefix(XDS) {
        Some(old) if !knows_xds() => match sys::property(old) {
            Err(HostError { status: Status::NOT_FOUND, .. }) => Ok(None),
            answer => answer.map(Some),
        },
        _ => Ok(None),
    }
}

fn malformed(path: &str, what: &str) -> Error {
    Error::malformed(format!("the attribute `{}` is not {what}", shown(path)))
}

/// A path as people write it.
fn shown(path: &str) -> String {
    path.replace('\0', ".")
}

/// Whether the host has the names of Envoy 1.33 and later; asked once.
fn knows_xds() -> bool {
    thread_local! {
        static KNOWN: Cell<Option<bool>> = const { Cell::new(None) };
    }
    KNOWN.with(|known| {
        known.get().unwrap_or_else(|| {
            let knows = sys::property("xds\0node\0id").is_ok();
            known.set(Some(knows));
            knows
        })
    })
}

impl<T> fmt::Display for Attribute<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.path))
    }
}

impl<T> fmt::Debug for Attribute<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attribute").field("path", &self.to_string()).field("phases", &self.phases).finish()
    }
}

/// Reading attributes in a phase that the type knows; `$this` makes the exchange the active one.
macro_rules! attribute_methods {
    ($phase:ident, |$this:ident| $focus:expr) => {
        /// What the proxy knows of this exchange or connection; see [`attributes`](crate::attributes) for the answers that there are.
        pub fn attribute<T: $crate::attributes::Value>(
            &self,
            attribute: $crate::attributes::Attribute<T>,
        ) -> $crate::error::Result<Option<T>> {
            let $this = self;
            $focus?;
            attribute.read_in($crate::attributes::Phase::$phase)
        }

        /// An object that a plugin has left with this exchange or connection; `None` where there is none.
        pub fn filter_state(&self, key: &$crate::filter_state::FilterState) -> $crate::error::Result<Option<Vec<u8>>> {
            let $this = self;
            $focus?;
            key.read()
        }

        /// Leaves an object with this exchange or connection, for the plugins and the access log behind this one.
        pub fn set_filter_state(
            &self,
            key: &$crate::filter_state::FilterState,
            value: impl AsRef<[u8]>,
        ) -> $crate::error::Result<()> {
            let $this = self;
            $focus?;
            key.write(value.as_ref())
        }

        /// Makes one of the objects that Envoy's own filters read, such as `envoy.upstream.dynamic_host`.
        ///
        /// Only names that the proxy has a factory for can be made; other filters' objects, Istio's among them, cannot.
        pub fn set_envoy_object(&self, name: &str, value: &str) -> $crate::error::Result<()> {
            let $this = self;
            $focus?;
            $crate::filter_state::make(name, value)
        }
    };
}
pub(crate) use attribute_methods;
