//! The native door: the guest is code of this very process, and this file defines the host calls that it links to.
//!
//! Where an SDK is linked into the same binary, its callbacks are called and its host calls end here. A panic of the
//! guest becomes a trap, if the SDK lets it unwind. All guests of a thread share the SDK's tables; that is why
//! context ids and callout tokens are counted by thread.
#![expect(unsafe_code, reason = "symbols of the ABI are defined and called here, and addresses of the process read")]

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, PoisonError};

use crate::abi::Status;
use crate::callback::{Callback, Trap};
use crate::guest::Guest;
use crate::imports::{Import, TABLE};
use crate::memory::Memory;
use crate::vm::VmState;

thread_local! {
    /// The state of the worker whose guest is running on this thread, when a host call does not have it.
    static STATE: RefCell<Option<Box<VmState>>> = const { RefCell::new(None) };
}

/// What a host call answers where no guest runs, such as on a thread that a plugin has started.
const NOBODY: Status = Status::Ok;

/// Registers a plugin with its SDK, on this thread.
///
/// SDKs set up logging and panic hooks for the whole process then, so only one thread may do it at a time, and the
/// hook is put back.
fn register(register: fn()) -> Result<(), String> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let hook = panic::take_hook();
    // The hook must not be the one that prints while the plugin registers; it is put back in any case.
    let result = panic::catch_unwind(register);
    drop(panic::take_hook());
    panic::set_hook(hook);
    result.map_err(|payload| format!("registering the plugin panicked: {}", words(payload.as_ref())))
}

/// A plugin that is linked into this process.
///
/// Only whoever makes one refers to the SDK's callbacks, through a pointer that travels in it: a program that has
/// this feature on, but no plugin linked in, links all the same.
#[derive(Debug, Clone, Copy)]
pub struct Linked {
    register: fn(),
    guest: fn() -> Box<dyn Guest>,
}

impl Linked {
    /// The plugin that this function registers with its SDK.
    #[must_use]
    pub fn new(register: fn()) -> Self {
        Self { register, guest: || Box::new(Native) }
    }

    /// Registers the plugin, on this thread.
    pub(crate) fn register(self) -> Result<(), String> {
        register(self.register)
    }

    /// The guest behind the symbols.
    pub(crate) fn guest(self) -> Box<dyn Guest> {
        (self.guest)()
    }

    pub(crate) fn same(self, other: Self) -> bool {
        std::ptr::fn_addr_eq(self.register, other.register)
    }
}

/// Whether a plugin of this thread is running at this moment, and not a host call of its: for an allocator that counts
/// what the plugin takes. Never allocates.
#[must_use]
pub fn is_in_guest() -> bool {
    STATE.try_with(|state| state.try_borrow().is_ok_and(|state| state.is_some())).unwrap_or_default()
}

struct Native;

impl Guest for Native {
    fn call(&mut self, state: Box<VmState>, callback: Callback) -> (Box<VmState>, Result<u32, Trap>) {
        // Another worker's guest cannot be running below this one: guests do not call workers.
        STATE.set(Some(state));
        let result = panic::catch_unwind(AssertUnwindSafe(|| enter(callback)));
        #[expect(clippy::expect_used, reason = "INVARIANT: host calls put the state back before they return")]
        let state = STATE.take().expect("the state comes back with the guest");
        let result =
            result.map_err(|payload| Trap { function: callback.name(), reason: words(payload.as_ref()).to_owned() });
        (state, result)
    }
}

