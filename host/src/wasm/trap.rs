//! What went wrong inside a guest, in words, with the frames of its stack.

use std::fmt::Write;
use std::time::Duration;

use wasmtime::{Error, Trap as Code, WasmBacktrace};

use crate::callback::Trap;

/// As many frames as Envoy shows.
const MAX_FRAMES: usize = 20;

/// A trap of the export that ran, from what the engine says.
pub(super) fn trap(function: &'static str, error: &Error, limit: Option<Duration>) -> Trap {
    let mut reason = match error.downcast_ref::<Code>() {
        Some(Code::UnreachableCodeReached) => "`unreachable` was executed (a panic, or an abort)".to_owned(),
        Some(Code::Interrupt) => {
            let limit = limit.unwrap_or_default().as_secs_f64();
            format!("it ran longer than the time limit of {limit} s for one callback; an endless loop?")
        }
        Some(Code::OutOfFuel) => "it used more fuel than one callback may".to_owned(),
        Some(code) => code.to_string().trim_start_matches("wasm trap: ").to_owned(),
        // A host function's own words; the chain's last link, because the engine adds the frames as links of their own.
        None => error.root_cause().to_string(),
    };
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        append(&mut reason, backtrace);
    }
    Trap { function, reason }
}

fn append(reason: &mut String, backtrace: &WasmBacktrace) {
    let frames = backtrace.frames();
    for (index, frame) in frames.iter().take(MAX_FRAMES).enumerate() {
        let offset = frame.module_offset().unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = match frame.symbols().first().and_then(|symbol| symbol.name()).or(frame.func_name()) {
            Some(name) => write!(reason, "\n  {index}:  0x{offset:x} - {name}"),
            None => write!(reason, "\n  {index}:  0x{offset:x} - function {}", frame.func_index()),
        };
    }
    if frames.len() > MAX_FRAMES {
        let _ = write!(reason, "\n  and {} more", frames.len() - MAX_FRAMES);
    }
}
