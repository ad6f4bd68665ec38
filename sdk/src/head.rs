//! The headers of a request or a response while the plugin may still change them.

use std::cell::OnceCell;
use std::fmt;

use crate::attributes::attribute_methods;
use crate::error::{Error, Result};
use crate::filter_state;
use crate::headers::{Headers, check_line};
use crate::runtime;
use crate::sys::{self, MapKind};

/// One map of an exchange: read once, written through.
struct Map {
    context: u32,
    kind: MapKind,
    lines: OnceCell<Headers>,
}

impl Map {
    fn new(context: u32, kind: MapKind) -> Self {
        Self { context, kind, lines: OnceCell::new() }
    }

    fn read(&self) -> Result<&Headers> {
        if let Some(lines) = self.lines.get() {
            return Ok(lines);
        }
        runtime::focus(self.context)?;
        let lines = Headers::read(self.kind)?;
        Ok(self.lines.get_or_init(|| lines))
    }

    fn write(&mut self, call: impl FnOnce(MapKind) -> sys::Result<()>) -> Result<()> {
        runtime::focus(self.context)?;
        self.lines.take();
        Ok(call(self.kind)?)
    }

    fn set(&mut self, name: &str, value: &[u8]) -> Result<()> {
        check_line(name, value)?;
        self.write(|kind| sys::replace_header_map_value(kind, name, value))
    }

    fn append(&mut self, name: &str, value: &[u8]) -> Result<()> {
        check_line(name, value)?;
        self.write(|kind| sys::add_header_map_value(kind, name, value))
    }

    fn remove(&mut self, name: &str) -> Result<()> {
        self.write(|kind| sys::remove_header_map_value(kind, name))
    }
}

macro_rules! map_methods {
    ($what:literal) => {
        #[doc = concat!("All lines of the ", $what, ", read from the host once and again only after a change.")]
        pub fn headers(&self) -> Result<&Headers> {
            self.map.read()
        }

        /// Puts one line in the place of all lines of that name.
        pub fn set_header(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<()> {
            self.map.set(name, value.as_ref())
        }

        /// Adds a line; for the names that Envoy keeps as one line it joins the values with a comma.
        pub fn append_header(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<()> {
            self.map.append(name, value.as_ref())
        }

        /// Takes all lines of a name out.
        pub fn remove_header(&mut self, name: &str) -> Result<()> {
            self.map.remove(name)
        }

        /// Makes the next host call act on this exchange.
        #[allow(dead_code, reason = "not every map is asked for more than its lines")]
        pub(crate) fn focus_map(&self) -> Result<()> {
            Ok(runtime::focus(self.map.context)?)
        }
    };
}

/// The head of a request: its pseudo headers and its header lines.
pub struct RequestHead {
    map: Map,
}

impl RequestHead {
    pub(crate) fn new(context: u32) -> Self {
        Self { map: Map::new(context, MapKind::RequestHeaders) }
    }

    map_methods!("request's head");

    attribute_methods!(RequestHead, |head| runtime::focus(head.map.context));

    /// The number that the proxy gives the exchange: the worker's other exchanges have others until this one was logged. By
    /// it a plugin without a handler keeps what it wants to know again in
    /// [`on_response`](crate::Http::on_response), and forgets it in [`on_log`](crate::Http::on_log).
    #[must_use]
    pub fn id(&self) -> u32 {
        self.map.context
    }

    /// Has the proxy choose the route again, from the headers as they are then.
    ///
    /// Up to version 0.2.1 of the ABI, the newest that there is, Envoy does so after every change of a request header;
    /// this says it, for the reader and for hosts that do not. Until the request leaves the plugins, attributes tell the
    /// old route. An error of the kind [`Unsupported`](crate::error::ErrorKind::Unsupported) on a host that cannot.
    pub fn clear_route_cache(&mut self) -> Result<()> {
        runtime::focus(self.map.context)?;
        filter_state::clear_route_cache()
    }

    /// The method, such as `GET`.
    pub fn method(&self) -> Result<&str> {
        self.pseudo(":method")
    }

    /// The path with its query, as the client sent it.
    pub fn path(&self) -> Result<&str> {
        self.pseudo(":path")
    }

    /// The host that the client asked for, with its port if it named one.
    pub fn authority(&self) -> Result<&str> {
        self.pseudo(":authority")
    }

    /// Makes the exchange the one that further host calls are about.
    #[cfg(feature = "json")]
    pub(crate) fn focus(&self) -> Result<()> {
        Ok(runtime::focus(self.map.context)?)
    }

    fn pseudo(&self, name: &str) -> Result<&str> {
        self.headers()?.get(name).ok_or_else(|| Error::malformed(format!("the request has no `{name}`")))?.to_str()
    }
}

/// The head of a response: its status and its header lines.
pub struct ResponseHead {
    map: Map,
}

impl ResponseHead {
    pub(crate) fn new(context: u32) -> Self {
        Self { map: Map::new(context, MapKind::ResponseHeaders) }
    }

    map_methods!("response's head");

    attribute_methods!(ResponseHead, |head| runtime::focus(head.map.context));

    /// The number of the exchange, as [`RequestHead::id`] has told it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.map.context
    }

    /// The HTTP status.
    pub fn status(&self) -> Result<u16> {
        status(self.headers()?)
    }

    /// Changes the HTTP status.
    pub fn set_status(&mut self, status: u16) -> Result<()> {
        self.set_header(":status", status.to_string())
    }
}

/// The lines behind a body.
pub struct Trailers {
    map: Map,
}

impl Trailers {
    pub(crate) fn new(context: u32, kind: MapKind) -> Self {
        Self { map: Map::new(context, kind) }
    }

    map_methods!("trailers");
}

/// The `:status` of a response, or of a callout's answer.
pub(crate) fn status(headers: &Headers) -> Result<u16> {
    headers
        .get(":status")
        .and_then(|status| status.to_str().ok()?.parse().ok())
        .ok_or_else(|| Error::malformed("a response without a readable `:status`"))
}

macro_rules! debug_as_headers {
    ($($ty:ident)*) => {$(
        impl fmt::Debug for $ty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($ty)).field("headers", &self.map.lines.get()).finish_non_exhaustive()
            }
        }
    )*};
}

debug_as_headers!(RequestHead ResponseHead Trailers);