/// The text of a panic.
fn words(payload: &(dyn std::any::Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text")
}

/// What every symbol does: the table's body with this process as memory.
fn host_call(import: &Import, arguments: &[u64]) -> u32 {
    let Some(mut state) = STATE.try_with(|state| state.try_borrow_mut().ok()?.take()).ok().flatten() else {
        return NOBODY as u32;
    };
    let status = if state.running.stop.is_some() {
        Status::InternalFailure as u32
    } else {
        import.invoke(&mut state, &mut Process, arguments).unwrap_or_else(|stop| {
            // A trap cannot cross the guest's frames; the callback fails when it has returned.
            state.running.stop = Some(stop.reason);
            Status::InternalFailure as u32
        })
    };
    STATE.set(Some(state));
    status
}

/// This process as a guest's memory.
struct Process;

impl Memory for Process {
    fn read(&self, ptr: u64, len: u64) -> Result<&[u8], Status> {
        if len == 0 {
            return Ok(&[]);
        }
        let (ptr, len) = (address(ptr)?, usize::try_from(len).map_err(|_| Status::InvalidMemoryAccess)?);
        if isize::try_from(len).is_err() {
            return Err(Status::InvalidMemoryAccess);
        }
        // SAFETY: the guest lends this range for the time of its host call, which the slice does not outlive.
        Ok(unsafe { std::slice::from_raw_parts(ptr.cast_const(), len) })
    }

    fn write(&mut self, ptr: u64, bytes: &[u8]) -> Result<(), Status> {
        let ptr = address(ptr)?;
        // SAFETY: the address is one that the guest passed for a result of this size, or a block of `allocate`;
        // neither overlaps with bytes of the host.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), ptr, bytes.len()) };
        Ok(())
    }

    fn write_usize(&mut self, ptr: u64, value: u64) -> Result<(), Status> {
        let value = usize::try_from(value).map_err(|_| Status::InvalidMemoryAccess)?;
        self.write(ptr, &value.to_ne_bytes())
    }

    fn allocate(&mut self, len: u64) -> Result<u64, Status> {
        let len = usize::try_from(len).map_err(|_| Status::InvalidMemoryAccess)?;
        // SDKs adopt the block as a `Vec` of exactly this length and capacity, from this process's allocator.
        let block: Box<[u8]> = vec![0; len].into_boxed_slice();
        Ok(Box::into_raw(block).cast::<u8>().expose_provenance() as u64)
    }
}

fn address(ptr: u64) -> Result<*mut u8, Status> {
    match usize::try_from(ptr) {
        Ok(0) | Err(_) => Err(Status::InvalidMemoryAccess),
        Ok(ptr) => Ok(std::ptr::with_exposed_provenance_mut(ptr)),
    }
}

/// An argument as the table's bodies take it.
trait Argument {
    fn widen(self) -> u64;
}

macro_rules! arguments {
    ($($type:ty: $value:ident => $widened:expr;)*) => {
        $(impl Argument for $type {
            fn widen(self) -> u64 {
                let $value = self;
                $widened
            }
        })*
    };
}

arguments! {
    bool: value => u64::from(value);
    u32: value => u64::from(value);
    i32: value => u64::from(value.cast_unsigned());
    u64: value => value;
    i64: value => value.cast_unsigned();
    usize: value => value as u64;
    *const u8: value => value.expose_provenance() as u64;
    *mut u32: value => value.expose_provenance() as u64;
    *mut u64: value => value.expose_provenance() as u64;
    *mut usize: value => value.expose_provenance() as u64;
    *mut *mut u8: value => value.expose_provenance() as u64;
}

/// Defines a symbol per host call; its row of the table is found while compiling.
macro_rules! symbols {
    ($($name:ident($($argument:ident: $type:ty),*);)*) => {
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $name($($argument: $type),*) -> u32 {
                const IMPORT: &Import = row(stringify!($name));
                host_call(IMPORT, &[$($argument.widen()),*])
            }
        )*

        #[cfg(test)]
        const DEFINED: &[&str] = &[$(stringify!($name)),*];
    };
}

#[expect(clippy::panic, clippy::indexing_slicing, reason = "runs while compiling only")]
const fn row(name: &str) -> &'static Import {
    let mut index = 0;
    while index < TABLE.len() {
        if same(TABLE[index].name.as_bytes(), name.as_bytes()) {
            return &TABLE[index];
        }
        index += 1;
    }
    panic!("the symbol is not in the table")
}

const fn same(mut one: &[u8], mut other: &[u8]) -> bool {
    loop {
        match (one.split_first(), other.split_first()) {
            (None, None) => return true,
            (Some((a, rest)), Some((b, others))) if *a == *b => (one, other) = (rest, others),
            _ => return false,
        }
    }
}

