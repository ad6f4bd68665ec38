//! The host's side of the Proxy-Wasm ABI: every import bound once, every status told; the one file with `unsafe`.
//!
//! Most plugins never need this module: the typed API stands on it. It is public for the host calls of hosts
//! that extend the ABI, and for authors who want one call exactly as the specification has it.
#![expect(unsafe_code, reason = "foreign imports, and blocks that the host allocated for us")]

use std::alloc::Layout;
use std::fmt;
use std::ptr;

/// A result of a host call.
pub type Result<T> = std::result::Result<T, HostError>;

/// What the host answered, in the numbers of the Proxy-Wasm specification.
///
/// Any number is representable: a host is free to answer one that no specification knows.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(pub u32);

impl Status {
    /// The call did what it says.
    pub const OK: Self = Self(0);
    /// There is no such thing: a key, a property, a queue.
    pub const NOT_FOUND: Self = Self(1);
    /// The host does not take this argument, or not in this phase.
    pub const BAD_ARGUMENT: Self = Self(2);
    /// The host cannot put this value into bytes.
    pub const SERIALIZATION_FAILURE: Self = Self(3);
    /// The host cannot read these bytes.
    pub const PARSE_FAILURE: Self = Self(4);
    /// A pointer, a length or an allocation was bad.
    pub const INVALID_MEMORY_ACCESS: Self = Self(6);
    /// The queue has no item.
    pub const EMPTY: Self = Self(7);
    /// Somebody else changed the value first.
    pub const CAS_MISMATCH: Self = Self(8);
    /// The host failed, or does not allow the call.
    pub const INTERNAL_FAILURE: Self = Self(10);
    /// The connection broke.
    pub const BROKEN_CONNECTION: Self = Self(11);
    /// The host does not know the call.
    pub const UNIMPLEMENTED: Self = Self(12);
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0 => "ok",
            1 => "not found",
            2 => "bad argument",
            3 => "serialization failure",
            4 => "parse failure",
            6 => "invalid memory access",
            7 => "empty",
            8 => "compare-and-swap mismatch",
            10 => "internal failure",
            11 => "broken connection",
            12 => "unimplemented",
            other => return write!(f, "status {other}"),
        };
        f.write_str(name)
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({})", self.0)
    }
}

/// A host call that did not answer [`Status::OK`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostError {
    /// The import, such as `proxy_http_call`.
    pub call: &'static str,
    /// What the host answered.
    pub status: Status,
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host call `{}` answered: {}", self.call, self.status)
    }
}

impl std::error::Error for HostError {}

/// A header map of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
#[expect(missing_docs, reason = "the names say it")]
pub enum MapKind {
    RequestHeaders = 0,
    RequestTrailers = 1,
    ResponseHeaders = 2,
    ResponseTrailers = 3,
    GrpcInitialMetadata = 4,
    GrpcTrailingMetadata = 5,
    CalloutHeaders = 6,
    CalloutTrailers = 7,
}

/// A buffer of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
#[expect(missing_docs, reason = "the names say it")]
pub enum BufferKind {
    RequestBody = 0,
    ResponseBody = 1,
    DownstreamData = 2,
    UpstreamData = 3,
    CalloutBody = 4,
    GrpcMessage = 5,
    VmConfiguration = 6,
    PluginConfiguration = 7,
}

/// What a metric of the host counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
#[expect(missing_docs, reason = "the names say it")]
pub enum MetricKind {
    Counter = 0,
    Gauge = 1,
    Histogram = 2,
}

/// A direction of a stream that can be continued or closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
#[expect(missing_docs, reason = "the names say it")]
pub enum StreamKind {
    Request = 0,
    Response = 1,
    Downstream = 2,
    Upstream = 3,
}

