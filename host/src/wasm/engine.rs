//! The compiler and runtime under all modules: one per process and kind, with a clock that ends endless loops.

use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use wasmtime::{Config, Engine, OptLevel};

/// How often the clock of the engines ticks; a time limit is kept to this precision.
const TICK: Duration = Duration::from_millis(20);

/// The engine that measures fuel, or the one that does not.
///
/// # Errors
///
/// Says why the machine cannot run compiled Wasm.
pub(super) fn engine(fuel: bool) -> Result<&'static Engine, String> {
    static PLAIN: OnceLock<Result<Engine, String>> = OnceLock::new();
    static FUELLED: OnceLock<Result<Engine, String>> = OnceLock::new();

    let slot = if fuel { &FUELLED } else { &PLAIN };
    slot.get_or_init(|| start(fuel)).as_ref().map_err(Clone::clone)
}

/// The number of ticks after which a time limit has certainly passed.
pub(super) fn ticks(limit: Duration) -> u64 {
    let ticks = limit.as_nanos().div_ceil(TICK.as_nanos());
    // One more, because the tick under way is already partly over; the cap keeps the deadline from overflowing.
    u64::try_from(ticks).unwrap_or(u64::MAX).saturating_add(1).min(u64::MAX / 4)
}

fn start(fuel: bool) -> Result<Engine, String> {
    let mut config = Config::new();
    // Memories are reserved one by one, on demand: a pool would have to be as large as the most VMs that a
    // process ever has, each of 1 GiB, and instantiation (17 µs against 4) happens once per VM.
    config.cranelift_opt_level(OptLevel::Speed).epoch_interruption(true).consume_fuel(fuel);
    let engine = Engine::new(&config).map_err(|error| format!("{error:#}"))?;
    let clock = engine.clone();
    let ticking = thread::Builder::new().name("wasm-clock".to_owned()).spawn(move || {
        loop {
            thread::sleep(TICK);
            clock.increment_epoch();
        }
    });
    ticking.map_err(|error| format!("no thread for its clock: {error}"))?;
    Ok(engine)
}
