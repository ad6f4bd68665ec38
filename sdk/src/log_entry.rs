//! What is known of an exchange when it is over.

use std::fmt;
use std::marker::PhantomData;

use crate::error::Result;
use crate::headers::Headers;
use crate::sys::MapKind;

/// An exchange that is over, for access logs and metrics; it can only be read.
pub struct LogEntry {
    /// Only the callback itself makes one, and lends it.
    _callback: PhantomData<*const ()>,
}

impl LogEntry {
    pub(crate) fn new() -> Self {
        Self { _callback: PhantomData }
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