mod import {
    #[cfg_attr(target_arch = "wasm32", link(wasm_import_module = "env"))]
    unsafe extern "C" {
        pub(super) fn proxy_log(level: u32, text: *const u8, len: usize) -> u32;
        pub(super) fn proxy_get_log_level(level: *mut u32) -> u32;
        pub(super) fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
        pub(super) fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
        pub(super) fn proxy_set_effective_context(context: u32) -> u32;
        pub(super) fn proxy_get_buffer_bytes(
            kind: u32,
            start: usize,
            max: usize,
            bytes: *mut *mut u8,
            len: *mut usize,
        ) -> u32;
        pub(super) fn proxy_set_buffer_bytes(
            kind: u32,
            start: usize,
            len: usize,
            bytes: *const u8,
            bytes_len: usize,
        ) -> u32;
        pub(super) fn proxy_get_header_map_pairs(kind: u32, bytes: *mut *mut u8, len: *mut usize) -> u32;
        pub(super) fn proxy_get_header_map_value(
            kind: u32,
            name: *const u8,
            name_len: usize,
            bytes: *mut *mut u8,
            len: *mut usize,
        ) -> u32;
        pub(super) fn proxy_add_header_map_value(
            kind: u32,
            name: *const u8,
            name_len: usize,
            value: *const u8,
            value_len: usize,
        ) -> u32;
        pub(super) fn proxy_replace_header_map_value(
            kind: u32,
            name: *const u8,
            name_len: usize,
            value: *const u8,
            value_len: usize,
        ) -> u32;
        pub(super) fn proxy_remove_header_map_value(kind: u32, name: *const u8, name_len: usize) -> u32;
        pub(super) fn proxy_continue_stream(kind: u32) -> u32;
        pub(super) fn proxy_close_stream(kind: u32) -> u32;
        pub(super) fn proxy_send_local_response(
            status: u32,
            details: *const u8,
            details_len: usize,
            body: *const u8,
            body_len: usize,
            headers: *const u8,
            headers_len: usize,
            grpc_status: i32,
        ) -> u32;
        pub(super) fn proxy_http_call(
            cluster: *const u8,
            cluster_len: usize,
            headers: *const u8,
            headers_len: usize,
            body: *const u8,
            body_len: usize,
            trailers: *const u8,
            trailers_len: usize,
            timeout: u32,
            token: *mut u32,
        ) -> u32;
        #[cfg(feature = "grpc")]
        pub(super) fn proxy_grpc_call(
            service: *const u8,
            service_len: usize,
            name: *const u8,
            name_len: usize,
            method: *const u8,
            method_len: usize,
            metadata: *const u8,
            metadata_len: usize,
            message: *const u8,
            message_len: usize,
            timeout: u32,
            token: *mut u32,
        ) -> u32;
        #[cfg(feature = "grpc")]
        pub(super) fn proxy_grpc_stream(
            service: *const u8,
            service_len: usize,
            name: *const u8,
            name_len: usize,
            method: *const u8,
            method_len: usize,
            metadata: *const u8,
            metadata_len: usize,
            token: *mut u32,
        ) -> u32;
        #[cfg(feature = "grpc")]
        pub(super) fn proxy_grpc_send(token: u32, message: *const u8, message_len: usize, end: bool) -> u32;
        #[cfg(feature = "grpc")]
        pub(super) fn proxy_grpc_cancel(token: u32) -> u32;
        #[cfg(feature = "grpc")]
        pub(super) fn proxy_grpc_close(token: u32) -> u32;
        #[cfg(feature = "grpc")]
        pub(super) fn proxy_get_status(status: *mut u32, bytes: *mut *mut u8, len: *mut usize) -> u32;
        pub(super) fn proxy_get_shared_data(
            key: *const u8,
            key_len: usize,
            bytes: *mut *mut u8,
            len: *mut usize,
            cas: *mut u32,
        ) -> u32;
        pub(super) fn proxy_set_shared_data(
            key: *const u8,
            key_len: usize,
            value: *const u8,
            value_len: usize,
            cas: u32,
        ) -> u32;
        pub(super) fn proxy_register_shared_queue(name: *const u8, name_len: usize, queue: *mut u32) -> u32;
        pub(super) fn proxy_resolve_shared_queue(
            vm_id: *const u8,
            vm_id_len: usize,
            name: *const u8,
            name_len: usize,
            queue: *mut u32,
        ) -> u32;
        pub(super) fn proxy_enqueue_shared_queue(queue: u32, item: *const u8, item_len: usize) -> u32;
        pub(super) fn proxy_dequeue_shared_queue(queue: u32, bytes: *mut *mut u8, len: *mut usize) -> u32;
        pub(super) fn proxy_define_metric(kind: u32, name: *const u8, name_len: usize, id: *mut u32) -> u32;
        pub(super) fn proxy_increment_metric(id: u32, offset: i64) -> u32;
        pub(super) fn proxy_record_metric(id: u32, value: u64) -> u32;
        pub(super) fn proxy_get_metric(id: u32, value: *mut u64) -> u32;
        pub(super) fn proxy_get_property(path: *const u8, path_len: usize, bytes: *mut *mut u8, len: *mut usize)
        -> u32;
        pub(super) fn proxy_set_property(path: *const u8, path_len: usize, value: *const u8, value_len: usize) -> u32;
        pub(super) fn proxy_call_foreign_function(
            name: *const u8,
            name_len: usize,
            argument: *const u8,
            argument_len: usize,
            bytes: *mut *mut u8,
            len: *mut usize,
        ) -> u32;
    }
}

