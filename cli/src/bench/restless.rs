//! The embedded proxy while its chain changes every second.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use wasmplugin_proxy::{Proxy, Settings};

use crate::engine::{Chain, compiled, settings};

/// How long a chain stays.
const STAY: Duration = Duration::from_secs(1);

/// Changes the chain until whoever waits has done so.
pub(super) fn change(mut proxy: Proxy, chain: &Chain, wait: impl FnOnce() -> Result<u64> + Send) -> Result<()> {
    let first = settings(chain)?;
    thread::scope(|scope| {
        let waits = scope.spawn(wait);
        for round in 0.. {
            thread::sleep(STAY);
            if waits.is_finished() {
                break;
            }
            proxy.update(variant(&first, chain, round)?)?;
        }
        Ok(())
    })
}

/// Another chain every round: one module is loaded again, the configurations are other texts of the same meaning, and every other
/// time the last plugin is gone.
fn variant(first: &Settings, chain: &Chain, round: usize) -> Result<Settings> {
    let mut settings = first.clone();
    let again = round % chain.plugins.len().max(1);
    for plugins in settings.listeners.iter_mut().map(|listener| &mut listener.plugins) {
        for (at, (plugin, planned)) in plugins.iter_mut().zip(&chain.plugins).enumerate() {
            if at == again {
                *plugin = compiled(planned)?;
            }
            if !planned.configuration.is_empty() {
                plugin.configuration = format!("{}{}", planned.configuration, " ".repeat(round % 7)).into();
            }
        }
        if round % 2 == 1 {
            plugins.pop();
        }
    }
    Ok(settings)
}
