//! What a worker wants done, and what it is told about the upstream.

use bytes::Bytes;

use crate::callout::{CalloutId, CalloutRequest};
use crate::exchange::ExchangeId;
use crate::grpc::GrpcRequest;
use crate::headers::HeaderMap;
use crate::tcp::{TcpEffect, TcpId};

/// Something that the owner of the sockets has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send a part of the request on.
    ToUpstream {
        /// Whose.
        id: ExchangeId,
        /// What.
        item: Item,
    },
    /// Send a part of the response to the client.
    ToDownstream {
        /// Whose.
        id: ExchangeId,
        /// What.
        item: Item,
    },
    /// Drop the upstream request; nothing more is expected from it.
    ResetUpstream {
        /// Whose.
        id: ExchangeId,
    },
    /// Cut the client off. The exchange is over for the worker.
    ResetDownstream {
        /// Whose.
        id: ExchangeId,
    },
    /// Ask a cluster, and answer with [`Worker::callout_answered`](crate::worker::Worker::callout_answered).
    Callout {
        /// Which callout.
        id: CalloutId,
        /// What to ask.
        request: CalloutRequest,
    },
    /// Begin a gRPC callout, and answer with [`Worker::grpc_headers`](crate::worker::Worker::grpc_headers) and its
    /// neighbours.
    Grpc {
        /// Which callout.
        id: CalloutId,
        /// What to ask.
        request: GrpcRequest,
    },
    /// Send a piece of a gRPC callout's request, framed as it travels.
    GrpcData {
        /// Which callout.
        id: CalloutId,
        /// A whole message with its prefix; empty only with the end.
        data: Bytes,
        /// Whether the request ends with it.
        end: bool,
    },
    /// Forget a callout; its answer is not wanted any more.
    CancelCallout(CalloutId),
    /// Do something for a TCP connection.
    Tcp {
        /// Which connection.
        id: TcpId,
        /// What.
        effect: TcpEffect,
    },
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Headers, and whether the message ends with them.
    Headers(HeaderMap, bool),
    /// A piece of the body, and whether the message ends with it.
    Data(Bytes, bool),
    /// Trailers, which end the message.
    Trailers(HeaderMap),
}

/// Why an upstream request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamFailure {
    /// No connection could be made.
    Connect,
    /// The connection ended.
    Reset,
    /// It took too long.
    Timeout,
    /// What came is not HTTP.
    Protocol,
}