/// Writes one line to the host's log; `level` runs from 0 (trace) to 5 (critical).
pub fn log(level: u32, text: &str) -> Result<()> {
    // SAFETY: the pointer and the length describe a live string.
    told("proxy_log", unsafe { import::proxy_log(level, text.as_ptr(), text.len()) })
}

/// The least level that the host writes: 0 (trace) to 6 (off).
pub fn log_level() -> Result<u32> {
    let mut level = 0;
    // SAFETY: the pointer is to a live `u32`.
    told("proxy_get_log_level", unsafe { import::proxy_get_log_level(&mut level) })?;
    Ok(level)
}

/// The host's wall clock, in nanoseconds since 1970.
pub fn current_time() -> Result<u64> {
    let mut time = 0;
    // SAFETY: the pointer is to a live `u64`.
    told("proxy_get_current_time_nanoseconds", unsafe { import::proxy_get_current_time_nanoseconds(&mut time) })?;
    Ok(time)
}

/// Asks for `proxy_on_tick` every `period` milliseconds on the root of the active context; 0 ends it.
pub fn set_tick_period(period: u32) -> Result<()> {
    // SAFETY: no pointer travels.
    told("proxy_set_tick_period_milliseconds", unsafe { import::proxy_set_tick_period_milliseconds(period) })
}

/// Makes `context` the one that the next host calls of this callback act on.
pub fn set_effective_context(context: u32) -> Result<()> {
    // SAFETY: no pointer travels.
    told("proxy_set_effective_context", unsafe { import::proxy_set_effective_context(context) })
}

/// At most `max` bytes of a buffer, from byte `start` on.
pub fn buffer_bytes(kind: BufferKind, start: usize, max: usize) -> Result<Vec<u8>> {
    received("proxy_get_buffer_bytes", |bytes, len| {
        // SAFETY: both out-pointers are live.
        unsafe { import::proxy_get_buffer_bytes(kind as u32, start, max, bytes, len) }
    })
}

/// Puts `bytes` in the place of the first `len` bytes of a buffer; `start` past the end appends.
pub fn set_buffer_bytes(kind: BufferKind, start: usize, len: usize, bytes: &[u8]) -> Result<()> {
    // SAFETY: the pointer and the length describe a live slice.
    told("proxy_set_buffer_bytes", unsafe {
        import::proxy_set_buffer_bytes(kind as u32, start, len, bytes.as_ptr(), bytes.len())
    })
}

/// As [`buffer_bytes`], into memory that is there already.
pub fn buffer_bytes_into(kind: BufferKind, start: usize, max: usize, out: &mut Vec<u8>) -> Result<()> {
    received_into("proxy_get_buffer_bytes", out, |bytes, len| {
        // SAFETY: both out-pointers are live.
        unsafe { import::proxy_get_buffer_bytes(kind as u32, start, max, bytes, len) }
    })
}

