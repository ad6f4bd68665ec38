//! One running instance of a module.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::{AsContextMut, Instance, Store, StoreLimitsBuilder, WasmParams, WasmResults};

use super::compiled::Module;
use super::data::{Data, Phase};
use super::engine::ticks;
use super::exports::Exports;
use super::fuel::FuelMeter;
use super::trap;
use crate::abi::AbiVersion;
use crate::callback::{Callback, Trap};
use crate::guest::Guest;
use crate::limits::Limits;
use crate::module::Entry;
use crate::sandbox::Sandbox;
use crate::trace_line::TraceLine;
use crate::vm::VmState;

/// As many table entries as V8 allows.
const MAX_TABLE: usize = 10_000_000;

/// A started module; each worker has its own.
pub(super) struct WasmGuest {
    store: Store<Data>,
    exports: Exports,
    abi: AbiVersion,
    deadline: Deadline,
    /// The meter, and the fuel of one callback; absent where fuel is not measured.
    fuel: Option<(Arc<FuelMeter>, u64)>,
}

/// The time limit of a callback, as it is and in ticks of the engine's clock.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    limit: Option<Duration>,
    ticks: u64,
}

impl Deadline {
    fn of(limits: &Limits) -> Deadline {
        Deadline { limit: limits.time, ticks: ticks(limits.time.unwrap_or(Duration::MAX)) }
    }
}

impl WasmGuest {
    /// Instantiates a module and runs its start-up functions.
    pub(super) fn start(module: &Module, state: Box<VmState>) -> (Box<VmState>, Result<WasmGuest, String>) {
        let Sandbox { capabilities, limits } = state.sandbox().clone();
        let bytes = usize::try_from(limits.memory).unwrap_or(usize::MAX);
        let store_limits = StoreLimitsBuilder::new().memory_size(bytes).table_elements(MAX_TABLE).build();
        let data = Data::new(Arc::clone(state.services()), state.environment(), capabilities, store_limits);
        let mut store = Store::new(module.engine(), data);
        store.limiter(|data| &mut data.limits);
        store.data_mut().state = Some(state);
        let deadline = Deadline::of(&limits);
        store.set_epoch_deadline(deadline.ticks);
        let fuel = module.meter().map(|meter| (Arc::clone(meter), limits.fuel.unwrap_or(u64::MAX)));
        let started = refuel(&mut store, fuel.as_ref())
            .and_then(|()| if fuel.is_none() && limits.fuel.is_some() { Err(NO_FUEL.to_owned()) } else { Ok(()) })
            .and_then(|()| run_start_up(module, &mut store, deadline));
        let state = take_state(&mut store);
        let exports = match started {
            Ok(instance) => Exports::of(&instance, &mut store),
            Err(reason) => return (state, Err(format!("cannot start `{}`: {reason}", module.name()))),
        };
        store.data_mut().phase = Phase::Running;
        (state, Ok(WasmGuest { store, exports, abi: module.info().abi, deadline, fuel }))
    }
}

const NO_FUEL: &str = "a limit of fuel is set, and the module was compiled without measuring fuel";

impl Guest for WasmGuest {
    fn call(&mut self, state: Box<VmState>, callback: Callback) -> (Box<VmState>, Result<u32, Trap>) {
        let Some(export) = self.exports.get(callback) else {
            return (state, Ok(callback.assumed()));
        };
        self.store.data_mut().state = Some(state);
        self.store.set_epoch_deadline(self.deadline.ticks);
        if let Err(reason) = refuel(&mut self.store, self.fuel.as_ref()) {
            return (take_state(&mut self.store), Err(Trap { function: callback.name(), reason }));
        }
        let result = export.call(self.store.as_context_mut(), callback);
        if let Some((meter, given)) = &self.fuel {
            meter.add(callback, given.saturating_sub(self.store.get_fuel().unwrap_or(*given)));
        }
        let result = result.map_err(|error| trap::trap(callback.name(), &error, self.deadline.limit));
        (take_state(&mut self.store), result)
    }

    fn exports(&self, callback: Callback) -> bool {
        self.exports.get(callback).is_some()
    }

    fn abi(&self) -> AbiVersion {
        self.abi
    }

    fn memory(&self) -> u64 {
        self.store.data().memory.map_or(0, |memory| memory.data_size(&self.store) as u64)
    }
}

fn refuel(store: &mut Store<Data>, fuel: Option<&(Arc<FuelMeter>, u64)>) -> Result<(), String> {
    match fuel {
        Some((_, amount)) => store.set_fuel(*amount).map_err(|error| error.to_string()),
        None => Ok(()),
    }
}

#[expect(clippy::expect_used, reason = "every host call puts the state back before the guest goes on or ends")]
fn take_state(store: &mut Store<Data>) -> Box<VmState> {
    store.data_mut().state.take().expect("the state is in the store between two calls")
}

fn run_start_up(module: &Module, store: &mut Store<Data>, deadline: Deadline) -> Result<Instance, String> {
    let instance = module.instantiate(store).map_err(|error| trap::trap("start", &error, deadline.limit).reason)?;
    let memory = match store.data().memory {
        Some(imported) => Some(imported),
        None => instance.exports(&mut *store).find_map(wasmtime::Export::into_memory),
    };
    let allocator = instance.get_typed_func(&mut *store, module.info().allocator.name()).ok();
    store.data_mut().memory = memory;
    store.data_mut().allocator = allocator;
    match module.info().entry {
        Entry::Initialize => {
            call::<(), ()>(store, &instance, "_initialize", (), &[], deadline)?;
            if instance.get_func(&mut *store, "main").is_some() {
                call::<(u32, u32), u32>(store, &instance, "main", (0, 0), &[0, 0], deadline)?;
            } else if instance.get_func(&mut *store, "__main_void").is_some() {
                call::<(), u32>(store, &instance, "__main_void", (), &[], deadline)?;
            }
        }
        Entry::Start => call::<(), ()>(store, &instance, "_start", (), &[], deadline)?,
        Entry::None => {}
    }
    Ok(instance)
}

/// Calls a start-up function; what it answers is of no use.
fn call<P: WasmParams, R: WasmResults>(
    store: &mut Store<Data>,
    instance: &Instance,
    name: &'static str,
    params: P,
    traced: &[u64],
    deadline: Deadline,
) -> Result<(), String> {
    let function = instance.get_typed_func::<P, R>(&mut *store, name).map_err(|error| error.to_string())?;
    store.data_mut().trace(|| TraceLine::Enter { name: name.to_owned(), arguments: traced.to_vec() });
    function.call(&mut *store, params).map_err(|error| failed(name, &error, deadline))?;
    store.data_mut().trace(|| TraceLine::Leave { name: name.to_owned(), value: None });
    Ok(())
}

fn failed(name: &'static str, error: &wasmtime::Error, deadline: Deadline) -> String {
    trap::trap(name, error, deadline.limit).to_string()
}
