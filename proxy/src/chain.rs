//! A listener's chain in one worker's thread: its place in the worker, and what exchanges need to know beside its plugins.
//!
//! A chain that was replaced goes on in the worker until its last exchange has ended.

use std::rc::Rc;
use std::sync::Arc;

use wasmplugin_host::entrance::Entrance;
use wasmplugin_host::surroundings::{self, TrafficDirection};
use wasmplugin_host::worker::ChainId;

use crate::error::StartError;
use crate::hub::Hub;
use crate::path::PathNormalization;
use crate::settings::{self, Serves};
use crate::stats::ListenerStats;

/// A listener's chain in one worker's thread.
pub(crate) struct Chain {
    /// The thread's worker, which runs the plugins of all its chains.
    pub(crate) hub: Rc<Hub>,
    /// What the worker calls it.
    pub(crate) id: ChainId,
    /// What is counted about its listener.
    pub(crate) stats: Arc<ListenerStats>,
    /// What is behind the chain, where that is a cluster for all.
    pub(crate) serves: Serves,
    /// What is done to paths before the chain.
    pub(crate) path_normalization: PathNormalization,
    /// Whether its listener is the workload's own door, where what the peer's certificate says is passed on.
    pub(crate) inbound: bool,
    /// The name of its listener.
    listener: String,
    /// The plugins' names.
    plugins: Vec<String>,
}

impl Chain {
    /// Starts those of the listener's plugins that do not run in the thread yet.
    pub(crate) fn start(hub: &Rc<Hub>, settings: &settings::Listener) -> Result<Rc<Self>, StartError> {
        let facts = surroundings::Listener { name: settings.name.as_str().into(), ..settings.facts.clone() };
        let entrance = match &settings.serves {
            Serves::Http(routes) => {
                let routes = routes.clone();
                Entrance::new(facts).with_router(move |headers| routes.look(headers))
            }
            Serves::Tcp { .. } => Entrance::new(facts),
        };
        let id = hub.note(|worker| worker.add_chain(&settings.plugins, entrance)).map_err(StartError::Plugin)?;
        Ok(Rc::new(Self {
            hub: Rc::clone(hub),
            id,
            stats: hub.thread.stats.listener(&settings.stat_prefix),
            serves: settings.serves.clone(),
            path_normalization: settings.path_normalization,
            inbound: settings.facts.direction == TrafficDirection::Inbound,
            listener: settings.name.clone(),
            plugins: settings.plugins.iter().map(|plugin| plugin.name.clone()).collect(),
        }))
    }

    /// Another chain takes its place, or none does.
    pub(crate) fn retire(&self) {
        self.hub.tell(|worker| worker.remove_chain(self.id));
    }

    /// Tells the admin port which of its plugins have failed.
    pub(crate) fn report(&self) {
        for (index, plugin) in self.plugins.iter().enumerate() {
            let failed = self.hub.ask(|worker| worker.has_failed(self.id, index));
            self.hub.thread.stats.set_failed((self.listener.clone(), index, plugin.clone()), failed);
        }
    }
}
