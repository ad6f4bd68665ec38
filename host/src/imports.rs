//! Every host call of the Proxy-Wasm ABI 0.1.0, 0.2.0 and 0.2.1, in one table that both doors walk.

use crate::abi::{AbiVersion, Status};
use crate::calls::{buffers, callouts, foreign, general, grpc, header_maps, metrics, properties, shared, streams};
use crate::memory::Memory;
use crate::sandbox::Family;
use crate::trace_line::TraceLine;
use crate::vm::VmState;

/// What a parameter of a host call stands for; it tells the doors the width, and a trace what may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Param {
    /// A number of 32 bits.
    Number,
    /// A number of 64 bits.
    Long,
    /// An address of bytes that the host reads; as wide as the guest's pointers.
    Pointer,
    /// A length; as wide as the guest's pointers.
    Size,
    /// An address that the host writes a result to; as wide as the guest's pointers.
    Out,
}

impl Param {
    const fn val(self) -> Val {
        match self {
            Self::Long => Val::I64,
            _ => Val::I32,
        }
    }
}

/// The Wasm type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Val {
    /// 32 bits.
    I32,
    /// 64 bits.
    I64,
}

/// The body of a host call. Arguments are as many as [`Import::params`].
pub type Body = fn(&mut VmState, &mut dyn Memory, &[u64]) -> Result<(), Status>;

/// One host call. All of them answer a status as `i32`, in module `env`.
#[derive(Debug)]
pub struct Import {
    /// Such as `proxy_log`.
    pub name: &'static str,
    /// What it takes, as Wasm types.
    pub params: &'static [Val],
    /// What its parameters mean.
    pub meaning: &'static [Param],
    /// The ABI versions that have it.
    pub abis: &'static [AbiVersion],
    body: Body,
}

/// A host call may not go on: the guest has to be stopped as if it had trapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// Why, in words.
    pub reason: String,
}

impl Import {
    /// The host call of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        IMPORTS.iter().find(|import| import.name == name)
    }

    /// Runs the call for the guest that is running, with its trace, faults and limits. The answer goes to the guest as
    /// it is.
    ///
    /// # Errors
    ///
    /// A [`Stop`], if the guest may not make this call now, or no more calls; a door makes it a trap.
    pub fn invoke(&self, state: &mut VmState, memory: &mut dyn Memory, arguments: &[u64]) -> Result<u32, Stop> {
        state.before_call(self, arguments)?;
        let status = if !state.sandbox().capabilities.allow(self.name) {
            state.log_restricted(Family::ProxyWasm, self.name);
            Status::InternalFailure as u32
        } else if let Some(number) = state.injected(self) {
            number
        } else {
            (self.body)(state, memory, arguments).err().unwrap_or(Status::Ok) as u32
        };
        state.after_call(self, status);
        Ok(status)
    }
}

/// What every host call passes on its way in and out.
impl VmState {
    fn before_call(&mut self, import: &Import, arguments: &[u64]) -> Result<(), Stop> {
        self.counters.host_calls += 1;
        self.running.calls += 1;
        if let Some(trace) = &mut self.trace {
            trace.push(TraceLine::call(import.name, arguments));
        }
        if let Some(segment) = &mut self.segment {
            segment.count(import.name);
        }
        if let Some(limit) = self.sandbox().limits.host_calls
            && self.running.calls > limit
        {
            return Err(Stop { reason: format!("more than {limit} host calls in one callback") });
        }
        if self.running.callback.is_none() && import.name != "proxy_log" {
            return Err(Stop { reason: format!("restricted_callback: `{}` is not allowed at start-up", import.name) });
        }
        Ok(())
    }

    /// The number that a fault puts in place of the call.
    fn injected(&mut self, import: &Import) -> Option<u32> {
        self.options.faults.as_mut()?.at_call(import.name)
    }

    fn after_call(&mut self, import: &Import, status: u32) {
        if let Some(trace) = &mut self.trace {
            trace.push(TraceLine::answer(import.name, status));
        }
    }
}

use AbiVersion::{V0_1_0, V0_2_0, V0_2_1};

const ALL: &[AbiVersion] = AbiVersion::ALL;
const OLD: &[AbiVersion] = &[V0_1_0];
const NEW: &[AbiVersion] = &[V0_2_0, V0_2_1];
const NEWEST: &[AbiVersion] = &[V0_2_1];

/// One row of the table.
macro_rules! import {
    ($name:literal, $abis:ident, [$($param:ident),*], $body:path $(,)?) => {
        Import { name: $name, params: &[$(Param::$param.val()),*], meaning: &[$(Param::$param),*], abis: $abis, body: $body }
    };
}

/// Every host call.
pub static IMPORTS: &[Import] = TABLE;

