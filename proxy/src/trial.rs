//! Whether plugins start at all, found out before anything depends on them.
//!
//! Envoy configures each plugin once in a VM that it throws away; this does the same, apart from everything that runs.

use std::sync::{Arc, Mutex, PoisonError};

use wasmplugin_host::clock::Clock;
use wasmplugin_host::entrance::Entrance;
use wasmplugin_host::services::{LogRecord, Services};
use wasmplugin_host::stand_in::StandIn;
use wasmplugin_host::worker::{self, Options, Plugin, Worker};

use crate::error::StartError;
use crate::settings::{Listener, Refused, Settings};

/// A plugin that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The listener that it was for.
    pub listener: String,
    /// Its name.
    pub plugin: String,
    /// Why it does not start.
    pub reason: String,
    /// Whether an older configuration of it goes on, or what stands in for it; otherwise its place answers with 500.
    pub old_stays: bool,
}

/// The settings with nothing in them that does not start.
pub(crate) fn settled(
    mut settings: Settings,
    old: Option<&Settings>,
) -> Result<(Settings, Vec<Rejection>), StartError> {
    if settings.refused == Refused::Stops && old.is_none() {
        // The workers find out by themselves, and everything stops.
        return Ok((settings, Vec::new()));
    }
    let bench = Bench::new(&settings);
    let mut tried: Vec<(Plugin, Option<worker::StartError>)> = Vec::new();
    let mut rejections = Vec::new();
    for listener in &mut settings.listeners {
        let before = old.and_then(|old| old.listeners.iter().find(|old| old.name == listener.name));
        for plugin in &mut listener.plugins {
            let running = before.and_then(|before| known(before, plugin));
            if running.is_some_and(|running| running.same(plugin)) {
                continue;
            }
            if !tried.iter().any(|(other, _)| other.same(plugin)) {
                let error = bench.start(plugin).err();
                tried.push((plugin.clone(), error));
            }
            let found = tried.iter().position(|(other, _)| other.same(plugin));
            let error = found.and_then(|at| tried.get_mut(at)).and_then(|(_, error)| match settings.refused {
                Refused::Stops => error.take().map(Err),
                Refused::Stays => error.as_ref().map(|error| Ok(error.to_string())),
            });
            let reason = match error {
                None => continue,
                Some(Err(error)) => return Err(StartError::Plugin(error)),
                Some(Ok(reason)) => reason,
            };
            rejections.push(Rejection {
                listener: listener.name.clone(),
                plugin: plugin.name.clone(),
                reason,
                old_stays: running.is_some_and(|running| !running.code.is_missing()),
            });
            *plugin = running.cloned().unwrap_or_else(|| StandIn::missing().plugin(&plugin.name));
        }
    }
    Ok((settings, rejections))
}

/// The plugin of the same name.
fn known<'a>(listener: &'a Listener, plugin: &Plugin) -> Option<&'a Plugin> {
    listener.plugins.iter().find(|old| old.name == plugin.name)
}

/// Where plugins are tried.
struct Bench {
    services: Arc<Services>,
    /// What the plugins say; it is told only of one that does not start, since the others will say it again.
    lines: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    fn new(settings: &Settings) -> Self {
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let sink = Arc::clone(&lines);
        let log = move |record: LogRecord<'_>| {
            sink.lock().unwrap_or_else(PoisonError::into_inner).push(record.to_string());
        };
        let services = Services::new(Clock::system(), Box::new(log)).with_node(settings.node.clone());
        services.set_log_level(settings.log_level);
        services.set_clusters(settings.clusters.iter().map(|cluster| cluster.name.clone()));
        Self { services: Arc::new(services), lines }
    }

    fn start(&self, plugin: &Plugin) -> Result<(), worker::StartError> {
        let mut worker = Worker::new(Arc::clone(&self.services), Options::default());
        let tried = worker.add_chain(std::slice::from_ref(plugin), Entrance::default());
        let lines = std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner));
        match tried {
            Ok(_) => {
                worker.stop();
                self.lines.lock().unwrap_or_else(PoisonError::into_inner).clear();
                Ok(())
            }
            Err(error) => {
                for line in lines {
                    log::error!(target: "wasm", "{line}");
                }
                Err(error)
            }
        }
    }
}
