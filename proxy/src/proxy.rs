//! A proxy from its start to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use wasmplugin_host::clock::Clock;
use wasmplugin_host::services::Services;

use crate::activity::Activity;
use crate::board::{Board, Desk, Phase};
use crate::error::StartError;
use crate::front::{Bound, Front};
use crate::plugin_log;
use crate::settings::Settings;
use crate::stats::Count;
use crate::worker_thread::{Order, WorkerThread};

/// A proxy that runs. Dropping it cuts off whatever is open; [`stop`](Self::stop) lets it finish.
#[derive(Debug)]
pub struct Proxy {
    // The front goes first, so that the workers are not given connections while they end.
    front: Front,
    workers: Vec<WorkerThread>,
    services: Arc<Services>,
}

impl Proxy {
    /// Starts the plugins and begins to serve. It either runs as a whole, or not at all: the ports do not answer
    /// before all plugins have started.
    ///
    /// # Errors
    ///
    /// What prevents it, such as a port that is taken or a plugin that refuses its configuration.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        settings.check()?;
        let listener = Bound::new("listener", settings.listener)?;
        let port = settings.admin.map(|address| Bound::new("admin port", address)).transpose()?;
        let services = Services::new(Clock::system(), plugin_log::sink()).with_node(settings.node.clone());
        services.set_log_level(settings.log_level);
        services.set_clusters(settings.clusters.iter().map(|cluster| cluster.name.clone()));
        let (settings, services) = (Arc::new(settings), Arc::new(services));
        let workers = (0..settings.workers).map(|index| WorkerThread::start(index, &settings, &services));
        let workers = workers.collect::<Result<Vec<_>, _>>()?;
        let desks = workers.iter().map(|worker| Desk {
            orders: worker.orders.clone(),
            stats: Arc::clone(&worker.stats),
            dealt: Count::default(),
        });
        let board =
            Board { settings, services: Arc::clone(&services), workers: desks.collect(), overflows: Count::default() };
        let front = Front::start(listener, port, board)?;
        Ok(Self { front, workers, services })
    }

    /// Where clients connect.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.front.address
    }

    /// Where the admin port listens, if there is one.
    #[must_use]
    pub const fn admin_address(&self) -> Option<SocketAddr> {
        self.front.admin_address
    }

    /// What the plugins share: their data, queues and metrics.
    #[must_use]
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// What is open right now.
    #[must_use]
    pub fn activity(&self) -> Activity {
        let workers = self.workers.iter().filter_map(WorkerThread::activity);
        workers.fold(Activity::default(), std::ops::Add::add)
    }

    /// Ends the proxy: there are no new connections, what is open may finish within `grace`, then the rest is cut
    /// off and the plugins end. Returns when all of it is done.
    pub fn stop(mut self, grace: Duration) {
        self.front.enter(Phase::Draining);
        for worker in &self.workers {
            // Fails only if the worker has ended by itself.
            worker.orders.send(Order::Stop(grace)).ok();
        }
        for worker in &mut self.workers {
            worker.join();
        }
        self.front.end();
    }
}
