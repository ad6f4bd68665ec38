//! The numbers of the Proxy-Wasm ABI: statuses, kinds of maps, buffers, streams and metrics.

use std::fmt;

/// Declares an enum of ABI numbers with a checked conversion from the wire.
macro_rules! numbers {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $number:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum $name { $($(#[$vmeta])* $variant = $number,)* }

        impl $name {
            /// Every value, in the order of the numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The value behind a number that a guest passed.
            #[must_use]
            pub const fn from_u32(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }

        impl From<$name> for u32 {
            fn from(value: $name) -> u32 {
                value as u32
            }
        }
    };
}

numbers! {
    /// What a host call answers.
    Status {
        /// Done.
        Ok = 0,
        /// The thing asked for does not exist.
        NotFound = 1,
        /// An argument is out of its range, or the map or buffer does not exist in this phase.
        BadArgument = 2,
        /// A value cannot be serialised.
        SerializationFailure = 3,
        /// A value cannot be parsed.
        ParseFailure = 4,
        /// An expression cannot be evaluated; no known host answers it.
        BadExpression = 5,
        /// A pointer or a length leaves the guest's memory.
        InvalidMemoryAccess = 6,
        /// The queue has no item.
        Empty = 7,
        /// The shared value changed in between.
        CasMismatch = 8,
        /// A result is not the expected one; no known host answers it.
        ResultMismatch = 9,
        /// The host failed.
        InternalFailure = 10,
        /// The connection broke; only a callout's status says so.
        BrokenConnection = 11,
        /// The host does not know the call.
        Unimplemented = 12,
    }
}

numbers! {
    /// Which header map a host call means.
    MapKind {
        /// The request's headers.
        RequestHeaders = 0,
        /// The request's trailers.
        RequestTrailers = 1,
        /// The response's headers.
        ResponseHeaders = 2,
        /// The response's trailers.
        ResponseTrailers = 3,
        /// A gRPC callout's initial metadata.
        GrpcInitialMetadata = 4,
        /// A gRPC callout's trailing metadata.
        GrpcTrailingMetadata = 5,
        /// An HTTP callout's response headers.
        CalloutHeaders = 6,
        /// An HTTP callout's response trailers.
        CalloutTrailers = 7,
    }
}

numbers! {
    /// Which buffer a host call means.
    BufferKind {
        /// The request's body.
        RequestBody = 0,
        /// The response's body.
        ResponseBody = 1,
        /// Bytes from the client of a TCP stream.
        DownstreamData = 2,
        /// Bytes from the server of a TCP stream.
        UpstreamData = 3,
        /// An HTTP callout's response body.
        CalloutBody = 4,
        /// A gRPC callout's message.
        GrpcMessage = 5,
        /// The VM's configuration.
        VmConfiguration = 6,
        /// The plugin's configuration.
        PluginConfiguration = 7,
        /// The argument of a foreign function.
        ForeignData = 8,
    }
}

numbers! {
    /// Which half of a stream to continue or to close.
    StreamKind {
        /// The request of an exchange.
        Request = 0,
        /// The response of an exchange.
        Response = 1,
        /// The client's half of a TCP stream.
        Downstream = 2,
        /// The server's half of a TCP stream.
        Upstream = 3,
    }
}

numbers! {
    /// How loud a log line is.
    LogLevel {
        /// Finest.
        Trace = 0,
        /// For developers.
        Debug = 1,
        /// Normal.
        Info = 2,
        /// Unusual.
        Warn = 3,
        /// Wrong.
        Error = 4,
        /// Fatal.
        Critical = 5,
    }
}

numbers! {
    /// The kinds of metrics.
    MetricKind {
        /// Only grows.
        Counter = 0,
        /// Grows and shrinks.
        Gauge = 1,
        /// Samples.
        Histogram = 2,
    }
}

/// The ABI versions that a module may be written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AbiVersion {
    /// `proxy_abi_version_0_1_0`.
    V0_1_0,
    /// `proxy_abi_version_0_2_0`.
    V0_2_0,
    /// `proxy_abi_version_0_2_1`.
    V0_2_1,
}

impl AbiVersion {
    /// Every version, oldest first.
    pub const ALL: &'static [Self] = &[Self::V0_1_0, Self::V0_2_0, Self::V0_2_1];

    /// The export that marks a module of this version.
    #[must_use]
    pub const fn marker(self) -> &'static str {
        match self {
            Self::V0_1_0 => "proxy_abi_version_0_1_0",
            Self::V0_2_0 => "proxy_abi_version_0_2_0",
            Self::V0_2_1 => "proxy_abi_version_0_2_1",
        }
    }
}

/// What a callback for headers or data wants the host to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Go on with the next filter.
    Continue,
    /// Stop, as the number says.
    Stop(StopKind),
}

