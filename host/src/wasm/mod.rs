//! The second door: any Proxy-Wasm module, whatever language and SDK it comes from, run by Wasmtime.

use crate::guest::{Guest, Load};
use crate::vm::VmState;

mod code_cache;
mod compiled;
mod data;
mod engine;
mod exports;
mod fuel;
mod guest;
mod link;
mod random;
#[cfg(test)]
mod tests;
mod trap;
mod wasi;

pub use code_cache::CodeCache;
pub use compiled::{Module, Settings};
pub use fuel::{FuelMeter, FuelUse};

use guest::WasmGuest;

impl Load for Module {
    fn start(&self, state: Box<VmState>) -> (Box<VmState>, Result<Box<dyn Guest>, String>) {
        let (state, started) = WasmGuest::start(self, state);
        (state, started.map(|guest| Box::new(guest) as Box<dyn Guest>))
    }

    fn identity(&self) -> Option<(&str, &str)> {
        Some((self.name(), self.digest()))
    }
}