symbols! {
    proxy_log(a: u32, b: *const u8, c: usize);
    proxy_get_log_level(a: *mut u32);
    proxy_get_current_time_nanoseconds(a: *mut u64);
    proxy_set_tick_period_milliseconds(a: u32);
    proxy_get_configuration(a: *mut *mut u8, b: *mut usize);
    proxy_get_status(a: *mut u32, b: *mut *mut u8, c: *mut usize);
    proxy_set_effective_context(a: u32);
    proxy_done();
    proxy_call_foreign_function(a: *const u8, b: usize, c: *const u8, d: usize, e: *mut *mut u8, f: *mut usize);
    proxy_get_header_map_value(a: u32, b: *const u8, c: usize, d: *mut *mut u8, e: *mut usize);
    proxy_get_header_map_pairs(a: u32, b: *mut *mut u8, c: *mut usize);
    proxy_get_header_map_size(a: u32, b: *mut u32);
    proxy_add_header_map_value(a: u32, b: *const u8, c: usize, d: *const u8, e: usize);
    proxy_replace_header_map_value(a: u32, b: *const u8, c: usize, d: *const u8, e: usize);
    proxy_remove_header_map_value(a: u32, b: *const u8, c: usize);
    proxy_set_header_map_pairs(a: u32, b: *const u8, c: usize);
    proxy_get_buffer_bytes(a: u32, b: usize, c: usize, d: *mut *mut u8, e: *mut usize);
    proxy_get_buffer_status(a: u32, b: *mut usize, c: *mut u32);
    proxy_set_buffer_bytes(a: u32, b: usize, c: usize, d: *const u8, e: usize);
    proxy_continue_stream(a: u32);
    proxy_close_stream(a: u32);
    proxy_continue_request();
    proxy_continue_response();
    proxy_clear_route_cache();
    proxy_send_local_response(a: u32, b: *const u8, c: usize, d: *const u8, e: usize, f: *const u8, g: usize, h: i32);
    proxy_http_call(a: *const u8, b: usize, c: *const u8, d: usize, e: *const u8, f: usize, g: *const u8, h: usize, i: u32, j: *mut u32);
    proxy_grpc_call(a: *const u8, b: usize, c: *const u8, d: usize, e: *const u8, f: usize, g: *const u8, h: usize, i: *const u8, j: usize, k: u32, l: *mut u32);
    proxy_grpc_stream(a: *const u8, b: usize, c: *const u8, d: usize, e: *const u8, f: usize, g: *const u8, h: usize, i: *mut u32);
    proxy_grpc_send(a: u32, b: *const u8, c: usize, d: bool);
    proxy_grpc_cancel(a: u32);
    proxy_grpc_close(a: u32);
    proxy_get_shared_data(a: *const u8, b: usize, c: *mut *mut u8, d: *mut usize, e: *mut u32);
    proxy_set_shared_data(a: *const u8, b: usize, c: *const u8, d: usize, e: u32);
    proxy_register_shared_queue(a: *const u8, b: usize, c: *mut u32);
    proxy_resolve_shared_queue(a: *const u8, b: usize, c: *const u8, d: usize, e: *mut u32);
    proxy_dequeue_shared_queue(a: u32, b: *mut *mut u8, c: *mut usize);
    proxy_enqueue_shared_queue(a: u32, b: *const u8, c: usize);
    proxy_define_metric(a: u32, b: *const u8, c: usize, d: *mut u32);
    proxy_increment_metric(a: u32, b: i64);
    proxy_record_metric(a: u32, b: u64);
    proxy_get_metric(a: u32, b: *mut u64);
    proxy_get_property(a: *const u8, b: usize, c: *mut *mut u8, d: *mut usize);
    proxy_set_property(a: *const u8, b: usize, c: *const u8, d: usize);
}

unsafe extern "C-unwind" {
    fn proxy_on_context_create(context: u32, root: u32);
    fn proxy_on_vm_start(root: u32, size: usize) -> u8;
    fn proxy_on_configure(root: u32, size: usize) -> u8;
    fn proxy_on_tick(root: u32);
    fn proxy_on_queue_ready(root: u32, queue: u32);
    fn proxy_on_request_headers(context: u32, count: usize, end: bool) -> u32;
    fn proxy_on_request_body(context: u32, size: usize, end: bool) -> u32;
    fn proxy_on_request_trailers(context: u32, count: usize) -> u32;
    fn proxy_on_response_headers(context: u32, count: usize, end: bool) -> u32;
    fn proxy_on_response_body(context: u32, size: usize, end: bool) -> u32;
    fn proxy_on_response_trailers(context: u32, count: usize) -> u32;
    fn proxy_on_http_call_response(root: u32, token: u32, headers: usize, body_size: usize, trailers: usize);
    fn proxy_on_grpc_receive_initial_metadata(root: u32, token: u32, headers: u32);
    fn proxy_on_grpc_receive(root: u32, token: u32, size: usize);
    fn proxy_on_grpc_receive_trailing_metadata(root: u32, token: u32, trailers: u32);
    fn proxy_on_grpc_close(root: u32, token: u32, status: u32);
    fn proxy_on_new_connection(context: u32) -> u32;
    fn proxy_on_downstream_data(context: u32, size: usize, end: bool) -> u32;
    fn proxy_on_upstream_data(context: u32, size: usize, end: bool) -> u32;
    fn proxy_on_downstream_connection_close(context: u32, peer: u32);
    fn proxy_on_upstream_connection_close(context: u32, peer: u32);
    fn proxy_on_foreign_function(context: u32, function: u32, size: usize);
    fn proxy_on_log(context: u32);
    fn proxy_on_done(context: u32) -> u8;
    fn proxy_on_delete(context: u32);
}

