//! The imports of a module, bound to the proxy model: the ABI's table, WASI, and what compilers want.

use wasmtime::{Caller, Engine, Linker};

use super::data::{Data, LateLog, LinearView, Phase, restricted};
use super::wasi;
use crate::abi::{AbiVersion, LogLevel, Status};
use crate::imports::{IMPORTS, Import, Val};
use crate::memory::Memory;
use crate::sandbox::Family;

/// Every function that a module of that ABI may import.
pub(super) fn linker(engine: &Engine, abi: AbiVersion) -> wasmtime::Result<Linker<Data>> {
    let mut linker = Linker::new(engine);
    for import in IMPORTS.iter().filter(|import| import.abis.contains(&abi)) {
        bind(&mut linker, import)?;
    }
    linker.func_wrap("env", "emscripten_notify_memory_growth", |_: i32| ())?;
    linker.func_wrap("env", "pthread_equal", |left: i32, right: i32| i32::from(left == right))?;
    wasi::bind(&mut linker)?;
    Ok(linker)
}

/// Declares a host call with as many typed parameters as it has; untyped calls are several times slower.
macro_rules! wrap {
    ($linker:ident, $import:ident, $($name:ident)*) => {
        // `u32` and not `i32`: sign extension would turn a large length into a huge one.
        $linker.func_wrap("env", $import.name, move |caller: Caller<'_, Data>, $($name: u32),*| {
            host_call(caller, $import, &[$(u64::from($name)),*])
        })
    };
}

fn bind(linker: &mut Linker<Data>, import: &'static Import) -> wasmtime::Result<()> {
    // The only `i64` of the ABI is the last of two parameters.
    let long = import.params.iter().position(|val| *val == Val::I64);
    match (import.params.len(), long) {
        (0, None) => wrap!(linker, import,),
        (1, None) => wrap!(linker, import, a),
        (2, None) => wrap!(linker, import, a b),
        (2, Some(1)) => linker.func_wrap("env", import.name, move |caller: Caller<'_, Data>, a: u32, b: u64| {
            host_call(caller, import, &[u64::from(a), b])
        }),
        (3, None) => wrap!(linker, import, a b c),
        (4, None) => wrap!(linker, import, a b c d),
        (5, None) => wrap!(linker, import, a b c d e),
        (6, None) => wrap!(linker, import, a b c d e f),
        (7, None) => wrap!(linker, import, a b c d e f g),
        (8, None) => wrap!(linker, import, a b c d e f g h),
        (9, None) => wrap!(linker, import, a b c d e f g h i),
        (10, None) => wrap!(linker, import, a b c d e f g h i j),
        (11, None) => wrap!(linker, import, a b c d e f g h i j k),
        (12, None) => wrap!(linker, import, a b c d e f g h i j k l),
        (count, _) => return Err(wasmtime::format_err!("no binding for `{}` with {count} parameters", import.name)),
    }?;
    Ok(())
}

/// One host call: the state is taken out of the store, so that the call has it and the memory at the same time.
fn host_call(mut caller: Caller<'_, Data>, import: &'static Import, args: &[u64]) -> wasmtime::Result<u32> {
    let phase = caller.data().phase;
    if phase != Phase::Running && import.name != "proxy_log" {
        return Err(restricted(import.name, phase));
    }
    let Some(mut state) = caller.data_mut().state.take() else {
        return Ok(u32::from(log_from_allocator(&mut caller, args)));
    };
    let answer = import.invoke(&mut state, &mut LinearView::new(&mut caller), args);
    let data = caller.data_mut();
    for line in data.late_logs.drain(..) {
        match line {
            LateLog::Guest(level, line) => state.log(level, &line),
            LateLog::Restricted(family, name) => state.log_restricted(family, name),
        }
    }
    data.state = Some(state);
    match (data.trapped.take(), answer) {
        (Some(error), _) => Err(error),
        (None, Ok(status)) => Ok(status),
        (None, Err(stop)) => Err(wasmtime::Error::msg(stop.reason)),
    }
}

/// The one host call that a guest's allocator may make, while another one has the state.
fn log_from_allocator(caller: &mut Caller<'_, Data>, args: &[u64]) -> Status {
    if !caller.data_mut().allows(Family::ProxyWasm, "proxy_log") {
        return Status::InternalFailure;
    }
    let &[level, ptr, len] = args else { return Status::BadArgument };
    let Some(level) = u32::try_from(level).ok().and_then(LogLevel::from_u32) else { return Status::BadArgument };
    let mut view = LinearView::new(caller);
    match view.read(ptr, len).map(<[u8]>::to_vec) {
        Ok(line) => {
            view.log(level, &line);
            Status::Ok
        }
        Err(status) => status,
    }
}
