//! WASI as Envoy 1.40 answers it: standard output is the log, the clock is the proxy's, files do not exist.

use wasmtime::{Caller, FuncType, Linker, Val as Value, ValType};

use super::data::{Data, LinearView, Phase, restricted};
use crate::abi::LogLevel;
use crate::clock::nanos;
use crate::imports::Val;
use crate::memory::Memory;
use crate::module::{Signature, WASI_MODULES, WASI_SIGNATURES};
use crate::sandbox::Family;
use crate::trace_line::TraceLine;

const SUCCESS: u32 = 0;
const BAD_FILE: u32 = 8;
const FAULT: u32 = 21;
const INVALID: u32 = 28;
const NO_ENTRY: u32 = 44;
const NO_SYSTEM_CALL: u32 = 52;
const NOT_SUPPORTED: u32 = 58;
const NOT_CAPABLE: u32 = 76;

const STDOUT: u32 = 1;
const STDERR: u32 = 2;

/// The right to write, the only one that the standard streams have.
const RIGHT_WRITE: u64 = 64;
const MAX_RANDOM: u32 = 65536;
/// More than any line that is meant; overlapping pieces could otherwise add up to any size.
const MAX_WRITE: usize = 64 << 20;

/// A function of WASI, under one of its two names.
#[derive(Clone, Copy)]
struct Function {
    module: &'static str,
    name: &'static str,
}

/// Offers every function under both names of WASI.
pub(super) fn bind(linker: &mut Linker<Data>) -> wasmtime::Result<()> {
    for module in WASI_MODULES {
        for signature in &WASI_SIGNATURES {
            bind_one(linker, Function { module, name: signature.name }, signature)?;
        }
    }
    Ok(())
}

/// Binds one function with typed parameters.
macro_rules! typed {
    ($linker:ident, $function:ident, |$view:ident, $($name:tt: $ty:ty),*| $body:expr) => {
        $linker.func_wrap($function.module, $function.name, move |caller: Caller<'_, Data>, $($name: $ty),*| {
            enter(caller, $function, &[$(u64::from($name)),*], |$view| $body)
        })
    };
}

fn bind_one(linker: &mut Linker<Data>, function: Function, signature: &'static Signature) -> wasmtime::Result<()> {
    match function.name {
        "fd_write" => {
            typed!(linker, function, |view, fd: u32, list: u32, count: u32, out: u32| write(view, fd, list, count, out))
        }
        "fd_pwrite" => typed!(linker, function, |view, fd: u32, list: u32, count: u32, offset: u64, out: u32| {
            // A log has no places; everything goes to its end.
            let _ = offset;
            write(view, fd, list, count, out)
        }),
        "clock_time_get" => typed!(linker, function, |view, id: u32, precision: u64, out: u32| {
            let _ = precision;
            time(view, id, out)
        }),
        "clock_res_get" => typed!(linker, function, |view, id: u32, out: u32| {
            if id > 1 { NOT_SUPPORTED } else { store(view, out, &1_u64.to_le_bytes()) }
        }),
        "random_get" => typed!(linker, function, |view, out: u32, len: u32| random(view, out, len)),
        "environ_get" => typed!(linker, function, |view, list: u32, text: u32| environment(view, list, text)),
        "environ_sizes_get" => {
            typed!(linker, function, |view, count: u32, size: u32| environment_sizes(view, count, size))
        }
        "args_sizes_get" => typed!(linker, function, |view, count: u32, size: u32| {
            both(store(view, count, &[0; 4]), || store(view, size, &[0; 4]))
        }),
        "poll_oneoff" => typed!(linker, function, |view, wanted: u32, events: u32, count: u32, out: u32| {
            let _ = (wanted, events, count);
            store(view, out, &[0; 4])
        }),
        "fd_fdstat_get" => typed!(linker, function, |view, fd: u32, out: u32| stat(view, fd, out)),
        "fd_tell" => {
            typed!(linker, function, |view, fd: u32, out: u32| both(standard(fd), || store(view, out, &[0; 8])))
        }
        // Envoy returns from it, and the guest then runs into the `unreachable` behind its own call.
        "proc_exit" => linker.func_wrap(function.module, function.name, move |caller: Caller<'_, Data>, code: u32| {
            enter(caller, function, &[code.into()], |_| SUCCESS).map(|_| ())
        }),
        _ => return bind_constant(linker, function, signature),
    }?;
    Ok(())
}

/// Functions whose answer depends on nothing but the file; nobody calls them often, so they may be slow.
fn bind_constant(linker: &mut Linker<Data>, function: Function, signature: &'static Signature) -> wasmtime::Result<()> {
    let params = signature.params.iter().map(|val| if *val == Val::I64 { ValType::I64 } else { ValType::I32 });
    let ty = FuncType::new(linker.engine(), params, [ValType::I32]);
    linker.func_new(function.module, function.name, ty, move |caller, params, results| {
        let arguments: Vec<u64> = params.iter().map(number).collect();
        let file = params.first().and_then(Value::i32).unwrap_or_default().cast_unsigned();
        let answer = enter(caller, function, &arguments, |_| constant(function.name, file))?;
        if let Some(result) = results.first_mut() {
            *result = Value::I32(answer.cast_signed());
        }
        Ok(())
    })?;
    Ok(())
}

fn number(value: &Value) -> u64 {
    match value {
        Value::I32(value) => value.cast_unsigned().into(),
        Value::I64(value) => value.cast_unsigned(),
        _ => 0,
    }
}

