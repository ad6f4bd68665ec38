//! A stream that a plugin works on, as the dispatcher sees it: its halves or directions, and what callbacks answer.

use crate::reply::Reply;
use crate::sys::{BufferKind, MapKind, StreamKind};

/// The two halves of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    Request,
    Response,
}

impl Half {
    pub(crate) fn headers(self) -> MapKind {
        match self {
            Self::Request => MapKind::RequestHeaders,
            Self::Response => MapKind::ResponseHeaders,
        }
    }

    pub(crate) fn trailers(self) -> MapKind {
        match self {
            Self::Request => MapKind::RequestTrailers,
            Self::Response => MapKind::ResponseTrailers,
        }
    }

    pub(crate) fn body(self) -> BufferKind {
        match self {
            Self::Request => BufferKind::RequestBody,
            Self::Response => BufferKind::ResponseBody,
        }
    }

    pub(crate) fn stream(self) -> StreamKind {
        match self {
            Self::Request => StreamKind::Request,
            Self::Response => StreamKind::Response,
        }
    }
}

/// The two directions of a connection, named by who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Downstream,
    Upstream,
}

impl Side {
    pub(crate) fn buffer(self) -> BufferKind {
        match self {
            Self::Downstream => BufferKind::DownstreamData,
            Self::Upstream => BufferKind::UpstreamData,
        }
    }
}

/// What a callback tells the host.
///
/// For a body, `Pause` is Envoy's `StopIterationAndBuffer`: what waits stays in the plugin's reach, and its size is
/// limited. `StopIterationAndWatermark` would slow the peer down in place of a limit, but what it holds cannot be read
/// or changed any more (Envoy 1.40 shows an empty buffer from other callbacks), so a plugin that waits inside a chunk
/// would let the bytes behind it pass unseen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Action {
    Continue = 0,
    Pause = 1,
}

/// An HTTP exchange whose handler waits, or has waited, or a TCP connection; what one does not have passes.
///
/// A trait, so that a module without such plugins carries nothing of them.
pub(crate) trait Stream {
    /// The response's headers are here; with `reply` a hook has already answered in their place.
    fn response_arrived(&self, end: bool, reply: Option<&Reply>) -> Action {
        let _ = (end, reply);
        Action::Continue
    }

    /// Body bytes are here: `size` of them are in the window.
    fn body_arrived(&self, half: Half, size: usize, end: bool) -> Action {
        let _ = (half, size, end);
        Action::Continue
    }

    /// Trailers are here, and so the body is whole.
    fn trailers_arrived(&self, half: Half) -> Action {
        let _ = half;
        Action::Continue
    }

    /// Bytes of a connection are here: with those that were held before, they are `size`.
    fn data_arrived(&self, side: Side, size: usize, end: bool) -> Action {
        let _ = (side, size, end);
        Action::Continue
    }

    /// The host has deleted its context.
    fn deleted(&self);

    /// The plugin has panicked: answers, or closes, what waits for it.
    fn last_words(&self);
}
