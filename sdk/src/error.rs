//! What can go wrong while a plugin works on an exchange, in words for the person who reads the log.

use std::borrow::Cow;
use std::fmt;

use crate::phase::Phases;
use crate::sys::{HostError, Status};

/// A result whose error ends the exchange in the way that [`Http::on_error`](crate::Http::on_error) says.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a plugin could not finish its work on an exchange.
///
/// Inside a handler `?` turns every error of this crate, and any text, into one.
#[derive(Debug, Clone)]
pub struct Error {
    kind: ErrorKind,
}

/// The kinds of [`Error`], for plugins that answer them differently.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The host refused a call.
    Host(HostError),
    /// A callout brought no answer.
    Callout(CalloutError),
    /// A gRPC callout brought no answer, or ended badly.
    #[cfg(feature = "grpc")]
    Grpc(Box<crate::grpc::error::GrpcError>),
    /// A body is larger than the plugin is willing to keep.
    BodyTooLarge {
        /// The limit that the plugin gave, in bytes.
        limit: usize,
    },
    /// A server-sent event is longer than the plugin is willing to keep.
    EventTooLarge {
        /// The limit that the plugin gave, in bytes.
        limit: usize,
    },
    /// The host shows no body while its headers are held, because it was not told to.
    ///
    /// Envoy does with `allow_on_headers_stop_iteration: true` in the plugin's `PluginConfig`.
    BodyHidden,
    /// A direction of a TCP connection brings more before its end than the plugin is willing to keep.
    TooManyBytes {
        /// The limit that the plugin gave, in bytes.
        limit: usize,
    },
    /// There is no body to work on: the message ended with its headers.
    NoBody,
    /// An attribute does not exist in this phase of the exchange.
    WrongPhase {
        /// The attribute, such as `request.path`.
        attribute: String,
        /// When it exists.
        phases: Phases,
    },
    /// Other workers changed a shared value again and again while the plugin wanted to.
    Contended,
    /// The host does not have a function that the plugin needs.
    Unsupported {
        /// The foreign function's name.
        function: &'static str,
    },
    /// Bytes of a peer, or of the host, do not have the form that they should have.
    Malformed(Cow<'static, str>),
    /// What the plugin itself says.
    App(Cow<'static, str>),
}

impl Error {
    /// An error of the plugin's own, in its own words.
    pub fn app(text: impl Into<Cow<'static, str>>) -> Self {
        ErrorKind::App(text.into()).into()
    }

    pub(crate) fn malformed(what: impl Into<Cow<'static, str>>) -> Self {
        ErrorKind::Malformed(what.into()).into()
    }

    /// What kind of error this is.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ErrorKind::Host(error) => error.fmt(f),
            ErrorKind::Callout(error) => error.fmt(f),
            #[cfg(feature = "grpc")]
            ErrorKind::Grpc(error) => error.fmt(f),
            ErrorKind::BodyTooLarge { limit } => write!(f, "the body is larger than the limit of {limit} bytes"),
            ErrorKind::EventTooLarge { limit } => write!(f, "an event is larger than the limit of {limit} bytes"),
            ErrorKind::BodyHidden => f.write_str(
                "the proxy shows no body while the headers wait: \
                 set `allow_on_headers_stop_iteration: true` in the plugin's configuration of the proxy",
            ),
            ErrorKind::TooManyBytes { limit } => write!(f, "more than the limit of {limit} bytes came before the end"),
            ErrorKind::NoBody => f.write_str("the message has no body"),
            ErrorKind::WrongPhase { attribute, phases } => {
                write!(f, "the attribute `{attribute}` exists {phases}, not here")
            }
            ErrorKind::Contended => f.write_str("a shared value was changed by others too often to be written"),
            ErrorKind::Unsupported { function } => {
                write!(
                    f,
                    "the host has no foreign function `{function}`; the plugin needs one that does, such as Envoy"
                )
            }
            ErrorKind::Malformed(what) => write!(f, "malformed: {what}"),
            ErrorKind::App(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

/// Why a callout brought no answer.
///
/// Envoy hands its own failures over as answers (504 when the time is over, 503 when there is no connection, 502
/// when the peer does not speak HTTP), so these are told from a peer's answer by their exact form.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CalloutError {
    /// The cluster that was called.
    pub cluster: String,
    /// What went wrong.
    pub kind: CalloutErrorKind,
}

/// The kinds of [`CalloutError`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CalloutErrorKind {
    /// No answer came within the time-out.
    Timeout,
    /// No connection, or it broke before an answer began.
    Unreachable,
    /// The answer broke off, or was larger than the host keeps.
    Reset,
    /// The peer's answer is not HTTP, or has no readable status.
    Malformed,
    /// The body of the answer is larger than [`max_body`](crate::callout::Callout::max_body) says.
    TooLarge,
    /// The cluster has no endpoint, or none that is healthy.
    NoHealthyUpstream,
    /// The request is none that can be sent, in words; nothing was sent.
    Invalid(Cow<'static, str>),
    /// The host did not send the request, mostly because it does not know the cluster.
    Refused(HostError),
}

impl fmt::Display for CalloutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "callout to cluster `{}`: ", self.cluster)?;
        match &self.kind {
            CalloutErrorKind::Timeout => f.write_str("no answer in time"),
            CalloutErrorKind::Unreachable => f.write_str("no connection, or it broke before an answer"),
            CalloutErrorKind::Reset => f.write_str("the answer broke off"),
            CalloutErrorKind::Malformed => f.write_str("the answer is not readable"),
            CalloutErrorKind::TooLarge => f.write_str("the answer's body is larger than the plugin takes"),
            CalloutErrorKind::NoHealthyUpstream => {
                f.write_str("no healthy upstream: the cluster has no endpoint, or none that is healthy")
            }
            CalloutErrorKind::Invalid(text) => f.write_str(text),
            CalloutErrorKind::Refused(error) => match error.status {
                Status::BAD_ARGUMENT => {
                    f.write_str("the host does not know the cluster; check its name against the proxy's clusters")
                }
                _ => error.fmt(f),
            },
        }
    }
}

impl std::error::Error for CalloutError {}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self { kind }
    }
}

impl From<HostError> for Error {
    fn from(error: HostError) -> Self {
        ErrorKind::Host(error).into()
    }
}

impl From<CalloutError> for Error {
    fn from(error: CalloutError) -> Self {
        ErrorKind::Callout(error).into()
    }
}

#[cfg(feature = "grpc")]
impl From<crate::grpc::error::GrpcError> for Error {
    fn from(error: crate::grpc::error::GrpcError) -> Self {
        ErrorKind::Grpc(Box::new(error)).into()
    }
}

impl From<&'static str> for Error {
    fn from(text: &'static str) -> Self {
        Self::app(text)
    }
}

impl From<String> for Error {
    fn from(text: String) -> Self {
        Self::app(text)
    }
}

#[cfg(feature = "json")]
impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::malformed(format!("JSON: {error}"))
    }
}
