//! Answers that a plugin gives in the place of the upstream.

use crate::error::Result;
use crate::headers::Lineup;
use crate::sys::{self, StreamKind};

/// An answer made by the plugin: the exchange ends with it.
///
/// Envoy adds `content-length`, and `content-type: text/plain` unless the plugin sets one. To a gRPC request it
/// answers 200 with `grpc-status` and the body as `grpc-message`.
#[derive(Debug, Clone)]
#[must_use = "a reply does nothing until it is given to the exchange"]
pub struct Reply {
    status: u16,
    details: String,
    headers: Lineup,
    body: Vec<u8>,
    grpc_status: i32,
}

impl Reply {
    /// An empty answer with an HTTP status from 200 to 599; another number becomes 500.
    pub fn new(status: u16) -> Self {
        let status = if (200..600).contains(&status) { status } else { 500 };
        Self { status, details: String::new(), headers: Lineup::default(), body: Vec::new(), grpc_status: -1 }
    }

    /// Adds a header line. A line that HTTP cannot carry makes the whole answer a 500.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push(name, value.as_ref());
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Names the reason for access logs (`%RESPONSE_CODE_DETAILS%`); Envoy turns spaces into `_`.
    pub fn details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    /// Sets the status for gRPC clients, 0 to 16; without it Envoy derives one from the HTTP status.
    pub fn grpc_status(mut self, status: u8) -> Self {
        self.grpc_status = if status <= 16 { i32::from(status) } else { 2 };
        self
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Ends the active exchange with this answer, or, if the host does not take it, with a reset.
    pub(crate) fn send_or_reset(&self) {
        if let Err(error) = self.send() {
            log::error!("an exchange could not be answered: {error}");
            reset();
        }
    }

    /// Hands the answer to the host, for the active context.
    fn send(&self) -> Result<()> {
        match self.headers.encode(&[]) {
            Ok(headers) => {
                // The host has to be told twice when it stumbles once: without an answer the client waits for ever.
                let send = || {
                    let headers = if self.headers.is_empty() { &[] } else { headers.as_slice() };
                    sys::send_local_response(self.status.into(), &self.details, &self.body, headers, self.grpc_status)
                };
                send().or_else(|_| send())?;
            }
            Err(error) => {
                log::error!("a reply could not be sent: {error}");
                sys::send_local_response(500, "plugin_error", &[], &[], -1)?;
            }
        }
        Ok(())
    }
}

/// Cuts the active exchange off.
pub(crate) fn reset() {
    let close = || sys::close_stream(StreamKind::Response);
    // An answer that comes too late to be one cuts the exchange off as well.
    let answer = || sys::send_local_response(500, "plugin_error", &[], &[], -1);
    if let Err(error) = close().or_else(|_| close()).or_else(|_| answer()) {
        log::error!("an exchange could not be reset: {error}");
    }
}
