//! What a Wasm instance carries along: the proxy's state, the limits, and the way to its memory.

use std::sync::Arc;

use wasmtime::{Caller, Memory as LinearMemory, StoreLimits, TypedFunc};

use super::random::Random;
use crate::abi::{LogLevel, Status};
use crate::memory::Memory;
use crate::sandbox::{Capabilities, Family};
use crate::services::Services;
use crate::trace_line::TraceLine;
use crate::vm::VmState;

/// The data of one store.
pub(super) struct Data {
    /// The proxy's state while the guest runs; absent while a host call works on it.
    pub(super) state: Option<Box<VmState>>,
    /// What the guest is doing, which decides what it may call.
    pub(super) phase: Phase,
    /// The module's only memory, absent until it is instantiated.
    pub(super) memory: Option<LinearMemory>,
    /// `malloc` or `proxy_on_memory_allocate`.
    pub(super) allocator: Option<TypedFunc<u32, u32>>,
    pub(super) limits: StoreLimits,
    pub(super) services: Arc<Services>,
    /// The environment variables that the module can read.
    pub(super) environment: Arc<[(String, String)]>,
    /// The functions that the module may call.
    pub(super) capabilities: Capabilities,
    pub(super) random: Random,
    /// What is to be logged about the allocator, which ran while a host call had the state.
    pub(super) late_logs: Vec<LateLog>,
    /// The trap that the allocator ran into; it ends the callback when the host call returns.
    pub(super) trapped: Option<wasmtime::Error>,
}

/// A line that has to wait for the state.
pub(super) enum LateLog {
    /// The guest logged it.
    Guest(LogLevel, Vec<u8>),
    /// The guest called a function that it may not.
    Restricted(Family, &'static str),
}

/// What the guest is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its start-up function runs.
    Starting,
    /// A callback runs.
    Running,
    /// Its allocator runs, called from within a host call.
    Allocating,
}

/// The trap for a call that Envoy does not allow at this time.
pub(super) fn restricted(name: &str, phase: Phase) -> wasmtime::Error {
    let when = match phase {
        Phase::Allocating => "inside the allocator",
        Phase::Starting | Phase::Running => "before `proxy_on_context_create`, while the module starts",
    };
    wasmtime::format_err!("restricted_callback: `{name}` may not be called {when}")
}

impl Data {
    pub(super) fn new(
        services: Arc<Services>,
        environment: Arc<[(String, String)]>,
        capabilities: Capabilities,
        limits: StoreLimits,
    ) -> Data {
        let random = if services.clock().is_manual() { Random::Repeatable(0) } else { Random::System };
        Data {
            state: None,
            phase: Phase::Starting,
            memory: None,
            allocator: None,
            limits,
            services,
            environment,
            capabilities,
            random,
            late_logs: Vec::new(),
            trapped: None,
        }
    }

    /// Logs at once, or as soon as the host call under way gives the state back.
    pub(super) fn log(&mut self, level: LogLevel, line: &[u8]) {
        match &mut self.state {
            Some(state) => state.log(level, line),
            None => self.late_logs.push(LateLog::Guest(level, line.to_vec())),
        }
    }

    /// Whether the guest may call a function of that family; if not, it is logged.
    pub(super) fn allows(&mut self, family: Family, name: &'static str) -> bool {
        if self.capabilities.allow(name) {
            return true;
        }
        match &mut self.state {
            Some(state) => state.log_restricted(family, name),
            None => self.late_logs.push(LateLog::Restricted(family, name)),
        }
        false
    }
}

impl Data {
    /// Notes a line of the trace, if one is kept; what the allocator does inside of a host call is not noted.
    pub(super) fn trace(&mut self, line: impl FnOnce() -> TraceLine) {
        if let Some(trace) = self.state.as_mut().and_then(|state| state.trace.as_mut()) {
            trace.push(line());
        }
    }
}

/// The linear memory as a host call sees it.
pub(super) struct LinearView<'a, 'b> {
    pub(super) caller: &'a mut Caller<'b, Data>,
    memory: Option<LinearMemory>,
}

impl<'a, 'b> LinearView<'a, 'b> {
    pub(super) fn new(caller: &'a mut Caller<'b, Data>) -> LinearView<'a, 'b> {
        let memory = caller.data().memory;
        LinearView { caller, memory }
    }

    pub(super) fn log(&mut self, level: LogLevel, line: &[u8]) {
        self.caller.data_mut().log(level, line);
    }
}

impl Memory for LinearView<'_, '_> {
    fn read(&self, ptr: u64, len: u64) -> Result<&[u8], Status> {
        let memory = self.memory.ok_or(Status::InvalidMemoryAccess)?;
        range(ptr, len).and_then(|range| memory.data(&*self.caller).get(range)).ok_or(Status::InvalidMemoryAccess)
    }

    fn write(&mut self, ptr: u64, bytes: &[u8]) -> Result<(), Status> {
        let memory = self.memory.ok_or(Status::InvalidMemoryAccess)?;
        let place = range(ptr, bytes.len() as u64).and_then(|range| memory.data_mut(&mut *self.caller).get_mut(range));
        place.ok_or(Status::InvalidMemoryAccess)?.copy_from_slice(bytes);
        Ok(())
    }

    fn write_usize(&mut self, ptr: u64, value: u64) -> Result<(), Status> {
        let value = u32::try_from(value).map_err(|_| Status::InvalidMemoryAccess)?;
        self.write(ptr, &value.to_le_bytes())
    }

    fn allocate(&mut self, len: u64) -> Result<u64, Status> {
        let len = u32::try_from(len).map_err(|_| Status::InvalidMemoryAccess)?;
        let allocator = self.caller.data().allocator.clone().ok_or(Status::InvalidMemoryAccess)?;
        let before = std::mem::replace(&mut self.caller.data_mut().phase, Phase::Allocating);
        let result = allocator.call(&mut *self.caller, len);
        let data = self.caller.data_mut();
        data.phase = before;
        match result {
            Ok(0) => Err(Status::InvalidMemoryAccess),
            Ok(ptr) => Ok(u64::from(ptr)),
            Err(error) => {
                data.trapped.get_or_insert(error);
                Err(Status::InvalidMemoryAccess)
            }
        }
    }
}

fn range(ptr: u64, len: u64) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(ptr).ok()?;
    let end = start.checked_add(usize::try_from(len).ok()?)?;
    Some(start..end)
}