/// How an iteration is stopped, in Envoy's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopKind {
    /// Nothing of this direction reaches this filter or later ones until it continues (`StopAllIterationAndBuffer`,
    /// limited).
    AllBuffer,
    /// The same with back-pressure in place of a limit (`StopAllIterationAndWatermark`).
    AllWatermark,
    /// Later filters see nothing, this filter keeps seeing bodies (`StopIteration`).
    Headers,
    /// The body is buffered and shown again, whole, with each piece (`StopIterationAndBuffer`).
    Buffer,
    /// The body is kept but not shown again (`StopIterationAndWatermark`).
    Watermark,
    /// The body is dropped (`StopIterationNoBuffer`).
    Drop,
}

impl Action {
    /// How Envoy reads the answer of a headers callback.
    ///
    /// `stop_iteration` is the plugin's `allow_on_headers_stop_iteration`.
    #[must_use]
    pub const fn of_headers(answer: u32, stop_iteration: bool) -> Self {
        match answer {
            // 2 means `ContinueAndEndStream`, which Envoy does not support and treats as `Continue`.
            0 | 2 => Self::Continue,
            1 if stop_iteration => Self::Stop(StopKind::Headers),
            3 => Self::Stop(StopKind::AllBuffer),
            _ => Self::Stop(StopKind::AllWatermark),
        }
    }

    /// How Envoy reads the answer of a body callback.
    #[must_use]
    pub const fn of_body(answer: u32) -> Self {
        match answer {
            0 => Self::Continue,
            1 => Self::Stop(StopKind::Buffer),
            2 => Self::Stop(StopKind::Watermark),
            _ => Self::Stop(StopKind::Drop),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Self::Ok => "ok",
            Self::NotFound => "not found",
            Self::BadArgument => "bad argument",
            Self::SerializationFailure => "serialization failure",
            Self::ParseFailure => "parse failure",
            Self::BadExpression => "bad expression",
            Self::InvalidMemoryAccess => "invalid memory access",
            Self::Empty => "empty",
            Self::CasMismatch => "cas mismatch",
            Self::ResultMismatch => "result mismatch",
            Self::InternalFailure => "internal failure",
            Self::BrokenConnection => "broken connection",
            Self::Unimplemented => "unimplemented",
        };
        write!(f, "{words} ({})", *self as u32)
    }
}

impl fmt::Display for AbiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0 => "0.2.0",
            Self::V0_2_1 => "0.2.1",
        })
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_both_ways() {
        for number in 0..20 {
            if let Some(status) = Status::from_u32(number) {
                assert_eq!(u32::from(status), number);
            }
        }
        assert_eq!(Status::from_u32(13), None);
        assert_eq!(MapKind::ALL.len(), 8);
        assert_eq!(BufferKind::from_u32(9), None);
    }

    #[test]
    fn pause_depends_on_the_phase() {
        assert_eq!(Action::of_headers(1, false), Action::Stop(StopKind::AllWatermark));
        assert_eq!(Action::of_headers(1, true), Action::Stop(StopKind::Headers));
        assert_eq!(Action::of_headers(2, false), Action::Continue);
        assert_eq!(Action::of_body(1), Action::Stop(StopKind::Buffer));
        assert_eq!(Action::of_body(7), Action::Stop(StopKind::Drop));
    }
}
