//! Calls that plugins make to other clusters: what is asked, what can become of it, who waits for it.

use std::time::Duration;

use bytes::Bytes;

use crate::abi::{BufferKind, MapKind};
use crate::grpc::GrpcCall;
use crate::headers::HeaderMap;
use crate::recording::Body;
use crate::vm::Owner;

/// Names one callout within a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CalloutId(pub(crate) u64);

/// What a plugin asks of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalloutRequest {
    /// The cluster's name.
    pub cluster: String,
    /// The request's headers, pseudo headers included.
    pub headers: HeaderMap,
    /// The request's body; empty for none.
    pub body: Bytes,
    /// The request's trailers; empty for none.
    pub trailers: HeaderMap,
    /// When to give up; `None` for never. The worker watches it itself.
    pub timeout: Option<Duration>,
}

/// What became of a callout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CalloutOutcome {
    /// A whole response.
    Response {
        /// With `:status`.
        headers: HeaderMap,
        /// The whole body.
        body: Bytes,
        /// Empty for none.
        trailers: HeaderMap,
    },
    /// The connection broke after the headers, or the response was too large.
    Failed,
}

impl CalloutOutcome {
    /// What Envoy hands to the plugin after the timeout: a response of its own.
    #[must_use]
    pub fn timeout() -> Self {
        Self::synthetic("504", "upstream request timeout")
    }

    /// What Envoy hands to the plugin when no connection can be made.
    #[must_use]
    pub fn unreachable() -> Self {
        Self::synthetic(
            "503",
            "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure",
        )
    }

    /// What Envoy hands to the plugin when the connection breaks before the headers.
    #[must_use]
    pub fn reset_before_headers() -> Self {
        Self::synthetic(
            "503",
            "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
        )
    }

    /// What Envoy hands to the plugin when no host of the cluster is healthy or known.
    #[must_use]
    pub fn no_healthy_upstream() -> Self {
        Self::synthetic("503", "no healthy upstream")
    }

    /// What Envoy hands to the plugin when the answer is not HTTP.
    #[must_use]
    pub fn malformed() -> Self {
        Self::synthetic(
            "502",
            "upstream connect error or disconnect/reset before headers. reset reason: protocol error",
        )
    }

    fn synthetic(status: &'static str, body: &'static str) -> Self {
        let mut headers = HeaderMap::response();
        headers.add(b":status", status.as_bytes());
        headers.add(b"content-length", body.len().to_string().as_bytes());
        headers.add(b"content-type", b"text/plain");
        Self::Response { headers, body: Bytes::from_static(body.as_bytes()), trailers: HeaderMap::new() }
    }

    /// As recordings tell it: the status and the length of the body, and the body if there is one.
    pub(crate) fn told(&self) -> (String, Option<Body>) {
        match self {
            Self::Response { headers, body, .. } => {
                let told = format!("{}, {} bytes", headers.get_str(":status").unwrap_or("no status"), body.len());
                (told, (!body.is_empty()).then(|| Body::raw(body, headers)))
            }
            Self::Failed => ("the connection broke, or the answer was too large".to_owned(), None),
        }
    }
}

/// A callout on its way, as the worker remembers it.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) root: usize,
    pub(crate) generation: u32,
    pub(crate) token: u32,
    pub(crate) deadline: Option<Duration>,
    /// Where it stands, if it is a gRPC callout.
    pub(crate) grpc: Option<Box<GrpcCall>>,
    /// For whom, if that exchange or connection is recorded.
    pub(crate) asked: Option<Box<Asked>>,
}

/// What a recording remembers of a callout until it is answered.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) whose: Owner,
    pub(crate) cluster: String,
    pub(crate) at: Duration,
}

/// The answer whose callback is running.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// The plugin that asked.
    pub(crate) root: usize,
    pub(crate) what: Delivered,
}

/// What can be read while an answer's callback runs.
#[derive(Debug)]
pub(crate) enum Delivered {
    /// A whole answer to an HTTP callout.
    Http { headers: HeaderMap, body: Bytes, trailers: HeaderMap },
    /// The headers of a gRPC stream.
    InitialMetadata(HeaderMap),
    /// A message of a gRPC callout.
    Message(Bytes),
    /// The trailers of a gRPC stream.
    TrailingMetadata(HeaderMap),
    /// Only a status.
    Nothing,
}

impl Delivery {
    pub(crate) fn map(&self, kind: MapKind) -> Option<&HeaderMap> {
        match (&self.what, kind) {
            (Delivered::Http { headers, .. }, MapKind::CalloutHeaders) => Some(headers),
            (Delivered::Http { trailers, .. }, MapKind::CalloutTrailers) => Some(trailers),
            (Delivered::InitialMetadata(map), MapKind::GrpcInitialMetadata)
            | (Delivered::TrailingMetadata(map), MapKind::GrpcTrailingMetadata) => Some(map),
            _ => None,
        }
    }

    pub(crate) fn buffer(&self, kind: BufferKind) -> Option<&Bytes> {
        match (&self.what, kind) {
            (Delivered::Http { body, .. }, BufferKind::CalloutBody)
            | (Delivered::Message(body), BufferKind::GrpcMessage) => Some(body),
            _ => None,
        }
    }
}