/// Calls the export. A `bool` is read as its one byte; the rest of the register is not defined.
fn enter(callback: Callback) -> u32 {
    // SAFETY: the SDK that is linked in defines these symbols with these parameters; it keeps its state in
    // thread-locals, and each of its exports may be called at any time on this thread.
    unsafe {
        match callback {
            Callback::ContextCreate { context, root } => proxy_on_context_create(context, root),
            Callback::VmStart { root, config_len } => return proxy_on_vm_start(root, config_len as usize).into(),
            Callback::Configure { root, config_len } => return proxy_on_configure(root, config_len as usize).into(),
            Callback::Tick { root } => proxy_on_tick(root),
            Callback::QueueReady { root, queue } => proxy_on_queue_ready(root, queue),
            Callback::RequestHeaders { context, count, end } => {
                return proxy_on_request_headers(context, count as usize, end);
            }
            Callback::RequestBody { context, size, end } => return proxy_on_request_body(context, size as usize, end),
            Callback::RequestTrailers { context, count } => return proxy_on_request_trailers(context, count as usize),
            Callback::ResponseHeaders { context, count, end } => {
                return proxy_on_response_headers(context, count as usize, end);
            }
            Callback::ResponseBody { context, size, end } => {
                return proxy_on_response_body(context, size as usize, end);
            }
            Callback::ResponseTrailers { context, count } => {
                return proxy_on_response_trailers(context, count as usize);
            }
            Callback::HttpCallResponse { root, token, headers, body_size, trailers } => {
                proxy_on_http_call_response(root, token, headers as usize, body_size as usize, trailers as usize);
            }
            Callback::GrpcReceiveInitialMetadata { root, token, headers } => {
                proxy_on_grpc_receive_initial_metadata(root, token, headers);
            }
            Callback::GrpcReceive { root, token, size } => proxy_on_grpc_receive(root, token, size as usize),
            Callback::GrpcReceiveTrailingMetadata { root, token, trailers } => {
                proxy_on_grpc_receive_trailing_metadata(root, token, trailers);
            }
            Callback::GrpcClose { root, token, status } => proxy_on_grpc_close(root, token, status),
            Callback::NewConnection { context } => return proxy_on_new_connection(context),
            Callback::DownstreamData { context, size, end } => {
                return proxy_on_downstream_data(context, size as usize, end);
            }
            Callback::UpstreamData { context, size, end } => {
                return proxy_on_upstream_data(context, size as usize, end);
            }
            Callback::DownstreamClose { context, peer } => proxy_on_downstream_connection_close(context, peer),
            Callback::UpstreamClose { context, peer } => proxy_on_upstream_connection_close(context, peer),
            Callback::ForeignFunction { context, function, size } => {
                proxy_on_foreign_function(context, function, size as usize);
            }
            Callback::Log { context } => proxy_on_log(context),
            Callback::Done { context } => return proxy_on_done(context).into(),
            Callback::Delete { context } => proxy_on_delete(context),
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_call_has_a_symbol() {
        let missing: Vec<_> = TABLE.iter().map(|import| import.name).filter(|name| !DEFINED.contains(name)).collect();
        assert_eq!(missing, [""; 0]);
        assert_eq!(DEFINED.len(), TABLE.len());
    }

    #[test]
    fn without_a_guest_nothing_happens() {
        assert_eq!(proxy_done(), NOBODY as u32);
        let mut time = 7;
        assert_eq!(proxy_get_current_time_nanoseconds(&raw mut time), NOBODY as u32);
        assert_eq!(time, 7);
    }
}
