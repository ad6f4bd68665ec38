//! What is known of an exchange when it is over.

use std::fmt;
use std::marker::PhantomData;

use crate::attributes::attribute_methods;
use crate::error::Result;
use crate::headers::Headers;
use crate::runtime;
use crate::sys::MapKind;

/// An exchange that is over, for access logs and metrics; it can only be read.
pub struct LogEntry {
    context: u32,
    /// Only the callback itself makes one, and lends it.
    _callback: PhantomData<*const ()>,
}

impl LogEntry {
    pub(crate) fn new(context: u32) -> Self {
        Self { context, _callback: PhantomData }
    }

    attribute_methods!(Log, |entry| runtime::focus(entry.context));

    /// The number of the exchange, as [`RequestHead::id`](crate::RequestHead::id) has told it; now it may be used again.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.context
    }

    /// The request's header lines; empty when the request was refused before they were read.
    pub fn request_headers(&self) -> Result<Headers> {
        Headers::read(MapKind::RequestHeaders)
    }

    /// The response's header lines; empty when there was no response.
    pub fn response_headers(&self) -> Result<Headers> {
        Headers::read(MapKind::ResponseHeaders)
    }

    /// The response's trailer lines.
    pub fn response_trailers(&self) -> Result<Headers> {
        Headers::read(MapKind::ResponseTrailers)
    }
}

impl fmt::Debug for LogEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogEntry").finish_non_exhaustive()
    }
}
