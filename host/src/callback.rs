//! What the proxy calls in a guest, and how a call may end instead of with an answer.

use std::fmt;

/// One export of the Proxy-Wasm ABI, with its arguments; the proxy calls it, the guest implements it.
///
/// Sizes are what the guest is told; the bytes themselves are read through host calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "names and arguments are those of the Proxy-Wasm specification")]
pub enum Callback {
    ContextCreate { context: u32, root: u32 },
    VmStart { root: u32, config_len: u32 },
    Configure { root: u32, config_len: u32 },
    Tick { root: u32 },
    QueueReady { root: u32, queue: u32 },
    RequestHeaders { context: u32, count: u32, end: bool },
    RequestBody { context: u32, size: u32, end: bool },
    RequestTrailers { context: u32, count: u32 },
    ResponseHeaders { context: u32, count: u32, end: bool },
    ResponseBody { context: u32, size: u32, end: bool },
    ResponseTrailers { context: u32, count: u32 },
    HttpCallResponse { root: u32, token: u32, headers: u32, body_size: u32, trailers: u32 },
    GrpcReceiveInitialMetadata { root: u32, token: u32, headers: u32 },
    GrpcReceive { root: u32, token: u32, size: u32 },
    GrpcReceiveTrailingMetadata { root: u32, token: u32, trailers: u32 },
    GrpcClose { root: u32, token: u32, status: u32 },
    NewConnection { context: u32 },
    DownstreamData { context: u32, size: u32, end: bool },
    UpstreamData { context: u32, size: u32, end: bool },
    DownstreamClose { context: u32, peer: u32 },
    UpstreamClose { context: u32, peer: u32 },
    ForeignFunction { context: u32, function: u32, size: u32 },
    Log { context: u32 },
    Done { context: u32 },
    Delete { context: u32 },
}

impl Callback {
    /// The export's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ContextCreate { .. } => "proxy_on_context_create",
            Self::VmStart { .. } => "proxy_on_vm_start",
            Self::Configure { .. } => "proxy_on_configure",
            Self::Tick { .. } => "proxy_on_tick",
            Self::QueueReady { .. } => "proxy_on_queue_ready",
            Self::RequestHeaders { .. } => "proxy_on_request_headers",
            Self::RequestBody { .. } => "proxy_on_request_body",
            Self::RequestTrailers { .. } => "proxy_on_request_trailers",
            Self::ResponseHeaders { .. } => "proxy_on_response_headers",
            Self::ResponseBody { .. } => "proxy_on_response_body",
            Self::ResponseTrailers { .. } => "proxy_on_response_trailers",
            Self::HttpCallResponse { .. } => "proxy_on_http_call_response",
            Self::GrpcReceiveInitialMetadata { .. } => "proxy_on_grpc_receive_initial_metadata",
            Self::GrpcReceive { .. } => "proxy_on_grpc_receive",
            Self::GrpcReceiveTrailingMetadata { .. } => "proxy_on_grpc_receive_trailing_metadata",
            Self::GrpcClose { .. } => "proxy_on_grpc_close",
            Self::NewConnection { .. } => "proxy_on_new_connection",
            Self::DownstreamData { .. } => "proxy_on_downstream_data",
            Self::UpstreamData { .. } => "proxy_on_upstream_data",
            Self::DownstreamClose { .. } => "proxy_on_downstream_connection_close",
            Self::UpstreamClose { .. } => "proxy_on_upstream_connection_close",
            Self::ForeignFunction { .. } => "proxy_on_foreign_function",
            Self::Log { .. } => "proxy_on_log",
            Self::Done { .. } => "proxy_on_done",
            Self::Delete { .. } => "proxy_on_delete",
        }
    }

    /// The arguments in the export's order.
    #[must_use]
    pub const fn arguments(self) -> Arguments {
        match self {
            Self::ContextCreate { context, root: size }
            | Self::VmStart { root: context, config_len: size }
            | Self::Configure { root: context, config_len: size }
            | Self::QueueReady { root: context, queue: size }
            | Self::RequestTrailers { context, count: size }
            | Self::ResponseTrailers { context, count: size }
            | Self::DownstreamClose { context, peer: size }
            | Self::UpstreamClose { context, peer: size } => Arguments::new([context, size, 0, 0, 0], 2),
            Self::Tick { root: context }
            | Self::NewConnection { context }
            | Self::Log { context }
            | Self::Done { context }
            | Self::Delete { context } => Arguments::new([context, 0, 0, 0, 0], 1),
            Self::RequestHeaders { context, count: size, end }
            | Self::ResponseHeaders { context, count: size, end }
            | Self::RequestBody { context, size, end }
            | Self::ResponseBody { context, size, end }
            | Self::DownstreamData { context, size, end }
            | Self::UpstreamData { context, size, end } => Arguments::new([context, size, end as u32, 0, 0], 3),
            Self::HttpCallResponse { root, token, headers, body_size, trailers } => {
                Arguments::new([root, token, headers, body_size, trailers], 5)
            }
            Self::GrpcReceiveInitialMetadata { root: context, token: id, headers: size }
            | Self::GrpcReceive { root: context, token: id, size }
            | Self::GrpcReceiveTrailingMetadata { root: context, token: id, trailers: size }
            | Self::GrpcClose { root: context, token: id, status: size }
            | Self::ForeignFunction { context, function: id, size } => Arguments::new([context, id, size, 0, 0], 3),
        }
    }

    /// Whether it shows a piece of a body, or of what a TCP connection carries.
    #[must_use]
    pub const fn is_data(self) -> bool {
        matches!(
            self,
            Self::RequestBody { .. }
                | Self::ResponseBody { .. }
                | Self::DownstreamData { .. }
                | Self::UpstreamData { .. }
        )
    }

    /// Whether the export has a result.
    #[must_use]
    pub const fn answers(self) -> bool {
        matches!(
            self,
            Self::VmStart { .. }
                | Self::Configure { .. }
                | Self::RequestHeaders { .. }
                | Self::RequestBody { .. }
                | Self::RequestTrailers { .. }
                | Self::ResponseHeaders { .. }
                | Self::ResponseBody { .. }
                | Self::ResponseTrailers { .. }
                | Self::NewConnection { .. }
                | Self::DownstreamData { .. }
                | Self::UpstreamData { .. }
                | Self::Done { .. }
        )
    }

    /// The context that the callback is for.
    #[must_use]
    pub const fn context(self) -> u32 {
        let [context, ..] = self.arguments().values;
        context as u32
    }

    /// What Envoy assumes where a guest does not export the callback.
    #[must_use]
    pub const fn assumed(self) -> u32 {
        matches!(self, Self::VmStart { .. } | Self::Configure { .. } | Self::Done { .. }) as u32
    }
}

/// Up to five arguments of a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arguments {
    values: [u64; 5],
    len: usize,
}

impl Arguments {
    const fn new(values: [u32; 5], len: usize) -> Self {
        let [a, b, c, d, e] = values;
        Self { values: [a as u64, b as u64, c as u64, d as u64, e as u64], len }
    }

    /// The arguments in order.
    #[must_use]
    pub fn as_slice(&self) -> &[u64] {
        self.values.get(..self.len).unwrap_or_default()
    }
}

/// The end of a guest: it ran into `unreachable`, out of bounds, out of a limit, or panicked natively.
///
/// Nothing of the guest may be called afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trap {
    /// The export that was running, such as `proxy_on_request_headers`.
    pub function: &'static str,
    /// What happened, in the engine's words, frames included where they are known.
    pub reason: String,
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` trapped: {}", self.function, self.reason)
    }
}

impl std::error::Error for Trap {}