/// The first line of that name in a header map, into memory that is there already.
pub fn header_map_value_into(kind: MapKind, name: &str, out: &mut Vec<u8>) -> Result<()> {
    received_into("proxy_get_header_map_value", out, |bytes, len| {
        // SAFETY: the name is a live string, both out-pointers are live.
        unsafe { import::proxy_get_header_map_value(kind as u32, name.as_ptr(), name.len(), bytes, len) }
    })
}

/// All lines of a header map, in the encoding of the ABI.
pub fn header_map_pairs(kind: MapKind) -> Result<Vec<u8>> {
    received("proxy_get_header_map_pairs", |bytes, len| {
        // SAFETY: both out-pointers are live.
        unsafe { import::proxy_get_header_map_pairs(kind as u32, bytes, len) }
    })
}

/// Adds a line to a header map.
pub fn add_header_map_value(kind: MapKind, name: &str, value: &[u8]) -> Result<()> {
    // SAFETY: the pointers and the lengths describe live slices.
    told("proxy_add_header_map_value", unsafe {
        import::proxy_add_header_map_value(kind as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

/// Puts one line in the place of all lines of that name.
pub fn replace_header_map_value(kind: MapKind, name: &str, value: &[u8]) -> Result<()> {
    // SAFETY: the pointers and the lengths describe live slices.
    told("proxy_replace_header_map_value", unsafe {
        import::proxy_replace_header_map_value(kind as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

/// Takes all lines of a name out of a header map.
pub fn remove_header_map_value(kind: MapKind, name: &str) -> Result<()> {
    // SAFETY: the pointer and the length describe a live string.
    told("proxy_remove_header_map_value", unsafe {
        import::proxy_remove_header_map_value(kind as u32, name.as_ptr(), name.len())
    })
}

/// Lets a paused direction of the active stream move on.
pub fn continue_stream(kind: StreamKind) -> Result<()> {
    // SAFETY: no pointer travels.
    told("proxy_continue_stream", unsafe { import::proxy_continue_stream(kind as u32) })
}

/// Resets the active stream.
pub fn close_stream(kind: StreamKind) -> Result<()> {
    // SAFETY: no pointer travels.
    told("proxy_close_stream", unsafe { import::proxy_close_stream(kind as u32) })
}

/// Answers the active exchange; `headers` is in the encoding of the ABI, `grpc_status` -1 when there is none.
pub fn send_local_response(status: u32, details: &str, body: &[u8], headers: &[u8], grpc_status: i32) -> Result<()> {
    // SAFETY: the pointers and the lengths describe live slices.
    told("proxy_send_local_response", unsafe {
        import::proxy_send_local_response(
            status,
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            grpc_status,
        )
    })
}

/// Sends a request to a cluster; the answer comes as `proxy_on_http_call_response` with the token returned here.
///
/// `headers` and `trailers` are in the encoding of the ABI; a `timeout` of 0 milliseconds is none.
pub fn http_call(cluster: &str, headers: &[u8], body: &[u8], trailers: &[u8], timeout: u32) -> Result<u32> {
    let mut token = 0;
    // SAFETY: the pointers and the lengths describe live slices, and a live `u32`.
    told("proxy_http_call", unsafe {
        import::proxy_http_call(
            cluster.as_ptr(),
            cluster.len(),
            headers.as_ptr(),
            headers.len(),
            body.as_ptr(),
            body.len(),
            trailers.as_ptr(),
            trailers.len(),
            timeout,
            &mut token,
        )
    })?;
    Ok(token)
}

/// Makes a unary gRPC call; the answer comes as `proxy_on_grpc_receive`, a failure as `proxy_on_grpc_close`, with the
/// token returned here.
///
/// `service` is a cluster's name or Envoy's `GrpcService`; `metadata` is in the encoding of the ABI.
#[cfg(feature = "grpc")]
pub fn grpc_call(
    service: &[u8],
    name: &str,
    method: &str,
    metadata: &[u8],
    message: &[u8],
    timeout: u32,
) -> Result<u32> {
    let mut token = 0;
    // SAFETY: the pointers and the lengths describe live slices, and a live `u32`.
    told("proxy_grpc_call", unsafe {
        import::proxy_grpc_call(
            service.as_ptr(),
            service.len(),
            name.as_ptr(),
            name.len(),
            method.as_ptr(),
            method.len(),
            metadata.as_ptr(),
            metadata.len(),
            message.as_ptr(),
            message.len(),
            timeout,
            &mut token,
        )
    })?;
    Ok(token)
}

/// Opens a gRPC stream; what the peer says comes as the four `proxy_on_grpc_` callbacks with the token returned here.
#[cfg(feature = "grpc")]
pub fn grpc_stream(service: &[u8], name: &str, method: &str, metadata: &[u8]) -> Result<u32> {
    let mut token = 0;
    // SAFETY: the pointers and the lengths describe live slices, and a live `u32`.
    told("proxy_grpc_stream", unsafe {
        import::proxy_grpc_stream(
            service.as_ptr(),
            service.len(),
            name.as_ptr(),
            name.len(),
            method.as_ptr(),
            method.len(),
            metadata.as_ptr(),
            metadata.len(),
            &mut token,
        )
    })?;
    Ok(token)
}

/// Sends a message on a gRPC stream; with `end`, the last.
#[cfg(feature = "grpc")]
pub fn grpc_send(token: u32, message: &[u8], end: bool) -> Result<()> {
    // SAFETY: the pointer and the length describe a live slice.
    told("proxy_grpc_send", unsafe { import::proxy_grpc_send(token, message.as_ptr(), message.len(), end) })
}

/// Gives a gRPC call or stream up.
#[cfg(feature = "grpc")]
pub fn grpc_cancel(token: u32) -> Result<()> {
    // SAFETY: no pointer travels.
    told("proxy_grpc_cancel", unsafe { import::proxy_grpc_cancel(token) })
}

/// Ends this side of a gRPC stream.
#[cfg(feature = "grpc")]
pub fn grpc_close(token: u32) -> Result<()> {
    // SAFETY: no pointer travels.
    told("proxy_grpc_close", unsafe { import::proxy_grpc_close(token) })
}

/// The status of the gRPC call that has just ended, and its message.
#[cfg(feature = "grpc")]
pub fn status() -> Result<(u32, Vec<u8>)> {
    let mut status = 0;
    let message = received("proxy_get_status", |bytes, len| {
        // SAFETY: all out-pointers are live.
        unsafe { import::proxy_get_status(&mut status, bytes, len) }
    })?;
    Ok((status, message))
}

/// The bytes of a property; the segments of `path` are separated by NUL.
pub fn property(path: &str) -> Result<Vec<u8>> {
    received("proxy_get_property", |bytes, len| {
        // SAFETY: the path is a live string, both out-pointers are live.
        unsafe { import::proxy_get_property(path.as_ptr(), path.len(), bytes, len) }
    })
}

/// As [`property`], into memory that is there already.
pub fn property_into(path: &str, out: &mut Vec<u8>) -> Result<()> {
    received_into("proxy_get_property", out, |bytes, len| {
        // SAFETY: the path is a live string, both out-pointers are live.
        unsafe { import::proxy_get_property(path.as_ptr(), path.len(), bytes, len) }
    })
}

/// Stores a value with the active stream, under a path whose segments are separated by NUL.
pub fn set_property(path: &str, value: &[u8]) -> Result<()> {
    // SAFETY: the pointers and the lengths describe live slices.
    told("proxy_set_property", unsafe {
        import::proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len())
    })
}

/// Calls a function that the host offers by name; which there are, and what the bytes mean, is the host's affair.
pub fn call_foreign_function(name: &str, argument: &[u8]) -> Result<Vec<u8>> {
    received(FOREIGN, |bytes, len| foreign(name, argument, bytes, len))
}

/// As [`call_foreign_function`], into memory that is there already; for functions that do not call the guest back.
pub(crate) fn call_foreign_function_into(name: &str, argument: &[u8], out: &mut Vec<u8>) -> Result<()> {
    received_into(FOREIGN, out, |bytes, len| foreign(name, argument, bytes, len))
}

const FOREIGN: &str = "proxy_call_foreign_function";

fn foreign(name: &str, argument: &[u8], bytes: *mut *mut u8, len: *mut usize) -> u32 {
    // SAFETY: the name and the argument are live slices; the two callers pass live out-pointers.
    unsafe {
        import::proxy_call_foreign_function(name.as_ptr(), name.len(), argument.as_ptr(), argument.len(), bytes, len)
    }
}

/// A value that the VMs of one `vm_id` share, and its number for compare-and-swap.
pub fn shared_data(key: &[u8]) -> Result<(Vec<u8>, u32)> {
    let mut cas = 0;
    let value = received("proxy_get_shared_data", |bytes, len| {
        // SAFETY: the key is a live slice, all out-pointers are live.
        unsafe { import::proxy_get_shared_data(key.as_ptr(), key.len(), bytes, len, &mut cas) }
    })?;
    Ok((value, cas))
}

/// Stores a shared value if the present one still has the number `cas`.
///
/// As Envoy does it: 0 stores whatever there is, and any other number stores where there is nothing yet.
pub fn set_shared_data(key: &[u8], value: &[u8], cas: u32) -> Result<()> {
    // SAFETY: the pointers and the lengths describe live slices.
    told("proxy_set_shared_data", unsafe {
        import::proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas)
    })
}

/// Makes a queue, or finds the one of this name, and has its notices sent to the root of the active context.
pub fn register_queue(name: &[u8]) -> Result<u32> {
    let mut queue = 0;
    // SAFETY: the pointer and the length describe a live slice, the last pointer is to a live `u32`.
    told("proxy_register_shared_queue", unsafe {
        import::proxy_register_shared_queue(name.as_ptr(), name.len(), &mut queue)
    })?;
    Ok(queue)
}

/// Finds a queue that a VM of that id has registered; an empty id is the own.
pub fn resolve_queue(vm_id: &str, name: &[u8]) -> Result<u32> {
    let mut queue = 0;
    // SAFETY: the pointers and the lengths describe live slices, the last pointer is to a live `u32`.
    told("proxy_resolve_shared_queue", unsafe {
        import::proxy_resolve_shared_queue(vm_id.as_ptr(), vm_id.len(), name.as_ptr(), name.len(), &mut queue)
    })?;
    Ok(queue)
}

/// Appends an item to a queue; its registrant gets `proxy_on_queue_ready` later, for each item once.
pub fn enqueue(queue: u32, item: &[u8]) -> Result<()> {
    // SAFETY: the pointer and the length describe a live slice.
    told("proxy_enqueue_shared_queue", unsafe { import::proxy_enqueue_shared_queue(queue, item.as_ptr(), item.len()) })
}

/// Takes the oldest item of a queue, whoever registered it; [`Status::EMPTY`] if there is none.
pub fn dequeue(queue: u32) -> Result<Vec<u8>> {
    received("proxy_dequeue_shared_queue", |bytes, len| {
        // SAFETY: both out-pointers are live.
        unsafe { import::proxy_dequeue_shared_queue(queue, bytes, len) }
    })
}

/// Makes a metric, or another number for the one that has this kind and name already.
pub fn define_metric(kind: MetricKind, name: &str) -> Result<u32> {
    let mut id = 0;
    // SAFETY: the name is a live string, the pointer is to a live `u32`.
    told("proxy_define_metric", unsafe {
        import::proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &mut id)
    })?;
    Ok(id)
}

/// Moves a counter, which takes more than 0 only, or a gauge, which wraps below 0.
pub fn increment_metric(id: u32, offset: i64) -> Result<()> {
    // SAFETY: no pointer travels.
    told("proxy_increment_metric", unsafe { import::proxy_increment_metric(id, offset) })
}

/// Adds to a counter, sets a gauge, gives a histogram a sample.
pub fn record_metric(id: u32, value: u64) -> Result<()> {
    // SAFETY: no pointer travels.
    told("proxy_record_metric", unsafe { import::proxy_record_metric(id, value) })
}

/// The value of a counter or a gauge, over all workers.
pub fn metric(id: u32) -> Result<u64> {
    let mut value = 0;
    // SAFETY: the pointer is to a live `u64`.
    told("proxy_get_metric", unsafe { import::proxy_get_metric(id, &mut value) })?;
    Ok(value)
}

/// The allocator that the host calls for the bytes it hands over; null when memory is at its end.
pub(crate) fn allocate(len: usize) -> *mut u8 {
    if let Some(lent) = LENT.with(|lent| lent.take_if_fits(len)) {
        return lent;
    }
    match Layout::array::<u8>(len) {
        // SAFETY: the layout is not empty.
        Ok(layout) if len > 0 => unsafe { std::alloc::alloc(layout) },
        _ => ptr::null_mut(),
    }
}

/// Memory of the caller's that the next block may be handed over in.
struct Lent {
    start: std::cell::Cell<*mut u8>,
    capacity: std::cell::Cell<usize>,
}

thread_local! {
    static LENT: Lent =
        const { Lent { start: std::cell::Cell::new(ptr::null_mut()), capacity: std::cell::Cell::new(0) } };
}

impl Lent {
    fn set(&self, start: *mut u8, capacity: usize) {
        self.start.set(start);
        self.capacity.set(capacity);
    }

    /// The memory, once.
    fn take_if_fits(&self, len: usize) -> Option<*mut u8> {
        if len == 0 || len > self.capacity.replace(0) {
            return None;
        }
        Some(self.start.get())
    }
}

/// Runs the constructors that the linker collected; the start of every module does it once.
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub fn call_constructors() {
    unsafe extern "C" {
        fn __wasm_call_ctors();
    }
    // SAFETY: `_initialize` calls this once, before anything else runs.
    unsafe { __wasm_call_ctors() }
}

fn told(call: &'static str, status: u32) -> Result<()> {
    match Status(status) {
        Status::OK => Ok(()),
        status => Err(HostError { call, status }),
    }
}

/// Makes a call that hands over a block, and takes ownership of it.
fn received(call: &'static str, run: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Vec<u8>> {
    let mut bytes = ptr::null_mut();
    let mut len = 0;
    told(call, run(&mut bytes, &mut len))?;
    match (bytes.is_null(), len) {
        (_, 0) => Ok(Vec::new()),
        (true, _) => Err(HostError { call, status: Status::INVALID_MEMORY_ACCESS }),
        // SAFETY: the host took the block from `allocate` with exactly this length, and left it to us.
        (false, _) => Ok(unsafe { Vec::from_raw_parts(bytes, len, len) }),
    }
}

/// Makes a call that hands over a block, in the memory of `out` if that suffices; otherwise the block takes its place.
///
/// A caller that keeps its `out` needs no memory for its calls, once the longest answer has come. Only for calls in which
/// the host does not call the guest back: the memory is lent until `run` returns.
fn received_into(
    call: &'static str,
    out: &mut Vec<u8>,
    run: impl FnOnce(*mut *mut u8, *mut usize) -> u32,
) -> Result<()> {
    let mut bytes = ptr::null_mut();
    let mut len = 0;
    out.clear();
    LENT.with(|lent| lent.set(out.as_mut_ptr(), out.capacity()));
    let status = run(&mut bytes, &mut len);
    LENT.with(|lent| lent.set(ptr::null_mut(), 0));
    told(call, status)?;
    if len == 0 {
        return Ok(());
    }
    let is_ours = bytes == out.as_mut_ptr();
    if bytes.is_null() || (is_ours && len > out.capacity()) {
        return Err(HostError { call, status: Status::INVALID_MEMORY_ACCESS });
    }
    if is_ours {
        // SAFETY: the host has filled the first `len` bytes of the memory that `allocate` lent it, which are ours.
        unsafe { out.set_len(len) };
    } else {
        // SAFETY: the host took the block from `allocate` with exactly this length, and left it to us.
        *out = unsafe { Vec::from_raw_parts(bytes, len, len) };
    }
    Ok(())
}

/// A waker from its parts, for the executor, whose wakers own nothing.
pub(crate) fn waker(raw: std::task::RawWaker) -> std::task::Waker {
    // SAFETY: the data is a number in the shape of a pointer, so cloning and dropping need to do nothing; the
    // executor has one thread, and a waker that is carried to another one finds an empty table there.
    unsafe { std::task::Waker::from_raw(raw) }
}