pub(crate) const TABLE: &[Import] = &[
    import!("proxy_log", ALL, [Number, Pointer, Size], general::log),
    import!("proxy_get_log_level", NEWEST, [Out], general::get_log_level),
    import!("proxy_get_current_time_nanoseconds", ALL, [Out], general::get_current_time),
    import!("proxy_set_tick_period_milliseconds", ALL, [Number], general::set_tick_period),
    import!("proxy_get_configuration", OLD, [Out, Out], general::get_configuration),
    import!("proxy_get_status", ALL, [Out, Out, Out], general::get_status),
    import!("proxy_set_effective_context", ALL, [Number], general::set_effective_context),
    import!("proxy_done", ALL, [], general::done),
    import!("proxy_call_foreign_function", ALL, [Pointer, Size, Pointer, Size, Out, Out], foreign::call),
    import!("proxy_get_header_map_value", ALL, [Number, Pointer, Size, Out, Out], header_maps::get_value),
    import!("proxy_get_header_map_pairs", ALL, [Number, Out, Out], header_maps::get_pairs),
    import!("proxy_get_header_map_size", ALL, [Number, Out], header_maps::get_size),
    import!("proxy_add_header_map_value", ALL, [Number, Pointer, Size, Pointer, Size], header_maps::add),
    import!("proxy_replace_header_map_value", ALL, [Number, Pointer, Size, Pointer, Size], header_maps::replace),
    import!("proxy_remove_header_map_value", ALL, [Number, Pointer, Size], header_maps::remove),
    import!("proxy_set_header_map_pairs", ALL, [Number, Pointer, Size], header_maps::set_pairs),
    import!("proxy_get_buffer_bytes", ALL, [Number, Size, Size, Out, Out], buffers::get_bytes),
    import!("proxy_get_buffer_status", ALL, [Number, Out, Out], buffers::get_status),
    import!("proxy_set_buffer_bytes", ALL, [Number, Size, Size, Pointer, Size], buffers::set_bytes),
    import!("proxy_continue_stream", NEW, [Number], streams::continue_stream),
    import!("proxy_close_stream", NEW, [Number], streams::close_stream),
    import!("proxy_continue_request", OLD, [], streams::continue_request),
    import!("proxy_continue_response", OLD, [], streams::continue_response),
    import!("proxy_clear_route_cache", OLD, [], streams::clear_route_cache),
    import!(
        "proxy_send_local_response",
        ALL,
        [Number, Pointer, Size, Pointer, Size, Pointer, Size, Number],
        streams::send_local_response,
    ),
    import!(
        "proxy_http_call",
        ALL,
        [Pointer, Size, Pointer, Size, Pointer, Size, Pointer, Size, Number, Out],
        callouts::http_call,
    ),
    import!(
        "proxy_grpc_call",
        ALL,
        [Pointer, Size, Pointer, Size, Pointer, Size, Pointer, Size, Pointer, Size, Number, Out],
        grpc::call,
    ),
    import!("proxy_grpc_stream", ALL, [Pointer, Size, Pointer, Size, Pointer, Size, Pointer, Size, Out], grpc::stream,),
    import!("proxy_grpc_send", ALL, [Number, Pointer, Size, Number], grpc::send),
    import!("proxy_grpc_cancel", ALL, [Number], grpc::cancel),
    import!("proxy_grpc_close", ALL, [Number], grpc::close),
    import!("proxy_get_shared_data", ALL, [Pointer, Size, Out, Out, Out], shared::get),
    import!("proxy_set_shared_data", ALL, [Pointer, Size, Pointer, Size, Number], shared::set),
    import!("proxy_register_shared_queue", ALL, [Pointer, Size, Out], shared::register_queue),
    import!("proxy_resolve_shared_queue", ALL, [Pointer, Size, Pointer, Size, Out], shared::resolve_queue),
    import!("proxy_dequeue_shared_queue", ALL, [Number, Out, Out], shared::dequeue),
    import!("proxy_enqueue_shared_queue", ALL, [Number, Pointer, Size], shared::enqueue),
    import!("proxy_define_metric", ALL, [Number, Pointer, Size, Out], metrics::define),
    import!("proxy_increment_metric", ALL, [Number, Long], metrics::increment),
    import!("proxy_record_metric", ALL, [Number, Long], metrics::record),
    import!("proxy_get_metric", ALL, [Number, Out], metrics::get),
    import!("proxy_get_property", ALL, [Pointer, Size, Out, Out], properties::get),
    import!("proxy_set_property", ALL, [Pointer, Size, Pointer, Size], properties::set),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for (at, import) in IMPORTS.iter().enumerate() {
            assert!(IMPORTS.iter().skip(at + 1).all(|other| other.name != import.name), "{}", import.name);
        }
        assert_eq!(IMPORTS.len(), 43);
    }
}