fn constant(name: &str, file: u32) -> u32 {
    match name {
        "args_get" | "fd_advise" | "fd_close" | "fd_seek" | "sched_yield" => SUCCESS,
        "fd_allocate"
        | "fd_datasync"
        | "fd_fdstat_set_rights"
        | "fd_filestat_set_size"
        | "fd_filestat_set_times"
        | "fd_sync" => standard(file),
        "fd_filestat_get" | "fd_prestat_get" | "fd_renumber" => BAD_FILE,
        "fd_readdir" => 20,
        "fd_fdstat_set_flags" | "fd_pread" | "fd_prestat_dir_name" | "fd_read" => NO_SYSTEM_CALL,
        "path_open" => NO_ENTRY,
        _ => NOT_SUPPORTED,
    }
}

/// Runs a function if it is allowed at this time.
fn enter(
    mut caller: Caller<'_, Data>,
    function: Function,
    arguments: &[u64],
    body: impl FnOnce(&mut LinearView<'_, '_>) -> u32,
) -> wasmtime::Result<u32> {
    let (phase, name) = (caller.data().phase, function.name);
    let allowed = match phase {
        Phase::Running => true,
        Phase::Starting => !["proc_exit", "fd_read", "fd_seek", "fd_close", "path_open", "sched_yield"].contains(&name),
        Phase::Allocating => ["fd_write", "clock_time_get", "poll_oneoff"].contains(&name),
    };
    let full = || format!("{}.{name}", function.module);
    caller.data_mut().trace(|| TraceLine::Call { name: full(), arguments: arguments.to_vec() });
    if !allowed {
        return Err(restricted(name, phase));
    }
    let answer = match caller.data_mut().allows(Family::Wasi, name) {
        true => body(&mut LinearView::new(&mut caller)),
        false => NOT_CAPABLE,
    };
    caller
        .data_mut()
        .trace(|| TraceLine::Return { name: full(), value: (name != "proc_exit").then_some(answer.into()) });
    Ok(answer)
}

fn standard(file: u32) -> u32 {
    if file == STDOUT || file == STDERR { SUCCESS } else { BAD_FILE }
}

fn both(first: u32, second: impl FnOnce() -> u32) -> u32 {
    if first == SUCCESS { second() } else { first }
}

fn store(view: &mut LinearView<'_, '_>, at: u32, bytes: &[u8]) -> u32 {
    if view.write(at.into(), bytes).is_ok() { SUCCESS } else { FAULT }
}

/// One call is one line of the log.
fn write(view: &mut LinearView<'_, '_>, fd: u32, list: u32, count: u32, written: u32) -> u32 {
    let level = match fd {
        STDOUT => LogLevel::Info,
        STDERR => LogLevel::Error,
        _ => return BAD_FILE,
    };
    let Some(mut line) = gather(view, list, count) else { return FAULT };
    let size = u32::try_from(line.len()).unwrap_or(u32::MAX);
    if size > 0 {
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        view.log(level, &line);
    }
    store(view, written, &size.to_le_bytes())
}

fn gather(view: &LinearView<'_, '_>, list: u32, count: u32) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    for index in 0..u64::from(count) {
        let entry = view.read(u64::from(list) + 8 * index, 8).ok()?;
        let (at, len) = entry.split_at_checked(4)?;
        let at = u32::from_le_bytes(at.try_into().ok()?);
        let len = u32::from_le_bytes(len.try_into().ok()?);
        if len > 0 {
            line.extend_from_slice(view.read(at.into(), len.into()).ok()?);
        }
        if line.len() > MAX_WRITE {
            return None;
        }
    }
    Some(line)
}

fn time(view: &mut LinearView<'_, '_>, id: u32, out: u32) -> u32 {
    let clock = view.caller.data().services.clock();
    let now = match id {
        0 => clock.unix(),
        1 => clock.now(),
        _ => return NOT_SUPPORTED,
    };
    store(view, out, &nanos(now).to_le_bytes())
}

/// The variables as `name=value`, each ended by a NUL.
fn variables(view: &LinearView<'_, '_>) -> Vec<Vec<u8>> {
    let environment = &view.caller.data().environment;
    environment.iter().map(|(name, value)| format!("{name}={value}\0").into_bytes()).collect()
}

fn environment_sizes(view: &mut LinearView<'_, '_>, count: u32, size: u32) -> u32 {
    let variables = variables(view);
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
    let bytes = variables.iter().map(Vec::len).sum();
    both(store(view, count, &number(variables.len())), || store(view, size, &number(bytes)))
}

/// Writes the variables one behind the other, and where each begins into a list.
fn environment(view: &mut LinearView<'_, '_>, list: u32, text: u32) -> u32 {
    let (mut entry, mut at) = (u64::from(list), u64::from(text));
    for variable in variables(view) {
        let Ok(place) = u32::try_from(at) else { return FAULT };
        if view.write(entry, &place.to_le_bytes()).is_err() || view.write(at, &variable).is_err() {
            return FAULT;
        }
        (entry, at) = (entry + 4, at + variable.len() as u64);
    }
    SUCCESS
}

fn random(view: &mut LinearView<'_, '_>, out: u32, len: u32) -> u32 {
    if len > MAX_RANDOM {
        return INVALID;
    }
    let bytes = view.caller.data_mut().random.bytes(len as usize);
    store(view, out, &bytes)
}

fn stat(view: &mut LinearView<'_, '_>, fd: u32, out: u32) -> u32 {
    if standard(fd) != SUCCESS {
        return BAD_FILE;
    }
    let words = [0, RIGHT_WRITE, 0].map(u64::to_le_bytes);
    // Envoy answers success even where the place is bad.
    let _ = store(view, out, words.as_flattened());
    SUCCESS
}
